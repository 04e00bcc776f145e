//! From a configuration to a plan: every decision, every string, every descriptor of the host.

mod cgroup_mounts;
mod devices;
mod mapped_overlay;
mod mounts;
mod namespaces;
mod options;
mod paths;
mod process;
mod root;

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::FileType;

use super::plan::{ContainerPlan, HookPlan, NamespacePlan, ProcessPlan, StdioPlan};
use super::{Container, ProcessError, idmap};
use crate::Rootfs;
use crate::spec::{Hook, Linux, Mount, NamespaceKind, Spec};
use crate::sys::exec::StringVector;
use crate::sys::mount::attr;

pub(crate) use mounts::is_bind;
pub(super) use namespaces::id_map;
pub(super) use process::prepare as process;

/// Plans a container's first process.
pub(super) fn container(
    container: &mut Container<'_>,
    process: ProcessPlan,
) -> Result<ContainerPlan, ProcessError> {
    let spec = container.spec;
    let default = Linux::default();
    let linux = spec.linux.as_ref().unwrap_or(&default);
    refuse_unknown(linux)?;
    let namespaces = namespaces::prepare(spec, linux, container.inherited, container.given.as_mut())?;
    let userns = linux.namespace(NamespaceKind::User).is_some();
    let mapped = mapped_namespace(container, linux, &namespaces)?;
    let root = root::prepare(container, linux, mapped.as_ref())?;
    let mounts = mounts::prepare(container, linux, mapped.as_ref())?;
    let device_plans = if devices::are_wanted(&spec.mounts) {
        devices::prepare(linux, userns)?
    } else {
        (Vec::new(), Vec::new())
    };
    let hooks = spec.hooks.clone().unwrap_or_default();
    let has_proc = mounts.iter().any(|mount| mount.target.text == "/proc");
    Ok(ContainerPlan {
        namespaces,
        root,
        mounts,
        devices: device_plans.0,
        links: device_plans.1,
        masked: paths::listed(&linux.masked_paths, has_proc)?,
        readonly: paths::listed(&linux.readonly_paths, has_proc)?,
        null: devices::null()?,
        sysctls: namespaces::sysctls(linux, container.inherited)?,
        pause_for_hooks: !hooks.prestart.is_empty() || !hooks.create_runtime.is_empty(),
        create_container: inner_hooks(&hooks.create_container)?,
        start_container: inner_hooks(&hooks.start_container)?,
        process,
    })
}

/// Whether a container sees its own part of the cgroups, and may write to it.
pub(super) fn orders_groups(spec: &Spec, linux: &Linux) -> bool {
    let own = linux.namespace(NamespaceKind::Cgroup).is_some_and(|namespace| namespace.path.is_none());
    let is_writable = |mount: &Mount| {
        matches!(mount.kind.as_deref(), Some("cgroup" | "cgroup2"))
            && options::parse(&mount.options).alone().set & attr::RDONLY == 0
    };
    own && spec.mounts.iter().any(is_writable)
}

/// The user namespace whose maps the container's idmapped mounts have, if it has such mounts.
fn mapped_namespace(
    container: &Container<'_>,
    linux: &Linux,
    namespaces: &NamespacePlan,
) -> Result<Option<OwnedFd>, ProcessError> {
    let root = matches!(container.rootfs, Rootfs::Overlay { mapped: true, .. });
    if !root && !container.spec.mounts.iter().any(mounts::takes_maps_of_container) {
        return Ok(None);
    }
    let joined = namespaces.joins.iter().find(|(_, flag)| *flag == NamespaceKind::User.flag());
    if let Some((joined, _)) = joined {
        let clone = joined.try_clone();
        return clone.map(Some).map_err(|error| ProcessError::host("share the user namespace", error));
    }
    if linux.uid_mappings.is_empty() || linux.gid_mappings.is_empty() {
        return Err(ProcessError::invalid("an idmapped mount needs mappings of users and groups"));
    }
    idmap::namespace(&linux.uid_mappings, &linux.gid_mappings).map(Some)
}

/// What this runtime does not do is refused, never left out in silence.
fn refuse_unknown(linux: &Linux) -> Result<(), ProcessError> {
    if linux.intel_rdt.is_some() {
        return Err(ProcessError::invalid("`linux.intelRdt` is not supported"));
    }
    // Where there is SELinux it would have to be an option of every mount.
    if linux.mount_label.as_deref().is_some_and(|label| !label.is_empty()) {
        return Err(ProcessError::invalid(
            "`linux.mountLabel`: selinux label is specified in config, but selinux is disabled or not supported",
        ));
    }
    if linux.namespace(NamespaceKind::Time).is_none() && !linux.time_offsets.is_empty() {
        return Err(ProcessError::invalid(
            "`linux.timeOffsets` needs a time namespace of the container's own",
        ));
    }
    if let Some(domain) = linux.personality.as_ref()
        && !domain.flags.is_empty()
    {
        return Err(ProcessError::invalid("`linux.personality.flags` is not supported: none are defined"));
    }
    Ok(())
}

fn inner_hooks(hooks: &[Hook]) -> Result<Vec<HookPlan>, ProcessError> {
    hooks
        .iter()
        .map(|hook| {
            if !hook.path.is_absolute() {
                return Err(ProcessError::invalid(format!(
                    "hook `{}` is not an absolute path",
                    hook.path.display()
                )));
            }
            let text = hook.path.display().to_string();
            let args = if hook.args.is_empty() { vec![text.clone()] } else { hook.args.clone() };
            Ok(HookPlan {
                path: c_string(&hook.path)?,
                argv: strings(&args)?,
                envp: strings(&hook.env)?,
                timeout: hook
                    .timeout
                    .map(|seconds| i32::try_from(seconds.saturating_mul(1000)).unwrap_or(i32::MAX)),
                text,
            })
        })
        .collect()
}

pub(super) fn strings(texts: &[String]) -> Result<StringVector, ProcessError> {
    Ok(StringVector::new(texts.iter().map(c_string).collect::<Result<_, _>>()?))
}

pub(super) fn c_string(text: impl AsRef<std::ffi::OsStr>) -> Result<CString, ProcessError> {
    use std::os::unix::ffi::OsStrExt;
    let text = text.as_ref();
    CString::new(text.as_bytes())
        .map_err(|_| ProcessError::invalid(format!("`{}` has a null byte in it", text.display())))
}

fn host(what: &str, path: &Path, error: impl Into<io::Error>) -> ProcessError {
    ProcessError::Host { what: format!("{what} `{}`", path.display()), source: error.into() }
}

/// Checks that none of the caller's standard streams is a directory: every path that begins there
/// would lead out of the container.
pub(super) fn check_streams(stdio: &StdioPlan) -> Result<(), ProcessError> {
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    let is_directory = |stream| {
        rustix::fs::fstat(stream)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    };
    match stdio {
        StdioPlan::Inherit if streams.into_iter().any(is_directory) => {
            Err(ProcessError::invalid("a standard stream is a directory of the host"))
        }
        _ => Ok(()),
    }
}

/// Checks that a terminal is asked for on both sides or on none.
pub(super) fn check_terminal(terminal: bool, stdio: &StdioPlan) -> Result<(), ProcessError> {
    if terminal == matches!(stdio, StdioPlan::Terminal(_)) {
        return Ok(());
    }
    Err(ProcessError::invalid(if terminal {
        "the process wants a terminal, but there is nobody to give it to"
    } else {
        "there is a taker for a terminal, but the process wants none"
    }))
}
