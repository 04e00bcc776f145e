//! The downward API: what a pod is told about itself.

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use model::quantity::Quantity;

use super::resources::quantity;

/// What the node can give: stands in for limits that a container does not have.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeCapacity {
    /// Thousandths of a processor.
    pub cpu_millis: i64,
    /// Bytes.
    pub memory: i64,
}

/// A field of the pod as text; `None` where `path` names no field that may be asked for.
pub fn field(pod: &Pod, path: &str) -> Option<String> {
    let metadata = &pod.metadata;
    let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
    let text = |value: Option<&String>| value.cloned().unwrap_or_default();
    if let Some(key) = subscript(path, "metadata.labels") {
        return Some(text(metadata.labels.as_ref().and_then(|labels| labels.get(key))));
    }
    if let Some(key) = subscript(path, "metadata.annotations") {
        return Some(text(metadata.annotations.as_ref().and_then(|annotations| annotations.get(key))));
    }
    Some(match path {
        "metadata.name" => text(metadata.name.as_ref()),
        "metadata.namespace" => text(metadata.namespace.as_ref()),
        "metadata.uid" => text(metadata.uid.as_ref()),
        "metadata.labels" => lines(metadata.labels.as_ref()),
        "metadata.annotations" => lines(metadata.annotations.as_ref()),
        "spec.nodeName" => text(spec.and_then(|s| s.node_name.as_ref())),
        "spec.serviceAccountName" => text(spec.and_then(|s| s.service_account_name.as_ref())),
        "status.hostIP" => text(status.and_then(|s| s.host_ip.as_ref())),
        "status.podIP" => text(status.and_then(|s| s.pod_ip.as_ref())),
        "status.hostIPs" => join(status.and_then(|s| s.host_ips.as_ref()), |ip| ip.ip.clone()),
        "status.podIPs" => join(status.and_then(|s| s.pod_ips.as_ref()), |ip| ip.ip.clone()),
        _ => return None,
    })
}

/// A request or limit of a container of the pod, divided and rounded up; `None` for unknown names.
pub fn resource(
    pod: &Pod,
    container: &Container,
    reference: &ResourceFieldSelector,
    node: NodeCapacity,
) -> Option<String> {
    let named = reference.container_name.as_deref().unwrap_or(&container.name);
    let spec = pod.spec.as_ref()?;
    let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let container = all.find(|candidate| candidate.name == named)?;
    let (kind, name) = reference.resource.split_once('.')?;
    let requirements = container.resources.as_ref();
    let list = match kind {
        "limits" => requirements.and_then(|r| r.limits.as_ref()),
        "requests" => requirements.and_then(|r| r.requests.as_ref()),
        _ => return None,
    };
    // Thousandths of processors, and units of all else.
    let amount = |value: Quantity| if name == "cpu" { value.millis() } else { value.value() };
    let found = match (quantity(list, name), kind, name) {
        (Some(value), ..) => amount(value),
        (None, "limits", "cpu") => node.cpu_millis,
        (None, "limits", "memory") => node.memory,
        (None, ..) => 0,
    };
    let divisor: Option<Quantity> = reference.divisor.as_ref().and_then(|divisor| divisor.0.parse().ok());
    let one = amount(Quantity::new(1, model::quantity::Format::Decimal));
    let divisor = divisor.map(amount).filter(|&divisor| divisor > 0).unwrap_or(one);
    Some((found / divisor + i64::from(found % divisor > 0)).to_string())
}

/// The key in `prefix['key']`.
fn subscript<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    path.strip_prefix(prefix)?.strip_prefix("['")?.strip_suffix("']")
}

/// One `key="value"` a line, sorted, as files of the downward API show maps.
fn lines(map: Option<&std::collections::BTreeMap<String, String>>) -> String {
    let lines: Vec<_> = map.into_iter().flatten().map(|(key, value)| format!("{key}={value:?}")).collect();
    lines.join("\n")
}

fn join<T>(list: Option<&Vec<T>>, text: impl Fn(&T) -> String) -> String {
    list.into_iter().flatten().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_shown_one_a_line_and_singly() {
        let pod = serde_json::json!({"metadata": {"labels": {"b": "2", "a": "x\"y"}}});
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        assert_eq!(field(&pod, "metadata.labels").as_deref(), Some("a=\"x\\\"y\"\nb=\"2\""));
        assert_eq!(field(&pod, "metadata.labels['b']").as_deref(), Some("2"));
        assert_eq!(field(&pod, "metadata.labels['c']").as_deref(), Some(""));
        assert_eq!(field(&pod, "spec.secrets"), None);
    }

    #[track_caller]
    fn check(resource_name: &str, divisor: &str, expected: Option<&str>) {
        let pod = serde_json::json!({"spec": {"containers": [
            {"name": "c", "resources": {
                "limits": {"cpu": "1500m"}, "requests": {"memory": "100Mi", "ephemeral-storage": "8Ei"}}}]}});
        let pod: Pod = serde_json::from_value(pod).expect("a pod");
        let reference = serde_json::json!({"resource": resource_name, "divisor": divisor});
        let reference = serde_json::from_value(reference).expect("a selector");
        let container = &pod.spec.as_ref().expect("a spec").containers[0];
        let node = NodeCapacity { cpu_millis: 4000, memory: 8 << 30 };
        assert_eq!(resource(&pod, container, &reference, node).as_deref(), expected);
    }

    #[test]
    fn resources_are_divided_and_rounded_up_and_default_to_the_node() {
        check("limits.cpu", "1", Some("2"));
        check("limits.cpu", "1m", Some("1500"));
        check("requests.memory", "1Mi", Some("100"));
        check("limits.memory", "1Gi", Some("8"));
        check("requests.cpu", "1", Some("0"));
        check("requests.ephemeral-storage", "1", Some("9223372036854775807"));
        check("limits", "1", None);
    }
}
