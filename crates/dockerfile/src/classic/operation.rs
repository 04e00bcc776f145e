//! Steps as operations of a builder of definitions: those that [`crate::build`] makes of the same instructions, so
//! that what was done for one is done for the other.

use std::collections::BTreeMap;

use llb::pb;

use crate::convert::{self, Env, RunSettings};
use crate::instruction;

/// What a request says of how commands run.
#[derive(Clone, Debug, Default)]
pub struct CommandSettings {
    /// The network of those that do not say.
    pub network: pb::NetMode,
    /// The arguments that were given; proxies among them reach commands.
    pub args: BTreeMap<String, Option<String>>,
    /// Names with their addresses, or with `host-gateway`.
    pub hosts: Vec<(String, String)>,
    /// Limits of processes.
    pub ulimits: Vec<pb::Ulimit>,
    /// The cgroup below which those of commands are made; empty for the engine's own.
    pub cgroup_parent: String,
    /// Bytes of `/dev/shm`; 0 for the default.
    pub shm_size: i64,
}

/// A command, on the one input that is its root file system, if there is one.
pub fn command(
    has_base: bool,
    words: Vec<String>,
    env: &Env,
    dir: &str,
    user: &str,
    network: pb::NetMode,
    settings: &CommandSettings,
) -> pb::ExecOp {
    let given = settings.args.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    let run_settings = RunSettings {
        proxies: convert::proxies(given),
        hosts: settings.hosts.clone(),
        hostname: String::new(),
        ulimits: settings.ulimits.clone(),
        cgroup_parent: settings.cgroup_parent.clone(),
    };
    let shm = (settings.shm_size > 0).then(|| convert::tmpfs_mount("/dev/shm", settings.shm_size));
    let root = pb::Mount { input: if has_base { 0 } else { llb::EMPTY }, ..convert::root_mount() };
    pb::ExecOp {
        meta: Some(convert::meta(words, env, dir, user, run_settings)),
        mounts: std::iter::once(root).chain(shm).collect(),
        network: network.into(),
        ..pb::ExecOp::default()
    }
}

/// Makes a directory with those above it, on the input if there is one.
pub fn directory(dir: &str, has_base: bool) -> pb::FileOp {
    convert::directory_op(dir, has_base, "", -1)
}

/// A source of COPY or ADD, with nothing in it to be put in any more.
#[derive(Clone, PartialEq, Debug)]
pub enum Source {
    /// A path, perhaps with wildcards, of the context or of an image.
    Path(String),
    /// The one file, called so, of a directory that was made for it by another operation.
    Made(String),
}

/// COPY or ADD, with nothing in it to be put in any more.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Copies {
    /// Whether archives are unpacked.
    pub unpacks: bool,
    /// Where to.
    pub target: String,
    /// Whom what is copied is given to: `user[:group]`; empty for nobody else.
    pub owner: String,
    /// The permissions of what is copied, in octal; empty for those that it has.
    pub mode: String,
    /// What is left out of directories.
    pub exclude: Vec<String>,
}

impl Copies {
    /// What is copied of each source, in the working directory `dir`. The error says what is wrong.
    pub fn actions(&self, dir: &str, sources: &[Source]) -> Result<Vec<pb::FileActionCopy>, String> {
        let common = convert::common(dir, &self.target, &self.mode, &self.exclude)?;
        let plain = instruction::Copying::default();
        let action = |source: &Source| match source {
            Source::Path(path) => convert::local(path, &plain, self.unpacks, &common),
            Source::Made(name) => convert::action_of(name, &common),
        };
        Ok(sources.iter().map(action).collect())
    }

    /// The operation that copies onto `base`: each file from the input that stands before it, which is called by any
    /// name that tells it from others. Gives the inputs, in their order.
    pub fn operation<P: PartialEq>(
        &self,
        base: Option<P>,
        files: Vec<(P, pb::FileActionCopy)>,
    ) -> (pb::FileOp, Vec<P>) {
        let files = files.into_iter().map(|(from, copy)| (Some(from), copy)).collect();
        convert::file_op(base, files, &self.owner)
    }
}

/// A directory with one file that is called `name`.
pub fn document(name: &str, content: &str) -> pb::FileOp {
    convert::inline_op(&crate::go::join_paths("/", name), content, 0o644)
}

/// A directory with the one file that is at an address, called `name`, or what its server says if there is no name.
pub fn download(address: &str, name: Option<&str>) -> pb::SourceOp {
    let attributes = name.map(|name| ("http.filename".to_owned(), name.to_owned()));
    pb::SourceOp { identifier: address.to_owned(), attrs: attributes.into_iter().collect() }
}
