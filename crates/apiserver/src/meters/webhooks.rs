//! What is counted of webhooks that are asked of writes.

use metrics::{Counter, Family, Histogram, Text};

use crate::callout::Counted;

const SECONDS: &[f64] = &[0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0];
/// Codes above are told as this one.
const HIGHEST: u16 = 600;

/// By the names of the webhooks.
pub(crate) struct Webhooks {
    took: Family<Histogram, 4>,
    rejections: Family<Counter, 5>,
    opened: Family<Counter, 2>,
    requests: Family<Counter, 5>,
}

impl Webhooks {
    pub(super) fn new() -> Self {
        Self {
            took: Family::new(["name", "operation", "rejected", "type"], || Histogram::of_seconds(SECONDS)),
            rejections: Family::new(
                ["error_type", "name", "operation", "rejection_code", "type"],
                Counter::default,
            ),
            opened: Family::new(["name", "type"], Counter::default),
            requests: Family::new(["code", "name", "operation", "rejected", "type"], Counter::default),
        }
    }

    /// One was asked.
    pub(crate) fn count(&self, asked: &Counted<'_>) {
        let Counted { name, kind, operation, took, code, rejected, passes, .. } = *asked;
        let (operation, code) = (operation.as_str(), code.min(HIGHEST).to_string());
        let flag = if rejected.is_some() { "true" } else { "false" };
        self.took.with([name, operation, flag, kind]).observe(took);
        self.requests.with([&code, name, operation, flag, kind]).increment();
        if let Some(why) = rejected {
            self.rejections.with([why, name, operation, &code, kind]).increment();
        }
        if passes {
            self.opened.with([name, kind]).increment();
        }
    }

    pub(super) fn write(&self, text: &mut Text) {
        self.took.write(
            text,
            "apiserver_admission_webhook_admission_duration_seconds",
            "[STABLE] Admission webhook latency histogram in seconds, identified by name and broken out for each \
             operation and API resource and type (validate or admit).",
        );
        self.rejections.write(
            text,
            "apiserver_admission_webhook_rejection_count",
            "[ALPHA] Admission webhook rejection count, identified by name and broken out for each admission type \
             (validating or admit) and operation. Additional labels specify an error type (calling_webhook_error or \
             apiserver_internal_error if an error occurred; no_error otherwise) and optionally a non-zero rejection \
             code if the webhook rejects the request with an HTTP status code (honored by the apiserver when the \
             code is greater or equal to 400). Codes greater than 600 are truncated to 600, to keep the metrics \
             cardinality bounded.",
        );
        self.opened.write(
            text,
            "apiserver_admission_webhook_fail_open_count",
            "[ALPHA] Admission webhook fail open count, identified by name and broken out for each admission type \
             (validating or mutating).",
        );
        self.requests.write(
            text,
            "apiserver_admission_webhook_request_total",
            "[ALPHA] Admission webhook request total, identified by name and broken out for each admission type \
             (validating or mutating) and operation. Additional labels specify whether the request was rejected or \
             not and an HTTP status code. Codes greater than 600 are truncated to 600, to keep the metrics \
             cardinality bounded.",
        );
    }
}
