//! What commands left that failed, for clients that look into it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use llb::pb;
use oci::Digest;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};

use super::SolveError;
use super::job::Job;
use super::reference::Ref;
use super::schedule::Step;
use super::value::{self, Chain};

/// So many are kept of one build.
const KEPT: usize = 16;

/// A command that failed, and what it left.
pub struct FailedCommand {
    /// The operation, in the JSON of protocol buffers.
    pub operation: Value,
    /// What each of its mounts was, in their order; nothing of those that were empty, or no result of anything.
    pub before: Vec<Option<Ref>>,
    /// What each of them is since.
    pub after: Vec<Option<Ref>>,
}

/// What commands of a build left that failed.
#[derive(Default)]
pub(crate) struct Failed {
    is_wanted: AtomicBool,
    left: Mutex<HashMap<Digest, Left>>,
}

#[derive(Clone)]
struct Left {
    op: pb::Op,
    before: Vec<Option<value::Value>>,
    after: Vec<Option<value::Value>>,
}

impl Failed {
    /// Whether what is left is to be kept.
    pub(crate) fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Relaxed) && self.left.lock().len() < KEPT
    }

    /// Keeps what a command has left: of its outputs those that it has.
    pub(crate) fn keep(&self, step: &Step<'_>, exec: &pb::ExecOp, outputs: &[(i64, Chain)]) {
        let before = |mount: &pb::Mount| match mount.mount_type() {
            pb::MountType::Bind if mount.input != llb::EMPTY => step.input(mount.input).ok(),
            _ => None,
        };
        let after = |mount: &pb::Mount| {
            let written = outputs.iter().find(|(output, _)| mount.output >= 0 && *output == mount.output);
            written.map(|(_, chain)| value::Value::Chain(chain.clone())).or_else(|| before(mount))
        };
        let left = Left {
            op: step.vertex.op.clone(),
            before: exec.mounts.iter().map(before).collect(),
            after: exec.mounts.iter().map(after).collect(),
        };
        self.left.lock().insert(step.vertex.digest.clone(), left);
    }
}

impl Job {
    /// Keeps from now on what commands leave that fail.
    pub fn keep_failed(&self) {
        self.inner.failed.is_wanted.store(true, Ordering::Relaxed);
    }

    /// What was left by the command whose failure this is, if that was kept.
    pub fn failed(&self, error: &SolveError) -> Option<FailedCommand> {
        let (mut error, mut of) = (error, None);
        while let SolveError::Vertex { source, .. } | SolveError::Located { source, .. } = error {
            if let SolveError::Vertex { digest, .. } = error {
                of = Some(digest);
            }
            error = source;
        }
        let left = self.inner.failed.left.lock().get(of?).cloned()?;
        let made = |values: Vec<Option<value::Value>>| {
            let made = values.into_iter().map(|value| value.map(|it| Ref::made(self, it)).transpose());
            made.collect::<Result<Vec<_>, _>>().ok()
        };
        Some(FailedCommand {
            operation: operation(&left.op),
            before: made(left.before)?,
            after: made(left.after)?,
        })
    }
}

/// A command in the JSON of protocol buffers, in which names are word by word what they are in the protocol.
fn operation(op: &pb::Op) -> Value {
    let mut shown = super::export::shown(op)["Op"].take();
    named(&mut shown);
    if let Some(platform) = &op.platform {
        shown["platform"] = json!({
            "OS": platform.os, "Architecture": platform.architecture, "Variant": platform.variant,
        });
    }
    shown
}

/// Gives the parts of a command their names in the protocol, where those have capitals of their own.
fn named(part: &mut Value) {
    const NAMES: [(&str, &str); 8] = [
        ("id", "ID"),
        ("tmpfsOpt", "TmpfsOpt"),
        ("sshOpt", "SSHOpt"),
        ("resultId", "resultID"),
        ("host", "Host"),
        ("ip", "IP"),
        ("soft", "Soft"),
        ("hard", "Hard"),
    ];
    match part {
        Value::Array(parts) => parts.iter_mut().for_each(named),
        Value::Object(fields) => {
            let is_limit = fields.contains_key("soft") || fields.contains_key("hard");
            let fields_ = std::mem::take(fields).into_iter().map(|(name, mut value)| {
                named(&mut value);
                let other = NAMES.iter().find(|(ours, _)| *ours == name).map(|(_, theirs)| *theirs);
                let other = other.or((is_limit && name == "name").then_some("Name"));
                (other.map_or(name, str::to_owned), value)
            });
            *fields = fields_.collect::<Map<_, _>>();
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_by_the_names_of_the_protocol() {
        let exec = pb::ExecOp {
            meta: Some(pb::Meta {
                args: vec!["a".to_owned()],
                extra_hosts: vec![pb::HostIp { host: "h".to_owned(), ip: "::1".to_owned() }],
                ulimit: vec![pb::Ulimit { name: "core".to_owned(), soft: 0, hard: 1 }],
                ..pb::Meta::default()
            }),
            mounts: vec![pb::Mount {
                dest: "/m".to_owned(),
                mount_type: pb::MountType::Cache.into(),
                output: -1,
                tmpfs_opt: Some(pb::TmpfsOpt { size: 1 }),
                cache_opt: Some(pb::CacheOpt { id: "c".to_owned(), sharing: 0 }),
                ssh_opt: Some(pb::SshOpt { id: "s".to_owned(), ..pb::SshOpt::default() }),
                ..pb::Mount::default()
            }],
            secretenv: vec![pb::SecretEnv { id: "e".to_owned(), name: "E".to_owned(), optional: true }],
            ..pb::ExecOp::default()
        };
        let platform = Some(pb::Platform { os: "linux".to_owned(), ..pb::Platform::default() });
        let op = pb::Op { op: Some(pb::op::Op::Exec(exec)), platform, ..pb::Op::default() };
        let expected = json!({
            "exec": {
                "meta": {
                    "args": ["a"],
                    "extraHosts": [{"Host": "h", "IP": "::1"}],
                    "ulimit": [{"Name": "core", "Hard": 1}],
                },
                "mounts": [{
                    "dest": "/m", "output": -1, "mountType": 3, "TmpfsOpt": {"size": 1},
                    "cacheOpt": {"ID": "c"}, "SSHOpt": {"ID": "s"},
                }],
                "secretenv": [{"ID": "e", "name": "E", "optional": true}],
            },
            "platform": {"OS": "linux", "Architecture": "", "Variant": ""},
        });
        assert_eq!(operation(&op), expected);
    }
}
