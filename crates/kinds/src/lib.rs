//! The built-in kinds of Kubernetes, a file each: defaults, rules, columns, subresources, what is admitted.
//!
//! A kind is a file `GROUP/KIND.rs` (or `GROUP/KIND/KIND.rs`, with the files that it takes beside it) with
//! a function `resource()` that makes an [`apiserver::Resource`]: all that there is to know of the kind, as
//! values. The build script finds the files; nothing lists them. One of which something depends on what is switched
//! on takes the [`Features`]; one that is served only then makes none otherwise. What kinds share is beside the
//! groups: `pod_spec`, for all that make pods.
#![forbid(unsafe_code)]

mod access;
mod admission;
mod admission_policy;
mod aggregation;
mod amounts;
mod autoscaler;
mod claims;
mod conditions;
mod content;
mod conversation;
mod custom;
mod device;
mod difference;
mod event;
mod features;
mod flow_control;
mod followed;
#[doc(hidden)]
pub mod fuzzing;
mod job;
mod measures;
mod node_selector;
mod pod_amounts;
mod pod_groups;
mod pod_spec;
mod proxied;
mod resource_names;
mod review;
mod role_rules;
mod server;
mod shown;
mod spec_and_status;
mod webhook_configuration;
mod workload;

use apiserver::Resource;

pub use access::{Deciders, authorization, authorization_by, authorization_of};
pub use admission::{Plugins, PluginsError, admission, admission_of};
pub use aggregation::aggregation;
pub use custom::definitions;
pub use features::{Feature, Features, Gates, SwitchError, Versions};
pub use flow_control::flow_control;

include!(concat!(env!("OUT_DIR"), "/kinds.rs"));

/// All built-in resources that are served where nothing is switched.
pub fn all() -> Vec<Resource> {
    served(&Features::default())
}

/// All built-in resources that are served where these features are on.
pub fn served(features: &Features) -> Vec<Resource> {
    let mut all = entries(features);
    all.extend(measures::resources());
    for resource in &mut all {
        // The defaults of a kind are the same where the sources are.
        resource.defaults_version = env!("KINDS_VERSION").into();
    }
    all
}
