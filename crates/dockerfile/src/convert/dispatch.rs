//! Goes through the instructions of the stages that are needed.

use std::collections::{BTreeSet, HashMap};

use llb::pb;
use oci::History;

use super::args::check_worth;
use super::base::{DEFAULT_PATH, set_up};
use super::checks::{self, Ignored};
use super::names::shown;
use super::outline::ArgNote;
use super::{Command, Converter, Failure, StageState};
use crate::draft::{Operation, metadata};
use crate::go::{duration, join_paths, list, quote, quote_all};
use crate::instruction::{Arg, CommandLine, Copying, Instruction, Pair, What};
use crate::lexer::Lexer;
use crate::lint;
use crate::syntax::Lines;

/// What a stage takes at least.
const LEAST_WEIGHT: usize = 1 << 10;
/// The comment of every step in a history.
const COMMENT: &str = "buildkit.dockerfile.v0";

impl Converter<'_> {
    pub(super) async fn dispatch_all(&mut self, needed: &BTreeSet<usize>) -> Result<(), Failure> {
        let patterns = self.job.contexts.ignored().await?;
        self.ignore = Ignored::new(&patterns)?;
        for at in 0..self.stages.len() {
            let is_needed = needed.contains(&at) && !self.stages[at].is_done;
            if !is_needed && !self.job.all_stages {
                continue;
            }
            self.begin(at)?;
            self.set_up(at)?;
            let stage = &mut self.stages[at];
            stage.is_done = true;
            let commands = stage.commands.clone();
            for command in &commands {
                let lines = command.instruction.lines;
                self.linter.enter(&command.instruction.comments);
                self.stages[at].is_trigger = command.is_trigger;
                let done = self.dispatch(at, command);
                done.map_err(|problem| Failure::from(problem).at(lines))?;
                // What a command runs with and what a history says of it is written down for each.
                let stage = &self.stages[at];
                let bytes = match &command.instruction.what {
                    What::Run(_) => 2 * stage.state.env.len(),
                    _ => stage.image.history.last().map_or(0, |step| step.created_by.len()),
                };
                self.charge(bytes).map_err(|problem| Failure::from(problem).at(lines))?;
            }
            self.linter.leave();
        }
        Ok(())
    }

    /// What an image's configuration says of how commands run.
    fn set_up(&mut self, at: usize) -> Result<(), Failure> {
        let (hostname, network) = (&self.job.settings.hostname, self.job.settings.network);
        let stage = &mut self.stages[at];
        let platform = stage.platform.get_or_insert_with(|| self.target_platform.clone());
        if stage.image.config.env_get("PATH").is_none() && platform.os != "windows" {
            stage.image.config.env.push(format!("PATH={DEFAULT_PATH}"));
        }
        let dir = stage.state.dir.clone();
        set_up(&mut stage.state, &stage.image);
        if !hostname.is_empty() {
            stage.state.hostname.clone_from(hostname);
        }
        match stage.image.config.working_dir.as_str() {
            "" => stage.state.dir = dir,
            working_dir => stage.state.dir = absolute("", working_dir),
        }
        if !stage.image.config.user.is_empty() {
            stage.state.user.clone_from(&stage.image.config.user);
        }
        stage.state.network = network;
        Ok(())
    }

    fn dispatch(&mut self, at: usize, command: &Command) -> Result<(), String> {
        let Instruction { what, lines, code, keyword, .. } = &command.instruction;
        let lines = *lines;
        match what {
            What::Add(copying) | What::Copy(copying) => {
                let is_add = matches!(what, What::Add(_));
                let copying = self.expand_copying(at, copying, is_add, lines)?;
                self.copy(at, command, &copying, is_add)
            }
            What::Arg(args) => self.arg(at, args, lines),
            What::Cmd(line) => {
                let before = self.stages[at].cmd.replace(lines);
                self.check_once(before, keyword);
                let words = self.command_line(at, line, keyword, lines);
                let config = &mut self.stages[at].image.config;
                config.cmd = (!words.is_empty()).then(|| words.clone());
                config.args_escaped = true;
                self.commit(at, format!("CMD {}", quote_all(&words)), false);
                Ok(())
            }
            What::Entrypoint(line) => {
                let before = self.stages[at].entrypoint.replace(lines);
                self.check_once(before, keyword);
                let words = self.command_line(at, line, keyword, lines);
                let stage = &mut self.stages[at];
                stage.image.config.entrypoint = (!words.is_empty()).then(|| words.clone());
                if stage.cmd.is_none() {
                    stage.image.config.cmd = None;
                }
                self.commit(at, format!("ENTRYPOINT {}", quote_all(&words)), false);
                Ok(())
            }
            What::Env(pairs) => {
                let pairs = self.pairs(at, pairs, keyword, lines)?;
                let mut message = "ENV".to_owned();
                let entries = &mut self.stages[at].image.config.env;
                let named = |entry: &String| entry.split('=').next().unwrap_or_default().to_owned();
                let mut places: HashMap<String, usize> =
                    entries.iter().enumerate().rev().map(|(place, entry)| (named(entry), place)).collect();
                for Pair { name, value, .. } in &pairs {
                    message.push_str(&format!(" {name}={value}"));
                    let entry = format!("{name}={value}");
                    match places.get(name) {
                        Some(place) => entries[*place] = entry,
                        None => {
                            places.insert(name.clone(), entries.len());
                            entries.push(entry);
                        }
                    }
                }
                for Pair { name, value, .. } in &pairs {
                    self.check_secret("ENV", name, lines);
                    self.stages[at].state.env.set(name, value);
                }
                check_worth(&self.stages[at].state.env)?;
                self.commit(at, message, false);
                Ok(())
            }
            What::Expose(ports) => self.expose(at, ports, lines),
            What::Healthcheck(check) => {
                let before = self.stages[at].healthcheck.replace(lines);
                self.check_once(before, keyword);
                self.stages[at].image.config.healthcheck = Some(check.clone());
                let message = format!(
                    "HEALTHCHECK {{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
                    list(&check.test),
                    duration(check.interval),
                    duration(check.timeout),
                    duration(check.start_period),
                    duration(check.start_interval),
                    check.retries
                );
                self.commit(at, message, false);
                Ok(())
            }
            What::Label(pairs) => {
                let pairs = self.pairs(at, pairs, keyword, lines)?;
                let mut message = "LABEL".to_owned();
                for Pair { name, value, .. } in pairs {
                    message.push_str(&format!(" {name}={value}"));
                    self.stages[at].image.config.labels.insert(name, value);
                }
                self.commit(at, message, false);
                Ok(())
            }
            What::Maintainer(author) => {
                self.stages[at].image.author.clone_from(author);
                self.commit(at, format!("MAINTAINER {author}"), false);
                Ok(())
            }
            What::OnBuild(text) => {
                self.stages[at].image.config.on_build.push(text.clone());
                Ok(())
            }
            What::Run(run) => self.run(at, command, run),
            What::Shell(words) => {
                self.stages[at].image.config.shell.clone_from(words);
                self.commit(at, format!("SHELL {}", list(words)), false);
                Ok(())
            }
            What::StopSignal(signal) => {
                let signal = self.word(at, signal, lines)?;
                checks::signal(&signal)?;
                self.commit(at, format!("STOPSIGNAL {signal}"), false);
                self.stages[at].image.config.stop_signal = signal;
                Ok(())
            }
            What::User(user) => {
                let user = self.word(at, user, lines)?;
                self.commit(at, format!("USER {user}"), false);
                let stage = &mut self.stages[at];
                stage.state.user.clone_from(&user);
                stage.image.config.user = user;
                Ok(())
            }
            What::Volume(volumes) => {
                let mut paths = Vec::new();
                for volume in volumes {
                    match self.word(at, volume, lines)? {
                        path if path.is_empty() => {
                            return Err("VOLUME specified can not be an empty string".to_owned());
                        }
                        path => paths.push(path),
                    }
                }
                self.commit(at, format!("VOLUME {}", list(&paths)), false);
                self.stages[at].image.config.volumes.extend(paths);
                Ok(())
            }
            What::Workdir(path) => self.workdir(at, path, code, lines),
        }
    }

    /// A word with the stage's variables put in.
    pub(super) fn word(&mut self, at: usize, word: &str, lines: Lines) -> Result<String, String> {
        self.expand(at, self.lexer, word, lines).map(|expansion| expansion.text)
    }

    fn pairs(&mut self, at: usize, pairs: &[Pair], keyword: &str, lines: Lines) -> Result<Vec<Pair>, String> {
        let mut expanded = Vec::new();
        for Pair { name, value, is_legacy } in pairs {
            let name = self.word(at, name, lines)?;
            let value = self.word(at, value, lines)?;
            expanded.push(Pair { name, value, is_legacy: *is_legacy });
        }
        for _ in expanded.iter().filter(|pair| pair.is_legacy) {
            let message = format!(
                "\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format"
            );
            self.linter.found(&lint::LEGACY_KEY_VALUE_FORMAT, lines, message);
        }
        Ok(expanded)
    }

    fn expand_copying(
        &mut self,
        at: usize,
        copying: &Copying,
        is_add: bool,
        lines: Lines,
    ) -> Result<Copying, String> {
        let mut expanded = copying.clone();
        expanded.chown = self.word(at, &copying.chown, lines)?;
        expanded.chmod = self.word(at, &copying.chmod, lines)?;
        if is_add {
            expanded.checksum = self.word(at, &copying.checksum, lines)?;
        }
        for source in &mut expanded.sources {
            *source = self.word(at, source, lines)?;
        }
        expanded.target = self.word(at, &copying.target, lines)?;
        let raw = Lexer { ignores_quotes: true, ..Lexer::new('\\') };
        for file in expanded.files.iter_mut().filter(|file| file.expands) {
            file.content = self.expand(at, raw, &file.content, lines)?.text;
        }
        Ok(expanded)
    }

    fn arg(&mut self, at: usize, args: &[Arg], lines: Lines) -> Result<(), String> {
        let mut said = Vec::new();
        for arg in args {
            self.check_secret("ARG", &arg.name, lines);
            let given = self.given.get(&arg.name).cloned();
            let (value, is_inherited) = match (given, &arg.value) {
                (Some(given), _) => (Some(given), false),
                (None, Some(default)) => (Some(self.word(at, default, lines)?), false),
                (None, None) => {
                    let inherited = self.global.value(&arg.name).map(str::to_owned);
                    let is_inherited = inherited.is_some();
                    (inherited, is_inherited)
                }
            };
            let stage = &mut self.stages[at];
            if let Some(value) = &value
                && ![super::SCAN_CONTEXT, super::SCAN_STAGE].contains(&arg.name.as_str())
            {
                stage.state.env.set(&arg.name, value);
            }
            if !is_inherited {
                let mut note = ArgNote::new(arg, lines);
                note.value = value.clone().unwrap_or_default();
                stage.noted.args.insert(arg.name.clone(), note);
            }
            stage.noted.used.insert(arg.name.clone());
            said.push(match &value {
                Some(value) => format!("{}={value}", arg.name),
                None => arg.name.clone(),
            });
            stage.args.insert(arg.name.clone(), value);
        }
        check_worth(&self.stages[at].state.env)?;
        self.commit(at, format!("ARG {}", said.join(" ")), false);
        Ok(())
    }

    /// The words of CMD and ENTRYPOINT.
    fn command_line(&mut self, at: usize, line: &CommandLine, keyword: &str, lines: Lines) -> Vec<String> {
        if !line.is_for_shell {
            return line.words.clone();
        }
        if self.stages[at].image.config.shell.is_empty() {
            let message = format!(
                "JSON arguments recommended for {keyword} to prevent unintended behavior related to OS signals"
            );
            self.linter.found(&lint::JSON_ARGS_RECOMMENDED, lines, message);
        }
        self.with_shell(at, &line.words)
    }

    /// The words as the last argument of the stage's shell.
    pub(super) fn with_shell(&self, at: usize, words: &[String]) -> Vec<String> {
        let image = &self.stages[at].image;
        let mut line = match (image.config.shell.is_empty(), image.os.as_str()) {
            (false, _) => image.config.shell.clone(),
            (true, "windows") => vec!["cmd".to_owned(), "/S".to_owned(), "/C".to_owned()],
            (true, _) => vec!["/bin/sh".to_owned(), "-c".to_owned()],
        };
        line.push(words.join(" "));
        line
    }

    fn workdir(&mut self, at: usize, path: &str, code: &str, lines: Lines) -> Result<(), String> {
        let path = self.word(at, path, lines)?;
        if !self.stages[at].has_workdir && !path.starts_with('/') {
            let message = format!(
                "Relative workdir {} can have unexpected results if the base image changes",
                quote(&path)
            );
            self.linter.found(&lint::WORKDIR_RELATIVE_PATH, lines, message);
        }
        let stage = &mut self.stages[at];
        stage.has_workdir = true;
        let dir = absolute(&stage.image.config.working_dir, &path);
        stage.image.config.working_dir.clone_from(&dir);
        stage.state.dir.clone_from(&dir);
        let makes_layer = dir != "/";
        if makes_layer {
            let (env, platform, root) = (stage.state.env.clone(), stage.platform.clone(), stage.state.root);
            let user = stage.image.config.user.clone();
            let label = shown(self.lexer, code, &env);
            let label = self.step_name(at, &label, platform.as_ref(), &env);
            let op = super::directory_op(&dir, root.is_some(), &user, self.timestamp());
            let place = self.draft.add(Operation {
                op: pb::op::Op::File(op),
                inputs: root.into_iter().collect(),
                platform: None,
                metadata: metadata(&label, &["file.base"]),
                lines: Some(lines),
            });
            self.stages[at].state.root = Some(place);
        }
        self.commit(at, format!("WORKDIR {dir}"), makes_layer);
        Ok(())
    }

    /// Nanoseconds: the time that what is made carries; -1 for when it is made.
    pub(super) fn timestamp(&self) -> i64 {
        self.epoch.map_or(-1, |seconds| seconds.saturating_mul(1_000_000_000))
    }

    /// Writes a step into the history.
    pub(super) fn commit(&mut self, at: usize, created_by: String, makes_layer: bool) {
        let created = self.epoch.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        self.stages[at].image.history.push(History {
            created: created.map(|time| time.to_string()),
            created_by,
            author: String::new(),
            comment: COMMENT.to_owned(),
            empty_layer: !makes_layer,
        });
    }

    /// Says if an instruction of its kind stood before in the stage: that one counts no more.
    fn check_once(&mut self, before: Option<Lines>, keyword: &str) {
        if let Some(before) = before {
            let message = format!(
                "Multiple {keyword} instructions should not be used in the same stage because only the last one will be used"
            );
            self.linter.found(&lint::MULTIPLE_INSTRUCTIONS_DISALLOWED, before, message);
        }
    }
}

/// A path from the working directory on, absolute; one that is absolute stays as it is.
pub(super) fn absolute(dir: &str, path: &str) -> String {
    let dir = if dir.starts_with('/') { dir.to_owned() } else { join_paths("/", dir) };
    match path {
        "" => dir,
        path if path.starts_with('/') => path.to_owned(),
        path => join_paths(&dir, path),
    }
}

/// Bytes that a stage takes over from the one that it begins with.
pub(super) fn weight(stage: &StageState) -> usize {
    let (state, image) = (&stage.state, &stage.image);
    let args = stage.args.iter().map(|(name, value)| name.len() + value.as_ref().map_or(0, String::len));
    let config = &image.config;
    let texts = config.env.iter().chain(&config.volumes).chain(&config.exposed_ports).chain(&config.shell);
    let labels = config.labels.iter().map(|(name, value)| name.len() + value.len());
    let history = image.history.iter().map(|step| step.created_by.len() + step.comment.len());
    LEAST_WEIGHT
        + args.sum::<usize>()
        + state.env.len()
        + texts.map(String::len).sum::<usize>()
        + labels.sum::<usize>()
        + history.sum::<usize>()
}
