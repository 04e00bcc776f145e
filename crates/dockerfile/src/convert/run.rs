//! RUN.

use indexmap::IndexMap;
use llb::pb;

use super::mounts::Mounts;
use super::names::shown;
use super::state::Env;
use super::{Command, Converter};
use crate::draft::{COMMAND, Operation, metadata};
use crate::instruction::{Run, RunNetwork};
use crate::lexer::Lexer;
use crate::syntax::{chomp, heredoc};

/// Where a here-document is that is a program.
const PROGRAM_DIR: &str = "/dev/pipes/";

impl Converter<'_> {
    pub(super) fn run(&mut self, at: usize, command: &Command, run: &Run) -> Result<(), String> {
        let instruction = &command.instruction;
        let paths_of = self.stages[at].paths_of;
        self.stages[paths_of].paths.insert("/".to_owned());
        let mut mounts = Mounts::new(self.stages[at].state.root);
        let mut label = instruction.code.clone();
        let mut words = run.command.words.clone();
        if !run.command.heredocs.is_empty() {
            words = self.with_heredocs(at, run, &mut mounts, &mut label)?;
        }
        if run.command.is_for_shell {
            words = self.with_shell(at, &words);
        }
        if words.is_empty() {
            return Err("arguments are required".to_owned());
        }
        self.mounts(at, command, run, &mut mounts)?;
        let env = self.stages[at].state.env.clone();
        let (platform, lines) = (self.stages[at].platform.clone(), instruction.lines);
        let lexer = Lexer { keeps_quotes: true, keeps_unset: true, ..self.lexer };
        let mut masked = env.clone();
        for secret in &mounts.secret_env {
            masked.set(&secret.name, "****");
        }
        let label = shown(lexer, &label, &masked);
        let label = self.step_name(at, &label, platform.as_ref(), &env);
        let history = run_history(&words, &self.stages[at].args, &env);

        let settings = self.job.settings;
        if settings.shm_size > 0 {
            mounts.tmpfs("/dev/shm", settings.shm_size);
        }
        let mut capabilities = vec!["exec.meta.base", "exec.meta.setsdefaultpath"];
        let stage = &self.stages[at];
        let network = match run.network {
            RunNetwork::Default => stage.state.network,
            RunNetwork::None => pb::NetMode::None,
            RunNetwork::Host => pb::NetMode::Host,
        };
        let proxy_env = proxies(&self.given);
        for (is_used, capability) in [
            (network != pb::NetMode::Unset, "exec.meta.network"),
            (run.is_insecure, "exec.meta.security"),
            (proxy_env.is_some(), "exec.meta.proxyenv"),
            (!settings.ulimits.is_empty(), "exec.meta.ulimit"),
            (!settings.cgroup_parent.is_empty(), "exec.meta.cgroup.parent"),
            (settings.resources.is_some(), "exec.meta.linux.resources"),
            (!run.devices.is_empty(), "exec.meta.cdi"),
        ] {
            capabilities.extend(is_used.then_some(capability));
        }
        let mut environment = env;
        mounts.finish(&mut environment);
        capabilities.extend(mounts.capabilities());
        let hosts = settings.hosts.iter();
        let run_settings = RunSettings {
            proxies: proxy_env,
            hosts: hosts.map(|(host, ip)| (host.clone(), ip.to_string())).collect(),
            hostname: stage.state.hostname.clone(),
            ulimits: settings.ulimits.clone(),
            cgroup_parent: settings.cgroup_parent.clone(),
        };
        let meta = meta(words, &environment, stage.state.dir(), &stage.state.user, run_settings);
        let devices = run.devices.iter();
        let mut told = metadata(&label, &capabilities);
        told.description.insert(COMMAND.to_owned(), instruction.code.clone());
        told.ignore_cache = stage.ignores_cache;
        told.linux_resources.clone_from(&settings.resources);
        let op = pb::op::Op::Exec(pb::ExecOp {
            meta: Some(meta),
            mounts: mounts.list,
            network: network.into(),
            security: if run.is_insecure { pb::SecurityMode::Insecure } else { pb::SecurityMode::Sandbox }
                .into(),
            secretenv: mounts.secret_env,
            cdi_devices: devices
                .map(|device| pb::CdiDevice { name: device.name.clone(), optional: !device.is_required })
                .collect(),
        });
        let inputs = mounts.inputs;
        let root = self.draft.add(Operation { op, inputs, platform, metadata: told, lines: Some(lines) });
        self.stages[at].state.root = Some(root);
        self.commit(at, history, true);
        Ok(())
    }

    /// The words of a command that here-documents follow.
    fn with_heredocs(
        &mut self,
        at: usize,
        run: &Run,
        mounts: &mut Mounts,
        label: &mut String,
    ) -> Result<Vec<String>, String> {
        let [line] = run.command.words.as_slice() else {
            return Err(format!("parsing produced an invalid run command: {:?}", run.command.words));
        };
        let Some(first) = run.command.heredocs.first() else { return Ok(run.command.words.clone()) };
        if !matches!(heredoc(line), Ok(Some(_))) {
            // The shell reads them itself.
            let mut text = line.clone();
            for document in &run.command.heredocs {
                text.push_str(&format!("\n{}{}", document.content, document.name));
            }
            return Ok(vec![text]);
        }
        let content = if first.chomps { chomp(&first.content) } else { first.content.clone() };
        label.push_str(&format!(" ({})", summary(&first.content)));
        if self.stages[at].image.os == "windows" || !content.starts_with("#!") {
            return Ok(vec![content]);
        }
        let root = self.inline_file(&crate::go::join_paths("/", &first.name), &content, 0o755);
        mounts.program(PROGRAM_DIR, root);
        Ok(vec![crate::go::join_paths(PROGRAM_DIR, &first.name)])
    }
}

/// What a request says of how commands run.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunSettings {
    pub(crate) proxies: Option<pb::ProxyEnv>,
    /// Names with their addresses.
    pub(crate) hosts: Vec<(String, String)>,
    pub(crate) hostname: String,
    pub(crate) ulimits: Vec<pb::Ulimit>,
    pub(crate) cgroup_parent: String,
}

/// How a command runs.
pub(crate) fn meta(words: Vec<String>, env: &Env, dir: &str, user: &str, settings: RunSettings) -> pb::Meta {
    let hosts = settings.hosts.into_iter();
    pb::Meta {
        args: words,
        env: env.entries(),
        cwd: dir.to_owned(),
        user: user.to_owned(),
        proxy_env: settings.proxies,
        extra_hosts: hosts.map(|(host, ip)| pb::HostIp { host, ip }).collect(),
        hostname: settings.hostname,
        ulimit: settings.ulimits,
        cgroup_parent: settings.cgroup_parent,
        remove_mount_stubs_recursive: true,
        valid_exit_codes: Vec::new(),
    }
}

/// The first line of a here-document.
fn summary(content: &str) -> String {
    let mut lines = content.trim().lines();
    let first = lines.next().unwrap_or_default();
    match lines.next() {
        None => first.to_owned(),
        Some(_) => format!("{first}..."),
    }
}

/// What the history says: the declared arguments, and the command.
fn run_history(words: &[String], args: &IndexMap<String, Option<String>>, env: &Env) -> String {
    let mut parts = Vec::new();
    if !args.is_empty() {
        parts.push(format!("|{}", args.len()));
    }
    for (name, value) in args {
        parts.push(format!("{name}={}", env.value(name).or(value.as_deref()).unwrap_or_default()));
    }
    parts.extend(words.iter().cloned());
    format!("RUN {} # buildkit", parts.join(" "))
}

/// The proxies among the arguments, which reach commands without being declared, and count for nothing.
pub(crate) fn proxies<'a>(args: impl IntoIterator<Item = (&'a String, &'a String)>) -> Option<pb::ProxyEnv> {
    let mut proxies = pb::ProxyEnv::default();
    let mut is_set = false;
    for (name, value) in args {
        let place = match name.to_ascii_lowercase().as_str() {
            "http_proxy" => &mut proxies.http_proxy,
            "https_proxy" => &mut proxies.https_proxy,
            "ftp_proxy" => &mut proxies.ftp_proxy,
            "no_proxy" => &mut proxies.no_proxy,
            "all_proxy" => &mut proxies.all_proxy,
            _ => continue,
        };
        value.clone_into(place);
        is_set = true;
    }
    is_set.then_some(proxies)
}
