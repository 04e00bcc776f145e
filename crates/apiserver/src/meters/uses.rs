//! What is counted of how the API is used: what is about to go, and lists that are told as watches.

use std::time::Duration;

use metrics::{Family, Gauge, Histogram, Text};

use crate::resource::Resource;

const WATCH_LIST_SECONDS: &[f64] =
    &[0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0];

pub(crate) struct Uses {
    deprecated: Family<Gauge, 5>,
    watch_lists: Family<Histogram, 4>,
}

impl Uses {
    pub(super) fn new() -> Self {
        Self {
            deprecated: Family::new(
                ["group", "removed_release", "resource", "subresource", "version"],
                Gauge::default,
            ),
            watch_lists: Family::new(["group", "resource", "scope", "version"], || {
                Histogram::of_seconds(WATCH_LIST_SECONDS)
            }),
        }
    }

    /// Somebody asked for what is about to go. When it does nobody has said of anything yet.
    pub(crate) fn deprecated(&self, resource: &Resource, subresource: &str) {
        let Resource { group, plural, version, .. } = resource;
        self.deprecated.with([group, "", plural, subresource, version]).set(1);
    }

    /// A watch has told all that there was at its beginning, after so long.
    pub(crate) fn watch_list(&self, resource: &Resource, scope: &str, took: Duration) {
        let Resource { group, plural, version, .. } = resource;
        self.watch_lists.with([group, plural, scope, version]).observe(took);
    }

    pub(super) fn write(&self, text: &mut Text) {
        let help = "[STABLE] Gauge of deprecated APIs that have been requested, broken out by API group, version, \
                    resource, subresource, and removed_release.";
        self.deprecated.write(text, "apiserver_requested_deprecated_apis", help);
        let help = "[BETA] Response latency distribution in seconds for watch list requests broken by group, version, \
                    resource and scope.";
        self.watch_lists.write(text, "apiserver_watch_list_duration_seconds", help);
    }
}
