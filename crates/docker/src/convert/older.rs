//! What clients of older versions of the API mean by what they leave out, and what they cannot mean yet.

use crate::fault::Fault;
use crate::version::ApiVersion;
use crate::wire::container::Create;
use crate::wire::container::mount::MountSpec;

/// Makes of a request what a client of the newest version would have sent; refuses what came later and
/// changes what a container is given.
pub(crate) fn adapt(document: &mut Create, version: ApiVersion) -> Result<(), Fault> {
    let general = &mut document.host_config.general;
    if version < ApiVersion(1, 25) {
        // The client removes the container.
        general.auto_remove = false;
    }
    if version < ApiVersion(1, 40) && general.ipc_mode.is_empty() {
        "shareable".clone_into(&mut general.ipc_mode);
    }
    if version < ApiVersion(1, 42) {
        general.console_size = [0, 0];
    }
    if version < ApiVersion(1, 43) {
        general.annotations.clear();
    }
    if version < ApiVersion(1, 44)
        && let Some(check) = &mut document.config.healthcheck
    {
        check.start_interval = 0;
    }
    if version < ApiVersion(1, 48) {
        for endpoint in document.networking_config.endpoints_config.values_mut().flatten() {
            endpoint.gw_priority = 0;
        }
    }
    document.host_config.rest.mounts.iter_mut().try_for_each(|mount| adapt_mount(mount, version))
}

fn adapt_mount(mount: &mut MountSpec, version: ApiVersion) -> Result<(), Fault> {
    if version < ApiVersion(1, 42) {
        // Options of another kind of mount said nothing.
        let kind = mount.kind.as_str();
        mount.volume_options.take_if(|_| kind != "volume");
        mount.tmpfs_options.take_if(|_| kind != "tmpfs");
    }
    if let Some(bind) = &mut mount.bind_options {
        bind.non_recursive &= version >= ApiVersion(1, 40);
        bind.create_mountpoint &= version >= ApiVersion(1, 42);
        if bind.read_only_force_recursive && version < ApiVersion(1, 44) {
            return Err(Fault::invalid("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer"));
        }
    }
    let has_subpath = mount.volume_options.as_ref().is_some_and(|volume| !volume.subpath.is_empty());
    if has_subpath && version < ApiVersion(1, 45) {
        return Err(Fault::invalid("VolumeOptions.Subpath needs API v1.45 or newer"));
    }
    if mount.kind == "image" && version < ApiVersion(1, 48) {
        return Err(Fault::invalid("Mount type \"Image\" needs API v1.48 or newer"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn adapted(document: serde_json::Value, version: ApiVersion) -> Result<Create, Fault> {
        let mut document = serde_json::from_value(document).expect("a request");
        adapt(&mut document, version).map(|()| document)
    }

    #[test]
    fn older_clients_share_memory_unless_they_say_otherwise() {
        let mode = |mode: &str, version| {
            adapted(json!({"HostConfig": {"IpcMode": mode}}), version)
                .expect("adapted")
                .host_config
                .general
                .ipc_mode
        };
        assert_eq!(mode("", ApiVersion(1, 39)), "shareable");
        assert_eq!(mode("private", ApiVersion(1, 39)), "private");
        assert_eq!(mode("", ApiVersion(1, 40)), "");
    }

    #[test]
    fn what_came_later_is_refused_where_it_would_change_the_container_and_dropped_elsewhere() {
        let mount = |mount: serde_json::Value, version| {
            adapted(json!({"HostConfig": {"Mounts": [mount]}}), version)
                .map(|document| document.host_config.rest.mounts[0].clone())
        };
        let subpath = json!({"Type": "volume", "VolumeOptions": {"Subpath": "a"}});
        let refused = mount(subpath.clone(), ApiVersion(1, 44)).expect_err("refused");
        assert_eq!(refused.message, "VolumeOptions.Subpath needs API v1.45 or newer");
        assert!(mount(subpath, ApiVersion(1, 45)).is_ok());
        let image = json!({"Type": "image", "Source": "busybox"});
        assert!(mount(image.clone(), ApiVersion(1, 47)).is_err());
        assert!(mount(image, ApiVersion(1, 48)).is_ok());
        let made = json!({"Type": "bind", "BindOptions": {"CreateMountpoint": true, "NonRecursive": true}});
        let old = mount(made, ApiVersion(1, 41)).expect("adapted").bind_options.expect("it has some");
        assert!(!old.create_mountpoint && old.non_recursive);
    }
}
