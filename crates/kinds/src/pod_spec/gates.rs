//! What of a pod's spec is behind gates that may be off.

use model::Object;

use crate::features::{Feature, Features};

const GROUP: &str = "schedulingGroup";

/// Drops the group of a pod, or of those of a template, where there are no groups; what has one already keeps it.
pub(crate) fn drops(
    features: &Features,
    spec: &'static [&'static str],
) -> impl Fn(&mut Object, Option<&Object>) + Send + Sync + use<> {
    let has_groups = features.has(Feature::GenericWorkload);
    move |object, old| {
        let group = [spec, &[GROUP]].concat();
        let is_set = |object: &Object| object.get(&group).is_some_and(|value| !value.is_null());
        if !has_groups && !old.is_some_and(is_set) {
            object.remove(&group);
        }
    }
}
