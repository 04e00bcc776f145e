//! The mounts of RUN.

use llb::pb;

use super::outline::Need;
use super::state::Env;
use super::{Command, Converter};
use crate::draft::{Operation, Place, metadata};
use crate::go::{base_name, clean_path, join_paths, quote};
use crate::instruction::{Mount, MountKind, Run, Sharing};
use crate::syntax::Lines;

/// What a command sees besides its variables.
#[derive(Default)]
pub(super) struct Mounts {
    pub(super) list: Vec<pb::Mount>,
    pub(super) inputs: Vec<Place>,
    pub(super) secret_env: Vec<pb::SecretEnv>,
    /// Those that come after the others, in their order.
    secrets: Vec<pb::Mount>,
    agents: Vec<pb::Mount>,
    /// What each of `list` comes from, until [`Mounts::finish`].
    sources: Vec<Option<Place>>,
}

impl Mounts {
    /// The root, which the command may write to.
    pub(super) fn new(root: Option<Place>) -> Self {
        let mut mounts = Self::default();
        mounts.add(root, root_mount());
        mounts
    }

    fn add(&mut self, source: Option<Place>, mount: pb::Mount) {
        self.list.push(mount);
        self.sources.push(source);
    }

    /// A program that is run.
    pub(super) fn program(&mut self, dir: &str, root: Place) {
        let mount = pb::Mount {
            dest: dir.to_owned(),
            selector: "/".to_owned(),
            readonly: true,
            output: llb::SKIP_OUTPUT,
            ..pb::Mount::default()
        };
        self.add(Some(root), mount);
    }

    pub(super) fn tmpfs(&mut self, target: &str, size: i64) {
        self.add(None, tmpfs_mount(target, size));
    }

    /// Puts all of them into the order that they are mounted in. The first agent's socket goes into `env`.
    pub(super) fn finish(&mut self, env: &mut Env) {
        let mut list: Vec<_> =
            std::mem::take(&mut self.list).into_iter().zip(self.sources.drain(..)).collect();
        list.sort_by(|(a, _), (b, _)| a.dest.cmp(&b.dest));
        for (mut mount, source) in list {
            mount.input = source.map_or(llb::EMPTY, |source| {
                let known = self.inputs.iter().position(|input| *input == source);
                let known = known.unwrap_or_else(|| {
                    self.inputs.push(source);
                    self.inputs.len() - 1
                });
                i64::try_from(known).expect("there are fewer mounts than numbers")
            });
            self.list.push(mount);
        }
        self.list.append(&mut self.secrets);
        for (number, agent) in self.agents.iter_mut().enumerate() {
            if agent.dest.is_empty() {
                agent.dest = format!("/run/buildkit/ssh_agent.{number}");
            }
        }
        if let Some(first) = self.agents.first()
            && env.value("SSH_AUTH_SOCK").is_none()
        {
            env.set("SSH_AUTH_SOCK", &first.dest);
        }
        self.list.append(&mut self.agents);
    }

    /// What a builder has to be able to for them.
    pub(super) fn capabilities(&self) -> Vec<&'static str> {
        let mut capabilities = Vec::new();
        for mount in &self.list {
            if !mount.selector.is_empty() {
                capabilities.push("exec.mount.selector");
            }
            match mount.mount_type() {
                pb::MountType::Bind => capabilities.push("exec.mount.bind"),
                pb::MountType::Cache => capabilities.extend(["exec.mount.cache", "exec.mount.cache.sharing"]),
                pb::MountType::Tmpfs => {
                    capabilities.push("exec.mount.tmpfs");
                    if mount.tmpfs_opt.is_some_and(|options| options.size > 0) {
                        capabilities.push("exec.mount.tmpfs.size");
                    }
                }
                pb::MountType::Secret => capabilities.push("exec.mount.secret"),
                pb::MountType::Ssh => capabilities.push("exec.mount.ssh"),
            }
        }
        if !self.secret_env.is_empty() {
            capabilities.extend(["exec.mount.secret", "exec.secretenv"]);
        }
        capabilities
    }
}

/// The root file system of a command.
pub(crate) fn root_mount() -> pb::Mount {
    pb::Mount { dest: "/".to_owned(), output: 0, ..pb::Mount::default() }
}

/// Memory at a path.
pub(crate) fn tmpfs_mount(target: &str, size: i64) -> pb::Mount {
    pb::Mount {
        input: llb::EMPTY,
        dest: target.to_owned(),
        output: llb::SKIP_OUTPUT,
        mount_type: pb::MountType::Tmpfs.into(),
        tmpfs_opt: Some(pb::TmpfsOpt { size }),
        ..pb::Mount::default()
    }
}

impl Converter<'_> {
    /// Adds the mounts that RUN asks for.
    pub(super) fn mounts(
        &mut self,
        at: usize,
        command: &Command,
        run: &Run,
        mounts: &mut Mounts,
    ) -> Result<(), String> {
        let lines = command.instruction.lines;
        for (text, &source) in run.mounts.iter().zip(&command.sources) {
            let mount = Mount::read(text, &mut |word| self.word(at, word, lines))?;
            let is_of_context = mount.from.is_empty() && mount.kind != MountKind::Cache;
            let source = if is_of_context { None } else { Some(source) };
            if let Some(source) = source
                && !self.stages[source].is_done
            {
                return Err(format!(
                    "cannot mount from stage {} to {}, stage needs to be defined before current command",
                    quote(&mount.from),
                    quote(&mount.target)
                ));
            }
            match mount.kind {
                MountKind::Secret => self.secret(at, &mount, lines, mounts)?,
                MountKind::Ssh => self.agent(at, &mount, lines, mounts)?,
                MountKind::Bind | MountKind::Cache | MountKind::Tmpfs => {
                    self.files(at, &mount, source, mounts)?;
                }
            }
        }
        Ok(())
    }

    /// Files: of the context, of another stage, of a cache, or none.
    fn files(
        &mut self,
        at: usize,
        mount: &Mount,
        source: Option<usize>,
        mounts: &mut Mounts,
    ) -> Result<(), String> {
        let dir = self.stages[at].state.dir().to_owned();
        let target = match mount.target.starts_with('/') {
            true => mount.target.clone(),
            false => join_paths("/", &join_paths(&dir, &mount.target)),
        };
        if target == "/" {
            return Err(format!("invalid mount target {}", quote(&target)));
        }
        if mount.kind == MountKind::Tmpfs {
            mounts.tmpfs(&target, mount.size);
            if let Some(last) = mounts.list.last_mut() {
                last.readonly = mount.is_readonly;
            }
            return Ok(());
        }
        let mut root = match source {
            None => self.context,
            Some(source) => self.stages[source].state.root,
        };
        let path = join_paths("/", &mount.source);
        let mut selector = if path == "/" { String::new() } else { path.clone() };
        if selector.is_empty() && (mount.uid.is_some() || mount.gid.is_some() || mount.mode.is_some()) {
            root = Some(self.cache_dir(mount, root));
            "/cache".clone_into(&mut selector);
        }
        let cache_opt = (mount.kind == MountKind::Cache).then(|| {
            let id = if mount.id.is_empty() { clean_path(&mount.target) } else { mount.id.clone() };
            let sharing = match mount.sharing {
                None | Some(Sharing::Shared) => pb::CacheSharingOpt::Shared,
                Some(Sharing::Private) => pb::CacheSharingOpt::Private,
                Some(Sharing::Locked) => pb::CacheSharingOpt::Locked,
            };
            pb::CacheOpt {
                id: format!("{}/{id}", self.job.settings.cache_namespace),
                sharing: sharing.into(),
            }
        });
        let kind = if cache_opt.is_some() { pb::MountType::Cache } else { pb::MountType::Bind };
        let made = pb::Mount {
            dest: target,
            selector,
            readonly: mount.is_readonly,
            output: llb::SKIP_OUTPUT,
            mount_type: kind.into(),
            cache_opt,
            ..pb::Mount::default()
        };
        mounts.add(root, made);
        match source {
            None => drop(self.stages[at].context_paths.insert(path)),
            Some(source) => {
                let of = self.stages[source].paths_of;
                self.stages[of].paths.insert(path);
            }
        }
        Ok(())
    }

    /// A directory with an owner and a mode, which an empty cache begins with.
    fn cache_dir(&mut self, mount: &Mount, root: Option<Place>) -> Place {
        let by_id =
            |id: Option<u32>| pb::UserOpt { user: Some(pb::user_opt::User::ById(id.unwrap_or_default())) };
        let mkdir = pb::FileActionMkDir {
            path: "/cache".to_owned(),
            mode: i32::try_from(mount.mode.unwrap_or(0o755) & 0o777).unwrap_or(0o755),
            make_parents: false,
            owner: Some(pb::ChownOpt { user: Some(by_id(mount.uid)), group: Some(by_id(mount.gid)) }),
            timestamp: -1,
        };
        let action = pb::FileAction {
            input: if root.is_some() { 0 } else { llb::EMPTY },
            secondary_input: llb::EMPTY,
            output: 0,
            action: Some(pb::file_action::Action::Mkdir(mkdir)),
        };
        self.draft.add(Operation {
            op: pb::op::Op::File(pb::FileOp { actions: vec![action] }),
            inputs: root.into_iter().collect(),
            platform: None,
            metadata: metadata("[internal] setting cache mount permissions", &["file.base"]),
            lines: None,
        })
    }

    fn secret(&mut self, at: usize, mount: &Mount, lines: Lines, mounts: &mut Mounts) -> Result<(), String> {
        let mut id = if mount.source.is_empty() { mount.id.clone() } else { mount.source.clone() };
        if id.is_empty() {
            if mount.target.is_empty() {
                return Err("one of source, target required".to_owned());
            }
            base_name(&mount.target).clone_into(&mut id);
        }
        let need = Need { is_required: mount.is_required, lines };
        self.stages[at].noted.secrets.entry(id.clone()).or_insert(need);
        let optional = !mount.is_required;
        if let Some(name) = &mount.env {
            mounts.secret_env.push(pb::SecretEnv { id: id.clone(), name: name.clone(), optional });
        }
        let target = match (mount.target.as_str(), &mount.env) {
            ("", Some(_)) => return Ok(()),
            ("", None) => format!("/run/secrets/{}", base_name(&id)),
            (target, _) => target.to_owned(),
        };
        let (uid, gid) = (mount.uid.unwrap_or_default(), mount.gid.unwrap_or_default());
        let mode = mount.mode.unwrap_or(0o400);
        mounts.secrets.push(pb::Mount {
            input: llb::EMPTY,
            dest: target,
            mount_type: pb::MountType::Secret.into(),
            secret_opt: Some(pb::SecretOpt { id, uid, gid, mode, optional }),
            ..pb::Mount::default()
        });
        Ok(())
    }

    fn agent(&mut self, at: usize, mount: &Mount, lines: Lines, mounts: &mut Mounts) -> Result<(), String> {
        if !mount.source.is_empty() {
            return Err("ssh does not support source".to_owned());
        }
        let id = if mount.id.is_empty() { "default" } else { &mount.id };
        let need = Need { is_required: mount.is_required, lines };
        self.stages[at].noted.agents.entry(id.to_owned()).or_insert(need);
        mounts.agents.push(pb::Mount {
            input: llb::EMPTY,
            dest: mount.target.clone(),
            mount_type: pb::MountType::Ssh.into(),
            ssh_opt: Some(pb::SshOpt {
                id: mount.id.clone(),
                uid: mount.uid.unwrap_or_default(),
                gid: mount.gid.unwrap_or_default(),
                mode: mount.mode.unwrap_or(0o600),
                optional: !mount.is_required,
            }),
            ..pb::Mount::default()
        });
        Ok(())
    }
}
