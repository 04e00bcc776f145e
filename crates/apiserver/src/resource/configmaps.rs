//! ConfigMaps: nothing particular.

use super::Resource;

pub(super) fn resource() -> Resource {
    Resource::builtin("", "v1", "ConfigMap", "configmaps").short(&["cm"])
}
