//! What the binary counts of itself, under the names that Kubernetes has for it.

use std::sync::Arc;

use base::Clock;
use metrics::{Counter, Family, Gauge, Kind, Text};

/// Which features are on.
pub(crate) fn features(features: &kinds::Features) -> impl Fn(&mut Text) + Send + Sync + 'static {
    let told: Vec<_> = features.told().collect();
    move |text| {
        let help = "[BETA] This metric records the data about the stage and enablement of a k8s feature.";
        let block = text.block("kubernetes_feature_enabled", Kind::Gauge, help);
        for (name, stage, is_on) in &told {
            block.value(&[("name", name), ("stage", stage)], u8::from(*is_on));
        }
    }
}

/// How often a file was read again while the server runs, and when last. The server has no identity that is told.
pub(crate) struct Reloads {
    clock: Arc<dyn Clock>,
    total: Family<Counter, 2>,
    last: Family<Gauge, 2>,
}

impl Reloads {
    /// Of the file of `what`, `authentication` or `authorization`.
    pub(crate) fn new(what: &'static str, clock: &Arc<dyn Clock>, metrics: &metrics::Registry) -> Arc<Self> {
        let labels = ["apiserver_id_hash", "status"];
        let reloads = Arc::new(Self {
            clock: Arc::clone(clock),
            total: Family::new(labels, Counter::default),
            last: Family::new(labels, Gauge::default),
        });
        let told = reloads.clone();
        metrics.add(Arc::new(move |text: &mut Text| {
            let name = |part: &str| format!("apiserver_{what}_config_controller_automatic_{part}");
            let of = format!("of {what} configuration split by status and apiserver identity.");
            let help = format!("[BETA] Total number of automatic reloads {of}");
            told.total.write(text, &name("reloads_total"), &help);
            let help = format!("[BETA] Timestamp of the last automatic reload {of}");
            told.last.write(text, &name("reload_last_timestamp_seconds"), &help);
        }));
        reloads
    }

    /// It was read again, and is in force or cannot be.
    pub(crate) fn count(&self, is_good: bool) {
        let labels = ["", if is_good { "success" } else { "failure" }];
        self.total.with(labels).increment();
        self.last.with(labels).set(self.clock.now().as_second());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_and_files_that_are_read_again_are_told_of() {
        let metrics = metrics::Registry::default();
        let gates = "HPAScaleToZero=true".parse().expect("a feature");
        metrics.add(Arc::new(features(&kinds::Features { gates, ..kinds::Features::default() })));
        let clock: Arc<dyn Clock> = Arc::new(base::SystemClock::new());
        let reloads = Reloads::new("authorization", &clock, &metrics);
        let _never = Reloads::new("authentication", &clock, &metrics);
        for is_good in [true, false, true] {
            reloads.count(is_good);
        }
        let text = metrics.text();
        for line in [
            "kubernetes_feature_enabled{name=\"HPAScaleToZero\",stage=\"ALPHA\"} 1",
            "kubernetes_feature_enabled{name=\"StorageVersionMigrator\",stage=\"BETA\"} 0",
            "apiserver_authorization_config_controller_automatic_reloads_total{apiserver_id_hash=\"\",\
             status=\"success\"} 2",
            "apiserver_authorization_config_controller_automatic_reloads_total{apiserver_id_hash=\"\",\
             status=\"failure\"} 1",
        ] {
            assert!(text.lines().any(|told| told == line), "{line}\n{text}");
        }
        assert!(text.contains("authorization_config_controller_automatic_reload_last_timestamp_seconds{"));
        assert!(!text.contains("authentication_config_controller"), "nobody read it again: {text}");
    }
}
