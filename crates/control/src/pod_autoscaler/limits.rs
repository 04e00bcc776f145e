//! How fast and how far a target may be scaled: stabilisation, policies, bounds.
//!
//! Source: <https://github.com/kubernetes/kubernetes/blob/v1.36.0/pkg/controller/podautoscaler/horizontal.go>.

use std::time::Duration;

use k8s_openapi::api::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscalerSpec};

/// Over so long a time the highest recommendation counts, where nothing else is said.
const DOWN_STABILIZATION: Duration = Duration::from_secs(300);
/// Without rules, a target grows to so many times what it is at once, or to so many.
const UP_FACTOR: i32 = 2;
const UP_LEAST: i32 = 4;

/// What was recommended for a target and done to it lately. Times are since some beginning.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct History {
    recommendations: Vec<(Duration, i32)>,
    ups: Vec<(Duration, i32)>,
    downs: Vec<(Duration, i32)>,
}

/// A reason and a message.
pub(super) type Words = (&'static str, &'static str);

/// How many there are to be.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Limited {
    pub(super) replicas: i32,
    /// What is to be said of `AbleToScale`.
    pub(super) able: Words,
    /// Whether `ScalingLimited`, and why.
    pub(super) limited: bool,
    pub(super) why: Words,
}

const READY: Words = ("ReadyForNewScale", "recommended size matches current size");
const UP_STABILIZED: Words = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const DOWN_STABILIZED: Words = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const WITHIN: Words = ("DesiredWithinRange", "the desired count is within the acceptable range");
const TOO_FEW: Words = ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const TOO_MANY: Words =
    ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const UP_LIMIT: Words =
    ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: Words =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");

impl History {
    /// The target has so many when it is looked at the first time.
    pub(super) fn begin(&mut self, now: Duration, replicas: i32) {
        if self.recommendations.is_empty() {
            self.recommendations.push((now, replicas));
        }
    }

    /// The target was scaled.
    pub(super) fn scaled(&mut self, now: Duration, from: i32, to: i32, spec: &HorizontalPodAutoscalerSpec) {
        // Without rules nobody asks.
        let Some(behavior) = &spec.behavior else { return };
        let (changes, rules) = match from < to {
            true => (&mut self.ups, &behavior.scale_up),
            false => (&mut self.downs, &behavior.scale_down),
        };
        let policies = rules.iter().flat_map(|rules| rules.policies.iter().flatten());
        let longest = policies.map(|policy| seconds(policy.period_seconds)).max().unwrap_or_default();
        changes.retain(|(at, _)| now.saturating_sub(*at) <= longest);
        changes.push((now, from.abs_diff(to).try_into().unwrap_or(i32::MAX)));
    }

    /// Keeps what is recommended, as far as it is asked for later.
    fn recommended(&mut self, now: Duration, replicas: i32, longest: Duration) {
        self.recommendations.retain(|(at, _)| now.saturating_sub(*at) <= longest);
        self.recommendations.push((now, replicas));
    }

    fn within(&self, now: Duration, window: Duration) -> impl Iterator<Item = i32> {
        let young = move |(at, _): &&(Duration, i32)| now.saturating_sub(*at) < window;
        self.recommendations.iter().filter(young).map(|(_, replicas)| *replicas)
    }
}

/// How many there are to be, of those that are wanted.
pub(super) fn limit(
    spec: &HorizontalPodAutoscalerSpec,
    history: &mut History,
    now: Duration,
    current: i32,
    wanted: i32,
) -> Limited {
    let least = spec.min_replicas.unwrap_or(1);
    let Some(behavior) = &spec.behavior else {
        let stable = history.within(now, DOWN_STABILIZATION).fold(wanted, i32::max);
        history.recommended(now, wanted, DOWN_STABILIZATION);
        let able = if stable == wanted { READY } else { DOWN_STABILIZED };
        let (replicas, why) = bounded(current, stable, least, spec.max_replicas);
        return Limited { replicas, able, limited: replicas != stable, why };
    };
    let (none, up, down) = (HPAScalingRules::default(), &behavior.scale_up, &behavior.scale_down);
    let (up, down) = (up.as_ref().unwrap_or(&none), down.as_ref().unwrap_or(&none));
    let up_window = up.stabilization_window_seconds.map_or(Duration::ZERO, seconds);
    let down_window = down.stabilization_window_seconds.map_or(DOWN_STABILIZATION, seconds);
    let lowest = history.within(now, up_window).fold(wanted, i32::min);
    let highest = history.within(now, down_window).fold(wanted, i32::max);
    let stable = current.max(lowest).min(highest);
    history.recommended(now, wanted, up_window.max(down_window));
    let able = match stable == wanted {
        true => READY,
        false if wanted >= current => UP_STABILIZED,
        false => DOWN_STABILIZED,
    };
    let (replicas, why) = if stable > current {
        let fastest = up_limit(up, history, now, current).max(current);
        let (most, why) =
            if spec.max_replicas > fastest { (fastest, UP_LIMIT) } else { (spec.max_replicas, TOO_MANY) };
        if stable > most { (most, why) } else { (stable, WITHIN) }
    } else if stable < current {
        let fastest = down_limit(down, history, now, current).min(current);
        let (fewest, why) = if least < fastest { (fastest, DOWN_LIMIT) } else { (least, TOO_FEW) };
        if stable < fewest { (fewest, why) } else { (stable, WITHIN) }
    } else {
        (stable, WITHIN)
    };
    Limited { replicas, able, limited: replicas != stable, why }
}

/// Bounds where there are no rules.
fn bounded(current: i32, wanted: i32, least: i32, most: i32) -> (i32, Words) {
    let fastest = current.saturating_mul(UP_FACTOR).max(UP_LEAST);
    let (most, why) = if most > fastest { (fastest, UP_LIMIT) } else { (most, TOO_MANY) };
    match wanted {
        few if few < least => (least, TOO_FEW),
        many if many > most => (most, why),
        wanted => (wanted, WITHIN),
    }
}

/// How many there were when a period began.
fn at_start(history: &History, now: Duration, current: i32, period: Duration) -> i32 {
    let sum = |changes: &[(Duration, i32)]| {
        let young = changes.iter().filter(|(at, _)| now.saturating_sub(*at) < period);
        young.fold(0_i32, |sum, (_, change)| sum.saturating_add(*change))
    };
    current.saturating_sub(sum(&history.ups)).saturating_add(sum(&history.downs))
}

fn up_limit(rules: &HPAScalingRules, history: &History, now: Duration, current: i32) -> i32 {
    let policies = rules.policies.iter().flatten().map(|policy| {
        let began = at_start(history, now, current, seconds(policy.period_seconds));
        match policy.type_.as_str() {
            "Pods" => began.saturating_add(policy.value),
            // Rounded up, or it might never grow. The cast holds what it can.
            _ => (f64::from(began) * (1.0 + f64::from(policy.value) / 100.0)).ceil() as i32,
        }
    });
    match rules.select_policy.as_deref() {
        Some("Disabled") => current,
        Some("Min") => policies.min().unwrap_or(i32::MAX),
        _ => policies.max().unwrap_or(i32::MIN),
    }
}

fn down_limit(rules: &HPAScalingRules, history: &History, now: Duration, current: i32) -> i32 {
    let policies = rules.policies.iter().flatten().map(|policy| {
        let began = at_start(history, now, current, seconds(policy.period_seconds));
        match policy.type_.as_str() {
            "Pods" => began.saturating_sub(policy.value),
            _ => (f64::from(began) * (1.0 - f64::from(policy.value) / 100.0)) as i32,
        }
    });
    match rules.select_policy.as_deref() {
        Some("Disabled") => current,
        Some("Min") => policies.max().unwrap_or(i32::MIN),
        _ => policies.min().unwrap_or(i32::MAX),
    }
}

fn seconds(seconds: i32) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests;
