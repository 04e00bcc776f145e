//! For tests: somebody who answers questions from tables, and definitions as text.

use std::collections::BTreeMap;
use std::sync::Mutex;

use futures::executor::block_on;
use llb::pb;
use llb::pb::file_action::Action;
use oci::{Digest, ImageConfig, Platform};

use crate::client::{Answer, Client, DockerfileSource, ResolveOptions, ResolvedImage};
use crate::front::{Built, FrontError, FrontRequest, build};
use crate::lint::Warning;

/// Answers from tables.
#[derive(Default)]
pub(crate) struct Desk {
    /// Files by the last part of their source's address, and path.
    pub(crate) files: BTreeMap<(String, String), Vec<u8>>,
    /// Configurations of images by name.
    pub(crate) images: BTreeMap<String, ImageConfig>,
    pub(crate) options: BTreeMap<String, String>,
    pub(crate) inputs: BTreeMap<String, pb::Definition>,
    pub(crate) warnings: Mutex<Vec<String>>,
    /// The names of all that was asked for, to be shown.
    pub(crate) asked: Mutex<Vec<String>>,
}

impl Desk {
    /// One with a Dockerfile, and the image `alpine`.
    pub(crate) fn new(dockerfile: &str) -> Self {
        let mut desk = Self::default();
        desk.file("dockerfile", "Dockerfile", dockerfile);
        let mut alpine = ImageConfig::for_platform(&Platform::new("linux", "amd64", ""));
        alpine.config.env = vec!["PATH=/bin".to_owned()];
        alpine.config.cmd = Some(vec!["/bin/sh".to_owned()]);
        alpine.rootfs.diff_ids = vec![Digest::sha256_of(b"alpine")];
        desk.images.insert("docker.io/library/alpine:latest".to_owned(), alpine);
        desk
    }

    pub(crate) fn file(&mut self, source: &str, path: &str, text: &str) {
        self.files.insert((source.to_owned(), path.to_owned()), text.as_bytes().to_vec());
    }

    pub(crate) fn with(mut self, option: &str, value: &str) -> Self {
        self.options.insert(option.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn build(&self) -> Result<Built, FrontError> {
        let request = FrontRequest {
            options: self.options.clone(),
            inputs: self.inputs.clone(),
            platform: Platform::new("linux", "amd64", ""),
        };
        block_on(build(request, self))
    }

    /// The definition of the first image as text, or the complaint with the lines that it is about.
    pub(crate) fn definition(&self) -> Vec<String> {
        match self.build() {
            Ok(Built::Images { images, .. }) => show(&images[0].definition),
            Ok(other) => vec![format!("{other:?}")],
            Err(FrontError::Dockerfile { problem, lines, .. }) => {
                let lines: Vec<String> =
                    lines.iter().map(|lines| format!("{}-{}", lines.first, lines.last)).collect();
                vec![format!("{}: {problem}", lines.join(","))]
            }
            Err(error) => vec![error.to_string()],
        }
    }

    /// The configuration of the first image.
    pub(crate) fn config(&self) -> ImageConfig {
        match self.build().expect("built") {
            Built::Images { images, .. } => ImageConfig::parse(&images[0].config).expect("a configuration"),
            other => panic!("no image: {other:?}"),
        }
    }

    /// What is said of the Dockerfile.
    pub(crate) fn found(&self) -> Vec<String> {
        let _ = self.build();
        std::mem::take(&mut *self.warnings.lock().expect("lock"))
    }

    /// An answer about the Dockerfile.
    pub(crate) fn answer(&self) -> BTreeMap<String, String> {
        match self.build().expect("answered") {
            Built::Answer(metadata) => {
                let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
                metadata.into_iter().map(|(name, bytes)| (name, text(bytes))).collect()
            }
            other => panic!("no answer: {other:?}"),
        }
    }
}

impl Client for Desk {
    fn resolve_image<'a>(&'a self, name: &'a str, options: ResolveOptions<'a>) -> Answer<'a, ResolvedImage> {
        Box::pin(async move {
            self.asked.lock().expect("lock").push(options.name.to_owned());
            let bare = name.split('@').next().unwrap_or(name);
            let config = self.images.get(bare).ok_or("not found")?;
            let digest = Some(Digest::sha256_of(bare.as_bytes()));
            Ok(ResolvedImage { name: name.to_owned(), digest, config: config.to_bytes() })
        })
    }

    fn read_files<'a>(
        &'a self,
        definition: &'a pb::Definition,
        paths: &'a [String],
        limit: u64,
    ) -> Answer<'a, Vec<Option<Vec<u8>>>> {
        Box::pin(async move {
            let graph = llb::Graph::read(definition, llb::Limits::default())?;
            let last = graph.vertices().last().expect("a source");
            self.asked.lock().expect("lock").push(last.name.clone());
            let source = graph.vertices().iter().find_map(|vertex| match &vertex.op.op {
                Some(pb::op::Op::Source(source)) => source.identifier.rsplit('/').next(),
                _ => None,
            });
            let read = |path: &String| {
                let file = self.files.get(&(source.unwrap_or_default().to_owned(), path.clone()));
                file.map(|file| file[..file.len().min(limit as usize)].to_vec())
            };
            Ok(paths.iter().map(read).collect())
        })
    }

    fn warn(&self, _: &DockerfileSource, warning: &Warning) {
        self.warnings.lock().expect("lock").push(warning.short());
    }

    fn session(&self) -> &str {
        "session"
    }
}

/// The operations of a definition, each with its name, what it does, and the numbers of those it comes from.
pub(crate) fn show(definition: &pb::Definition) -> Vec<String> {
    let graph = llb::Graph::read(definition, llb::Limits::default()).expect("a definition that can be read");
    let mut shown = Vec::new();
    for (number, vertex) in graph.vertices().iter().enumerate() {
        let inputs: Vec<String> = vertex.inputs.iter().map(|edge| edge.vertex.to_string()).collect();
        let what = match vertex.op.op.as_ref().expect("an operation") {
            pb::op::Op::Source(source) => show_source(source),
            pb::op::Op::File(file) => file.actions.iter().map(show_action).collect::<Vec<_>>().join("; "),
            pb::op::Op::Merge(_) => "merge".to_owned(),
            pb::op::Op::Exec(exec) => show_exec(exec),
            other => format!("{other:?}"),
        };
        let ignored = if vertex.metadata.ignore_cache { " uncached" } else { "" };
        let from = if inputs.is_empty() { String::new() } else { format!(" <{}>", inputs.join(",")) };
        shown.push(format!("{number}{from}{ignored} `{}` {what}", vertex.name));
    }
    shown
}

fn show_source(source: &pb::SourceOp) -> String {
    let attributes: Vec<String> = source
        .attrs
        .iter()
        .filter(|(name, _)| !name.starts_with("git.auth") && *name != "local.session")
        .map(|(name, value)| format!(" {name}={value}"))
        .collect();
    format!("{}{}", source.identifier, attributes.concat())
}

fn show_action(action: &pb::FileAction) -> String {
    let places = format!("{},{}->{}", action.input, action.secondary_input, action.output);
    let what = match action.action.as_ref().expect("an action") {
        Action::Mkdir(dir) => format!("mkdir {} {:o}{}", dir.path, dir.mode, show_owner(dir.owner.as_ref())),
        Action::Mkfile(file) => format!("mkfile {} {:o} {:?}", file.path, file.mode, file.data),
        Action::Copy(copy) => {
            let mut text = format!("copy {} {}{}", copy.src, copy.dest, show_owner(copy.owner.as_ref()));
            for (is_set, flag) in [
                (copy.mode >= 0 && copy.mode_str.is_empty(), format!(" mode={:o}", copy.mode)),
                (!copy.mode_str.is_empty(), format!(" mode={}", copy.mode_str)),
                (copy.attempt_unpack_docker_compatibility, " unpack".to_owned()),
                (copy.follow_symlink && copy.allow_wildcard && copy.dir_copy_contents, " local".to_owned()),
                (!copy.include_patterns.is_empty(), format!(" include={:?}", copy.include_patterns)),
                (!copy.exclude_patterns.is_empty(), format!(" exclude={:?}", copy.exclude_patterns)),
                (!copy.required_paths.is_empty(), format!(" required={:?}", copy.required_paths)),
            ] {
                text.push_str(if is_set { &flag } else { "" });
            }
            text
        }
        other => format!("{other:?}"),
    };
    format!("{places} {what}")
}

fn show_owner(owner: Option<&pb::ChownOpt>) -> String {
    let one = |user: &Option<pb::UserOpt>| match user.as_ref().and_then(|user| user.user.as_ref()) {
        None => "-".to_owned(),
        Some(pb::user_opt::User::ById(id)) => id.to_string(),
        Some(pb::user_opt::User::ByName(name)) => format!("{}@{}", name.name, name.input),
    };
    owner.map(|owner| format!(" owner={}:{}", one(&owner.user), one(&owner.group))).unwrap_or_default()
}

fn show_exec(exec: &pb::ExecOp) -> String {
    let meta = exec.meta.as_ref().expect("what to run");
    let mut text = format!("exec {:?} env={} cwd={}", meta.args, meta.env.join(","), meta.cwd);
    for (name, value) in [("user", &meta.user), ("hostname", &meta.hostname), ("cgroup", &meta.cgroup_parent)]
    {
        if !value.is_empty() {
            text.push_str(&format!(" {name}={value}"));
        }
    }
    if let Some(proxy) = &meta.proxy_env {
        text.push_str(&format!(" proxy={}", proxy.http_proxy));
    }
    for host in &meta.extra_hosts {
        text.push_str(&format!(" host={}:{}", host.host, host.ip));
    }
    for limit in &meta.ulimit {
        text.push_str(&format!(" ulimit={}:{}:{}", limit.name, limit.soft, limit.hard));
    }
    if exec.network != 0 {
        text.push_str(&format!(" network={:?}", exec.network()));
    }
    if exec.security != 0 {
        text.push_str(" insecure");
    }
    for mount in exec.mounts.iter().filter(|mount| mount.dest != "/") {
        let kind = format!("{:?}", mount.mount_type()).to_lowercase();
        text.push_str(&format!(" {kind}:{}<{}{}", mount.dest, mount.input, mount.selector));
        text.push_str(if mount.readonly { ":ro" } else { "" });
        if let Some(cache) = &mount.cache_opt {
            text.push_str(&format!(":{}:{:?}", cache.id, cache.sharing()));
        }
        if let Some(tmpfs) = &mount.tmpfs_opt {
            text.push_str(&format!(":{}", tmpfs.size));
        }
        if let Some(secret) = &mount.secret_opt {
            let optional = if secret.optional { "?" } else { "" };
            text.push_str(&format!(
                ":{}{optional}:{}:{}:{:o}",
                secret.id, secret.uid, secret.gid, secret.mode
            ));
        }
        if let Some(agent) = &mount.ssh_opt {
            let optional = if agent.optional { "?" } else { "" };
            text.push_str(&format!(":{}{optional}:{:o}", agent.id, agent.mode));
        }
    }
    for secret in &exec.secretenv {
        text.push_str(&format!(" secret:${}:{}", secret.name, secret.id));
    }
    for device in &exec.cdi_devices {
        text.push_str(&format!(" device:{}:{}", device.name, device.optional));
    }
    text
}
