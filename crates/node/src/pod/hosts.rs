//! `/etc/hosts` of a pod's containers, line by line as the kubelet writes it.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use super::sandbox_spec::hostname;

/// Where it is shown.
pub const PATH: &str = "/etc/hosts";

const HEAD: &str = "# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
";

/// The file of `pod`, whose status has its addresses. `host` is the node's own file, for pods in its network.
pub fn text(pod: &Pod, domain: &str, host: &str) -> String {
    let nothing = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&nothing);
    let mut text = if spec.host_network == Some(true) {
        format!("# Kubernetes-managed hosts file (host network).\n{host}")
    } else {
        let mut text = HEAD.to_owned();
        own_lines(&mut text, pod, spec, domain);
        text
    };
    let aliases = spec.host_aliases.as_deref().unwrap_or_default();
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        let _ = writeln!(text, "{}\t{}", alias.ip, alias.hostnames.as_deref().unwrap_or_default().join("\t"));
    }
    text
}

fn own_lines(text: &mut String, pod: &Pod, spec: &PodSpec, domain: &str) {
    let (name, namespace) = (pod.metadata.name.as_deref(), pod.metadata.namespace.as_deref());
    let hostname = hostname(spec, name.unwrap_or_default());
    let names = match spec.subdomain.as_deref().filter(|subdomain| !subdomain.is_empty()) {
        Some(subdomain) => {
            format!("{hostname}.{subdomain}.{}.svc.{domain}\t{hostname}", namespace.unwrap_or_default())
        }
        None => hostname,
    };
    for address in pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten()) {
        let _ = writeln!(text, "{}\t{names}", address.ip);
    }
}

/// Whether `container` gets the file: not where a volume of its own is mounted there.
pub fn is_shown(container: &Container) -> bool {
    !container.volume_mounts.iter().flatten().any(|mount| mount.mount_path == PATH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(spec: serde_json::Value) -> String {
        let pod = json!({
            "metadata": {"name": "web-0", "namespace": "shop"},
            "spec": spec,
            "status": {"podIPs": [{"ip": "10.42.0.7"}]},
        });
        text(
            &serde_json::from_value(pod).expect("a pod"),
            "cluster.local",
            "127.0.0.1 localhost\n10.0.0.1 box\n",
        )
    }

    #[test]
    fn a_pod_finds_itself_by_its_own_address_with_its_domain_too() {
        let plain = shown(json!({"containers": []}));
        assert!(plain.starts_with("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost "));
        assert!(plain.ends_with("fe00::2\tip6-allrouters\n10.42.0.7\tweb-0\n"), "{plain}");
        let full = shown(json!({"containers": [], "hostname": "one", "subdomain": "web"}));
        assert!(full.ends_with("\n10.42.0.7\tone.web.shop.svc.cluster.local\tone\n"), "{full}");
    }

    #[test]
    fn aliases_come_last_each_on_a_line_and_in_the_host_s_network_its_file_is_shown() {
        let aliases =
            json!([{"ip": "1.2.3.4", "hostnames": ["a", "b.example"]}, {"ip": "::2", "hostnames": ["c"]}]);
        let told = "\n# Entries added by HostAliases.\n1.2.3.4\ta\tb.example\n::2\tc\n";
        let found = shown(json!({"containers": [], "hostAliases": aliases}));
        assert!(found.ends_with(&format!("10.42.0.7\tweb-0\n{told}")), "{found}");
        let found = shown(json!({"containers": [], "hostNetwork": true, "hostAliases": aliases}));
        let host = "127.0.0.1 localhost\n10.0.0.1 box\n";
        assert_eq!(found, format!("# Kubernetes-managed hosts file (host network).\n{host}{told}"));
    }

    #[test]
    fn a_volume_at_its_place_is_shown_instead() {
        let container = |path: &str| {
            let container = json!({"name": "c", "volumeMounts": [{"name": "v", "mountPath": path}]});
            serde_json::from_value(container).expect("a container")
        };
        assert!(!is_shown(&container("/etc/hosts")) && is_shown(&container("/etc")));
    }
}
