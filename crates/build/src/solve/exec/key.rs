//! What a command is known by.

use llb::pb::{ExecOp, Mount, MountContentCache, MountType};
use oci::Digest;
use prost::Message;

use crate::solve::SolveError;
use crate::solve::key::{Key, Named, Selection};
use crate::solve::schedule::Step;

/// The key of a command: all that it says but for how it reaches the world, and what it is given, by content.
pub(super) async fn key(step: &Step<'_>, exec: &ExecOp) -> Result<Digest, SolveError> {
    let mut key = Key::new("exec");
    let mut plain = exec.clone();
    if let Some(meta) = &mut plain.meta {
        meta.proxy_env = None;
    }
    for mount in &mut plain.mounts {
        // Where it comes from counts by what it is.
        mount.input = mount.input.min(0);
        if by_content(exec, mount) {
            mount.selector = String::new();
        }
    }
    key.add(plain.encode_to_vec());
    if let Some(apart) = step.followed.and_then(|followed| followed.apart.as_ref()) {
        key.add("apart");
        key.add(apart);
    }
    let platform = step.platform();
    [platform.os, platform.architecture, platform.variant].iter().for_each(|part| key.add(part));
    for mount in exec.mounts.iter().filter(|mount| mount.input != llb::EMPTY) {
        let value = step.input(mount.input)?;
        match by_content(exec, mount) {
            true => {
                let selection = Selection {
                    path: mount.selector.clone(),
                    wildcard: false,
                    follow: true,
                    include: Vec::new(),
                    exclude: Vec::new(),
                    owners: true,
                    named: Named::None,
                };
                key.add_selected(step.job, &value, selection).await?;
            }
            false => key.add_whole(step.job, &value).await?,
        }
    }
    Ok(key.finish())
}

/// Whether only what a command can see of a mount's input counts: it is read-only, nobody else has the same
/// input in another way, and it is not the root.
fn by_content(exec: &ExecOp, mount: &Mount) -> bool {
    let is_read = |mount: &Mount| {
        mount.dest != "/" && mount.readonly && mount.mount_type() == MountType::Bind && mount.output < 0
    };
    mount.content_cache() != MountContentCache::Off
        && is_read(mount)
        && exec.mounts.iter().filter(|other| other.input == mount.input).all(is_read)
}
