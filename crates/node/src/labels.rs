//! The labels by which a pod's containers are found again, also by other tools: the kubelet's own.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

/// The pod's name.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// The pod's namespace.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// The pod's uid.
pub const POD_UID: &str = "io.kubernetes.pod.uid";
/// The container's name in its pod.
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";
/// How many instances of the container came before this one.
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";

/// The labels of everything that belongs to `pod`.
pub fn of_pod(pod: &Pod) -> BTreeMap<String, String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    BTreeMap::from([
        (POD_NAME.to_owned(), text(&pod.metadata.name)),
        (POD_NAMESPACE.to_owned(), text(&pod.metadata.namespace)),
        (POD_UID.to_owned(), text(&pod.metadata.uid)),
    ])
}

/// The labels of one instance of a container.
pub fn of_container(pod: &Pod, container: &str, restarts: u32) -> BTreeMap<String, String> {
    let mut labels = of_pod(pod);
    labels.insert(CONTAINER_NAME.to_owned(), container.to_owned());
    labels.insert(RESTART_COUNT.to_owned(), restarts.to_string());
    labels
}

/// The engine's name for one instance of a container, as the kubelet forms it.
pub fn container_name(pod: &Pod, container: &str, restarts: u32) -> String {
    let part = |value: &Option<String>| value.clone().unwrap_or_default();
    let metadata = &pod.metadata;
    format!(
        "k8s_{container}_{}_{}_{}_{restarts}",
        part(&metadata.name),
        part(&metadata.namespace),
        part(&metadata.uid)
    )
}
