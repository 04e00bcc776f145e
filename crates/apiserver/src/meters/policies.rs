//! What is counted of policies and conditions that are asked of writes.

use std::time::Duration;

use metrics::{Counter, Family, Histogram, Text};

use crate::admission::Operation;

const CHECK_SECONDS: &[f64] = &[0.000_000_5, 0.001, 0.01, 0.1, 1.0];
const CONDITION_SECONDS: &[f64] = &[0.001, 0.005, 0.01, 0.025, 0.1, 0.2, 0.25];

/// An expression of a policy that was asked of a write, as it is counted.
#[derive(Clone, Copy, Debug)]
pub struct PolicyChecked<'a> {
    /// The policy.
    pub policy: &'a str,
    /// What binds it.
    pub binding: &'a str,
    /// What went wrong: `no_error`, `compile_error`, `out_of_budget`, `invalid_error`.
    pub error: &'static str,
    /// What was done about what it says: `allow`, `deny`, `audit`, `warn`. None of those that change what is written.
    pub action: Option<&'static str>,
    /// How long it took.
    pub took: Duration,
}

/// Conditions under which somebody is asked of a write, as they are counted.
#[derive(Clone, Copy, Debug)]
pub struct ConditionsChecked<'a> {
    /// Whose they are.
    pub name: &'a str,
    /// What that is: `webhook`, `policy`.
    pub kind: &'static str,
    /// What it is asked for: `admit`, `validate`.
    pub sort: &'static str,
    /// What was to be done.
    pub operation: Operation,
    /// How long all of them took.
    pub took: Duration,
    /// How many could not be evaluated.
    pub failed: usize,
    /// Whether one does not hold.
    pub excluded: bool,
}

/// By the names of policies and of what binds them, and of those who have conditions.
pub(crate) struct Policies {
    validating: Family<Counter, 4>,
    validating_took: Family<Histogram, 4>,
    mutating: Family<Counter, 3>,
    mutating_took: Family<Histogram, 3>,
    condition_errors: Family<Counter, 4>,
    exclusions: Family<Counter, 4>,
    conditions_took: Family<Histogram, 4>,
}

impl Policies {
    pub(super) fn new() -> Self {
        let (four, three) = (
            ["enforcement_action", "error_type", "policy", "policy_binding"],
            ["error_type", "policy", "policy_binding"],
        );
        let conditions = ["kind", "name", "operation", "type"];
        let check_seconds = || Histogram::of_seconds(CHECK_SECONDS);
        Self {
            validating: Family::new(four, Counter::default),
            validating_took: Family::new(four, check_seconds),
            mutating: Family::new(three, Counter::default),
            mutating_took: Family::new(three, check_seconds),
            condition_errors: Family::new(conditions, Counter::default),
            exclusions: Family::new(conditions, Counter::default),
            conditions_took: Family::new(conditions, || Histogram::of_seconds(CONDITION_SECONDS)),
        }
    }

    /// An expression was asked.
    pub(crate) fn count(&self, checked: &PolicyChecked<'_>) {
        let PolicyChecked { policy, binding, error, action, took } = *checked;
        match action {
            Some(action) => {
                let labels = [action, error, policy, binding];
                self.validating.with(labels).increment();
                self.validating_took.with(labels).observe(took);
            }
            None => {
                let labels = [error, policy, binding];
                self.mutating.with(labels).increment();
                self.mutating_took.with(labels).observe(took);
            }
        }
    }

    /// Conditions were asked.
    pub(crate) fn count_conditions(&self, checked: &ConditionsChecked<'_>) {
        let ConditionsChecked { name, kind, sort, operation, took, failed, excluded } = *checked;
        let labels = [kind, name, operation.as_str(), sort];
        self.conditions_took.with(labels).observe(took);
        for _ in 0..failed {
            self.condition_errors.with(labels).increment();
        }
        if excluded {
            self.exclusions.with(labels).increment();
        }
    }

    pub(super) fn write(&self, text: &mut Text) {
        self.validating.write(
            text,
            "apiserver_validating_admission_policy_check_total",
            "[BETA] Validation admission policy check total, labeled by policy and further identified by binding and \
             enforcement action taken.",
        );
        self.validating_took.write(
            text,
            "apiserver_validating_admission_policy_check_duration_seconds",
            "[BETA] Validation admission latency for individual validation expressions in seconds, labeled by policy \
             and further including binding and enforcement action taken.",
        );
        self.mutating.write(
            text,
            "apiserver_mutating_admission_policy_check_total",
            "[ALPHA] Mutation admission policy check total, labeled by policy and further identified by binding.",
        );
        self.mutating_took.write(
            text,
            "apiserver_mutating_admission_policy_check_duration_seconds",
            "[ALPHA] Mutation admission latency for individual mutation expressions in seconds, labeled by policy and \
             binding.",
        );
        self.condition_errors.write(
            text,
            "apiserver_admission_match_condition_evaluation_errors_total",
            "[ALPHA] Admission match condition evaluation errors count, identified by name of resource containing the \
             match condition and broken out for each kind containing matchConditions (webhook or policy), operation \
             and admission type (validate or admit).",
        );
        self.exclusions.write(
            text,
            "apiserver_admission_match_condition_exclusions_total",
            "[ALPHA] Admission match condition evaluation exclusions count, identified by name of resource containing \
             the match condition and broken out for each kind containing matchConditions (webhook or policy), \
             operation and admission type (validate or admit).",
        );
        self.conditions_took.write(
            text,
            "apiserver_admission_match_condition_evaluation_seconds",
            "[ALPHA] Admission match condition evaluation time in seconds, identified by name and broken out for each \
             kind containing matchConditions (webhook or policy), operation and type (validate or admit).",
        );
    }
}
