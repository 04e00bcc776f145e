//! Which pods this node does not run: those that ask for what it would have to leave out.
//!
//! Reasons and messages are the kubelet's where it has them.

pub mod place;

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{AppArmorProfile, Container, Pod, PodSpec, SELinuxOptions};

use super::sandbox_spec;
use super::sysctls::{self, AllowedSysctls};

/// What the name of an annotation begins with that names a container's AppArmor profile; the fields
/// came later.
const APPARMOR_ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

/// What the node can do.
#[derive(Clone, Copy, Debug)]
pub struct Abilities<'a> {
    /// The kernel has AppArmor in force.
    pub apparmor: bool,
    /// The kernel has SELinux in force.
    pub selinux: bool,
    /// The cluster's domain.
    pub cluster_domain: &'a str,
    /// Kernel parameters that pods may set besides the safe ones.
    pub allowed_sysctls: &'a AllowedSysctls,
}

/// Why a pod is not run by this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// One word.
    pub reason: Cow<'static, str>,
    /// A sentence.
    pub message: String,
}

impl Rejection {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason: Cow::Borrowed(reason), message: message.into() }
    }
}

/// Refuses a pod that asks for what this node does not do.
pub fn check(pod: &Pod, node: Abilities<'_>) -> Result<(), Rejection> {
    sysctls::check(pod, node.allowed_sysctls)
        .map_err(|error| Rejection::new("SysctlForbidden", error.to_string()))?;
    let Some(spec) = &pod.spec else { return Ok(()) };
    if spec.os.as_ref().is_some_and(|os| os.name != "linux") {
        let message = "Failed to admit pod as the OS field doesn't match node OS";
        return Err(Rejection::new("PodOSNotSupported", message));
    }
    of_pod(pod, spec, node)?;
    for container in containers(spec) {
        of_container(pod, spec, container, node)?;
    }
    Ok(())
}

/// Refuses a container that was added to a pod, which goes on without it.
pub fn check_added(pod: &Pod, added: &Container, node: Abilities<'_>) -> Result<(), Rejection> {
    pod.spec.as_ref().map_or(Ok(()), |spec| of_container(pod, spec, added, node))
}

fn of_pod(pod: &Pod, spec: &PodSpec, node: Abilities<'_>) -> Result<(), Rejection> {
    if let Some(class) = spec.runtime_class_name.as_deref().filter(|class| !class.is_empty()) {
        let message = format!(
            "RuntimeClass \"{class}\" not found: this node has one runtime, leave runtimeClassName out"
        );
        return Err(Rejection::new("RuntimeClass", message));
    }
    if spec.overhead.as_ref().is_some_and(|overhead| !overhead.is_empty()) {
        let message = "Pod Overhead set without corresponding RuntimeClass defined Overhead";
        return Err(Rejection::new("RuntimeClass", message));
    }
    if spec.resource_claims.as_ref().is_some_and(|claims| !claims.is_empty()) {
        let message = "resource claims are not supported by this node: leave resourceClaims out";
        return Err(Rejection::new("UnsupportedResourceClaims", message));
    }
    for volume in spec.volumes.iter().flatten() {
        let medium = volume.empty_dir.as_ref().and_then(|empty| empty.medium.as_deref()).unwrap_or("");
        if !matches!(medium, "" | "Memory") {
            let message = format!(
                "volume \"{}\": emptyDir of medium {medium} is not supported by this node",
                volume.name
            );
            return Err(Rejection::new("UnsupportedVolume", message));
        }
    }
    let claims = spec.resources.as_ref().and_then(|resources| resources.claims.as_ref());
    if claims.is_some_and(|claims| !claims.is_empty()) {
        let message = "resource claims are not supported by this node: leave resources.claims out";
        return Err(Rejection::new("UnsupportedResourceClaims", message));
    }
    if node.selinux && wants_selinux(pod) {
        let message = "Cannot enforce SELinux: this node gives no labels to mounts and files";
        return Err(Rejection::new("SELinux", message));
    }
    if let Some(security) = &spec.security_context {
        let windows = security.windows_options.as_ref().is_some_and(|options| *options != Default::default());
        refuse_windows(windows)?;
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let hostname = sandbox_spec::full_hostname(spec, name, namespace, node.cluster_domain);
    if hostname.len() > sandbox_spec::LONGEST_HOSTNAME {
        let message = format!(
            "Failed to construct FQDN from Pod hostname and cluster domain, FQDN {hostname} is too long ({} characters is the max, {} characters requested)",
            sandbox_spec::LONGEST_HOSTNAME,
            hostname.len()
        );
        return Err(Rejection::new("FailedCreatePodSandBox", message));
    }
    Ok(())
}

fn of_container(
    pod: &Pod,
    spec: &PodSpec,
    container: &Container,
    node: Abilities<'_>,
) -> Result<(), Rejection> {
    if let Some(security) = &container.security_context {
        let windows = security.windows_options.as_ref().is_some_and(|options| *options != Default::default());
        refuse_windows(windows)?;
        if security.proc_mount.as_deref() == Some("Unmasked") && spec.host_users != Some(false) {
            let message = format!(
                "container \"{}\": `hostUsers` must be false to use procMount `Unmasked`",
                container.name
            );
            return Err(Rejection::new("ProcMountForbidden", message));
        }
    }
    for port in container.ports.iter().flatten().filter(|port| port.host_port.is_some_and(|port| port > 0)) {
        let address = port.host_ip.as_deref().filter(|address| !address.is_empty());
        if let Some(address) = address.filter(|address| address.parse::<std::net::Ipv4Addr>().is_err()) {
            let message = format!(
                "container \"{}\": hostIP {address} is no IPv4 address, others are not supported by this node",
                container.name
            );
            return Err(Rejection::new("UnsupportedHostIP", message));
        }
    }
    let claims = container.resources.as_ref().and_then(|resources| resources.claims.as_ref());
    if claims.is_some_and(|claims| !claims.is_empty()) {
        let message = format!(
            "container \"{}\": resource claims are not supported by this node: leave resources.claims out",
            container.name
        );
        return Err(Rejection::new("UnsupportedResourceClaims", message));
    }
    let profile = apparmor(pod, spec, container).map_err(|text| {
        Rejection::new(
            "AppArmor",
            format!("Cannot enforce AppArmor: invalid AppArmor profile name: {text:?}"),
        )
    })?;
    if !node.apparmor && matches!(profile, Profile::RuntimeDefault | Profile::Localhost(_)) {
        return Err(Rejection::new(
            "AppArmor",
            "Cannot enforce AppArmor: AppArmor is not enabled on the host",
        ));
    }
    Ok(())
}

fn refuse_windows(given: bool) -> Result<(), Rejection> {
    if given {
        let message = "windowsOptions cannot be applied by a linux node: leave them out";
        return Err(Rejection::new("WindowsOptions", message));
    }
    Ok(())
}

/// What is told of a pod that wants labels where the kernel has none: it runs without, as in Kubernetes.
pub const NO_SELINUX: &str =
    "seLinuxOptions are not enforced here: SELinux is disabled or not supported on the host";

/// Whether a pod asks for labels of SELinux, for itself or for one of its containers.
pub fn wants_selinux(pod: &Pod) -> bool {
    let given = |options: &SELinuxOptions| {
        let SELinuxOptions { level, role, type_, user } = options;
        [level, role, type_, user].into_iter().flatten().any(|text| !text.is_empty())
    };
    pod.spec.as_ref().is_some_and(|spec| {
        let own = spec.security_context.iter().filter_map(|security| security.se_linux_options.as_ref());
        let each = containers(spec).filter_map(|container| container.security_context.as_ref());
        own.chain(each.filter_map(|security| security.se_linux_options.as_ref())).any(given)
    })
}

/// All containers of a pod, those that begin it included.
fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

/// The AppArmor profile that a pod asks for, for one of its containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Profile {
    /// It says nothing.
    Unset,
    RuntimeDefault,
    Unconfined,
    Localhost(String),
}

/// What a container's own field says, else its annotation, else the pod's field; the text of an
/// annotation that says nothing that is known comes back as an error.
pub(super) fn apparmor(pod: &Pod, spec: &PodSpec, container: &Container) -> Result<Profile, String> {
    let own = container.security_context.as_ref().and_then(|security| security.app_armor_profile.as_ref());
    let of_pod = || spec.security_context.as_ref().and_then(|security| security.app_armor_profile.as_ref());
    if let Some(own) = own {
        return Ok(of_field(own));
    }
    let annotation =
        pod.metadata.annotations.iter().flatten().find_map(|(key, value)| {
            (key.strip_prefix(APPARMOR_ANNOTATION)? == container.name).then_some(value)
        });
    if let Some(text) = annotation {
        return match text.as_str() {
            "runtime/default" => Ok(Profile::RuntimeDefault),
            "unconfined" => Ok(Profile::Unconfined),
            text => match text.strip_prefix("localhost/").filter(|name| !name.is_empty()) {
                Some(name) => Ok(Profile::Localhost(name.to_owned())),
                None => Err(text.to_owned()),
            },
        };
    }
    Ok(of_pod().map_or(Profile::Unset, of_field))
}

fn of_field(profile: &AppArmorProfile) -> Profile {
    match (profile.type_.as_str(), &profile.localhost_profile) {
        ("Localhost", Some(name)) => Profile::Localhost(name.clone()),
        ("Unconfined", _) => Profile::Unconfined,
        _ => Profile::RuntimeDefault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(annotations: Value, spec: Value) -> Pod {
        let mut spec = spec;
        if spec.get("containers").is_none() {
            spec["containers"] = json!([{"name": "c"}]);
        }
        let metadata = json!({"name": "p", "namespace": "n", "annotations": annotations});
        serde_json::from_value(json!({"metadata": metadata, "spec": spec})).expect("a pod")
    }

    #[track_caller]
    fn check_pod(pod: &Pod, apparmor: bool, expected: &str) {
        check_on(pod, apparmor, false, expected);
    }

    #[track_caller]
    fn check_on(pod: &Pod, apparmor: bool, selinux: bool, expected: &str) {
        let allowed_sysctls = &AllowedSysctls::default();
        let node = Abilities { apparmor, selinux, cluster_domain: "cluster.local", allowed_sysctls };
        let found = check(pod, node).map_or_else(
            |rejection| format!("{}: {}", rejection.reason, rejection.message),
            |()| String::new(),
        );
        assert!(found.starts_with(expected) && found.is_empty() == expected.is_empty(), "{found}");
    }

    #[track_caller]
    fn refused(spec: Value, expected: &str) {
        check_pod(&pod(json!({}), spec), true, expected);
    }

    #[test]
    fn what_would_be_left_out_is_refused() {
        let container = |more: Value| {
            let mut container = more;
            container["name"] = json!("c");
            json!({"containers": [container]})
        };
        refused(json!({}), "");
        refused(json!({"os": {"name": "linux"}}), "");
        refused(json!({"os": {"name": "windows"}}), "PodOSNotSupported: Failed to admit pod as the OS field");
        refused(json!({"runtimeClassName": "gvisor"}), "RuntimeClass: RuntimeClass \"gvisor\" not found");
        refused(json!({"overhead": {"cpu": "1"}}), "RuntimeClass: Pod Overhead set without corresponding");
        refused(json!({"resourceClaims": [{"name": "x"}]}), "UnsupportedResourceClaims: ");
        refused(container(json!({"resources": {"claims": [{"name": "x"}]}})), "UnsupportedResourceClaims: ");
        refused(
            container(json!({"ports": [{"containerPort": 80, "hostPort": 80, "hostIP": "::1"}]})),
            "UnsupportedHostIP: container \"c\": hostIP ::1",
        );
        refused(
            container(json!({"ports": [{"containerPort": 80, "hostPort": 80, "hostIP": "127.0.0.1"}]})),
            "",
        );
        refused(
            json!({"volumes": [{"name": "huge", "emptyDir": {"medium": "HugePages-2Mi"}}]}),
            "UnsupportedVolume: volume \"huge\": emptyDir of medium HugePages-2Mi",
        );
        let selinux = json!({"seLinuxOptions": {"level": "s0:c1,c2"}});
        for (spec, wanted) in [
            (json!({"securityContext": selinux}), true),
            (container(json!({"securityContext": selinux})), true),
            (json!({"initContainers": [{"name": "i", "securityContext": selinux}]}), true),
            (json!({"securityContext": {"seLinuxOptions": {}}}), false),
            (json!({"securityContext": {"seLinuxOptions": {"level": ""}}}), false),
        ] {
            let pod = pod(json!({}), spec);
            assert_eq!(wants_selinux(&pod), wanted);
            // It runs without where there is none, and is not run where it would be less confined than others.
            check_on(&pod, true, false, "");
            check_on(&pod, true, true, if wanted { "SELinux: Cannot enforce SELinux" } else { "" });
        }
        let windows = json!({"windowsOptions": {"runAsUserName": "x"}});
        refused(json!({"securityContext": windows}), "WindowsOptions: ");
        refused(container(json!({"securityContext": windows})), "WindowsOptions: ");
        let unmasked = container(json!({"securityContext": {"procMount": "Unmasked"}}));
        refused(unmasked.clone(), "ProcMountForbidden: container \"c\": `hostUsers` must be false");
        let mut own_users = unmasked;
        own_users["hostUsers"] = json!(false);
        refused(own_users, "");
        let init = json!({"initContainers": [{"name": "i", "securityContext": {"procMount": "Unmasked"}}]});
        refused(init, "ProcMountForbidden: container \"i\"");
        refused(
            json!({"securityContext": {"sysctls": [{"name": "vm.swappiness", "value": "1"}]}}),
            "SysctlForbidden: forbidden sysctl",
        );
        let long = "a".repeat(60);
        refused(json!({"hostname": long, "subdomain": "web"}), "");
        refused(
            json!({"hostname": long, "subdomain": "web", "setHostnameAsFQDN": true}),
            "FailedCreatePodSandBox: Failed to construct FQDN",
        );
    }

    #[test]
    fn a_profile_that_the_host_cannot_enforce_is_refused() {
        let field = |profile: Value| pod(json!({}), json!({"securityContext": {"appArmorProfile": profile}}));
        let annotated =
            |text: &str| pod(json!({"container.apparmor.security.beta.kubernetes.io/c": text}), json!({}));
        let refused = "AppArmor: Cannot enforce AppArmor: AppArmor is not enabled on the host";
        for wanted in [
            field(json!({"type": "RuntimeDefault"})),
            field(json!({"type": "Localhost", "localhostProfile": "mine"})),
            annotated("runtime/default"),
            annotated("localhost/mine"),
        ] {
            check_pod(&wanted, false, refused);
            check_pod(&wanted, true, "");
        }
        check_pod(&pod(json!({}), json!({})), false, "");
        check_pod(&field(json!({"type": "Unconfined"})), false, "");
        check_pod(&annotated("unconfined"), false, "");
        check_pod(
            &annotated("mine"),
            true,
            "AppArmor: Cannot enforce AppArmor: invalid AppArmor profile name",
        );
    }

    #[test]
    fn a_container_s_own_profile_goes_over_the_annotation_over_the_pod_s() {
        let wanted = |annotations: Value, own: Value| {
            let spec = json!({
                "securityContext": {"appArmorProfile": {"type": "Localhost", "localhostProfile": "pods"}},
                "containers": [{"name": "c", "securityContext": own}],
            });
            let pod = pod(annotations, spec);
            let spec = pod.spec.as_ref().expect("a spec");
            apparmor(&pod, spec, &spec.containers[0]).expect("a profile")
        };
        let annotation = json!({"container.apparmor.security.beta.kubernetes.io/c": "localhost/noted"});
        assert_eq!(wanted(json!({}), json!({})), Profile::Localhost("pods".to_owned()));
        assert_eq!(wanted(annotation.clone(), json!({})), Profile::Localhost("noted".to_owned()));
        let own = json!({"appArmorProfile": {"type": "Unconfined"}});
        assert_eq!(wanted(annotation, own), Profile::Unconfined);
        let other = json!({"container.apparmor.security.beta.kubernetes.io/d": "unconfined"});
        assert_eq!(wanted(other, json!({})), Profile::Localhost("pods".to_owned()));
    }
}
