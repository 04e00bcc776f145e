//! Containers that somebody adds to a pod that runs, to look into it: they run once, and the pod does not wait
//! for them.

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod};

/// Those of a pod, as containers like the others. What they may not have is left out.
pub fn containers(pod: &Pod) -> Vec<Container> {
    of(pod).map(container).collect()
}

/// The container of the pod whose processes one of them sees.
pub fn target<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    let target = of(pod).find(|ephemeral| ephemeral.name == name)?.target_container_name.as_deref();
    target.filter(|target| !target.is_empty())
}

fn of(pod: &Pod) -> impl Iterator<Item = &EphemeralContainer> {
    pod.spec.iter().flat_map(|spec| spec.ephemeral_containers.iter().flatten())
}

fn container(ephemeral: &EphemeralContainer) -> Container {
    let EphemeralContainer {
        args,
        command,
        env,
        env_from,
        image,
        image_pull_policy,
        name,
        security_context,
        stdin,
        stdin_once,
        termination_message_path,
        termination_message_policy,
        tty,
        volume_devices,
        volume_mounts,
        working_dir,
        ..
    } = ephemeral.clone();
    Container {
        args,
        command,
        env,
        env_from,
        image,
        image_pull_policy,
        name,
        security_context,
        stdin,
        stdin_once,
        termination_message_path,
        termination_message_policy,
        tty,
        volume_devices,
        volume_mounts,
        working_dir,
        ..Container::default()
    }
}
