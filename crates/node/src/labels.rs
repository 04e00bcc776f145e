//! The labels by which a pod's containers are found again, also by other tools: the kubelet's own.

use std::collections::BTreeMap;

use crate::runtime::PodMetadata;

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
pub fn of_pod(pod: &PodMetadata) -> BTreeMap<String, String> {
    BTreeMap::from([
        (POD_NAME.to_owned(), pod.name.clone()),
        (POD_NAMESPACE.to_owned(), pod.namespace.clone()),
        (POD_UID.to_owned(), pod.uid.clone()),
    ])
}

/// The labels of one instance of a container.
pub fn of_container(pod: &PodMetadata, container: &str, restarts: u32) -> BTreeMap<String, String> {
    let mut labels = of_pod(pod);
    labels.insert(CONTAINER_NAME.to_owned(), container.to_owned());
    labels.insert(RESTART_COUNT.to_owned(), restarts.to_string());
    labels
}

/// The runtime's name for one instance of a container, as the kubelet forms it.
pub fn container_name(pod: &PodMetadata, container: &str, restarts: u32) -> String {
    let PodMetadata { name, namespace, uid } = pod;
    format!("k8s_{container}_{name}_{namespace}_{uid}_{restarts}")
}
