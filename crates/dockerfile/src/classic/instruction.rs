//! The instructions, one reader each.

use super::lines::{HereDocument, LogicalLine};
use super::options::{self, Options};
use crate::words::split;

/// An instruction with its arguments, nothing in them expanded.
#[derive(Clone, PartialEq, Debug)]
#[expect(missing_docs, reason = "each is the instruction of its name in the reference")]
pub enum Command {
    From { image: String, platform: Option<String>, name: Option<String> },
    Run { form: CommandForm, network: RunNetwork, documents: Vec<HereDocument> },
    Cmd(CommandForm),
    Entrypoint(CommandForm),
    Label(Vec<(String, String)>),
    Expose(Vec<String>),
    Env(Vec<(String, String)>),
    Add(Copying),
    Copy(Copying),
    Volume(Vec<String>),
    User(String),
    Workdir(String),
    Arg(Vec<(String, Option<String>)>),
    OnBuild(String),
    StopSignal(String),
    Healthcheck(HealthOptions),
    Shell(Vec<String>),
    Maintainer(String),
}

/// What `RUN --network` asks for. A Dockerfile comes from anywhere: it can give up the network that
/// the request gives, and has no other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RunNetwork {
    /// What the request says.
    #[default]
    Default,
    /// None but the loopback.
    None,
    /// The host's; only where the request says so too.
    Host,
}

/// The two ways to write a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommandForm {
    /// A line for the shell.
    Shell(String),
    /// A program with its arguments, as a JSON array.
    Exec(Vec<String>),
}

/// COPY or ADD.
#[derive(Clone, PartialEq, Debug)]
pub struct Copying {
    /// What is copied, in the order written.
    pub sources: Vec<CopySource>,
    /// Where to.
    pub target: String,
    /// The stage or image that it comes from; the context if absent.
    pub from: Option<String>,
    /// `--chown`.
    pub owner: Option<String>,
    /// `--chmod`.
    pub mode: Option<String>,
    /// `--exclude`, each.
    pub exclude: Vec<String>,
}

/// Something to copy.
#[derive(Clone, PartialEq, Debug)]
pub enum CopySource {
    /// A path, perhaps with wildcards, or for ADD an address.
    Path(String),
    /// A here-document, which becomes a file.
    Document(HereDocument),
}

/// HEALTHCHECK.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct HealthOptions {
    /// What to run; `None` for `HEALTHCHECK NONE`.
    pub command: Option<CommandForm>,
    /// Nanoseconds; 0 for the default.
    pub interval: i64,
    /// Nanoseconds.
    pub timeout: i64,
    /// Nanoseconds.
    pub start_period: i64,
    /// Nanoseconds.
    pub start_interval: i64,
    /// Failures in a row.
    pub retries: i64,
}

/// Reads one instruction. The error says what is wrong.
pub(super) fn read(line: LogicalLine, escape: char) -> Result<Command, String> {
    let text = line.text.as_str();
    let (keyword, rest) = text.split_once(|c: char| c.is_whitespace()).unwrap_or((text, ""));
    let keyword = keyword.to_uppercase();
    let (mut options, rest) = match keyword.as_str() {
        "FROM" | "RUN" | "COPY" | "ADD" | "HEALTHCHECK" => options::take(rest, escape),
        _ => (Options::default(), rest.trim()),
    };
    let rest = rest.trim();
    // CMD and the like may be empty lists; everything else needs something to work on.
    if rest.is_empty() {
        return Err(match keyword.as_str() {
            known if KEYWORDS.contains(&known) => format!("{known} requires at least one argument"),
            unknown => format!("unknown instruction: {unknown}"),
        });
    }
    let command = match keyword.as_str() {
        "FROM" => from(rest, &mut options)?,
        "RUN" => run(rest, line.documents, &mut options)?,
        "CMD" => Command::Cmd(form(rest)),
        "ENTRYPOINT" => Command::Entrypoint(form(rest)),
        "LABEL" => Command::Label(pairs("LABEL", rest, escape)?),
        "ENV" => Command::Env(pairs("ENV", rest, escape)?),
        "EXPOSE" => Command::Expose(split(rest, escape)),
        "ADD" => Command::Add(copying("ADD", rest, line.documents, escape, &mut options)?),
        "COPY" => Command::Copy(copying("COPY", rest, line.documents, escape, &mut options)?),
        "VOLUME" => Command::Volume(list(rest, escape)),
        "USER" => Command::User(one("USER", rest, escape)?),
        "WORKDIR" => Command::Workdir(rest.to_owned()),
        "ARG" => Command::Arg(args(rest, escape)?),
        "ONBUILD" => on_build(rest)?,
        "STOPSIGNAL" => Command::StopSignal(one("STOPSIGNAL", rest, escape)?),
        "HEALTHCHECK" => healthcheck(rest, &mut options)?,
        "SHELL" => match json_list(rest) {
            Some(shell) if !shell.is_empty() => Command::Shell(shell),
            _ => return Err("SHELL requires the arguments to be in JSON form".into()),
        },
        "MAINTAINER" => Command::Maintainer(rest.to_owned()),
        unknown => return Err(format!("unknown instruction: {unknown}")),
    };
    options.finish()?;
    Ok(command)
}

/// The least time between two checks that is not none, in nanoseconds.
const LEAST_INTERVAL: i64 = 1_000_000;

const KEYWORDS: [&str; 18] = [
    "FROM",
    "RUN",
    "CMD",
    "ENTRYPOINT",
    "LABEL",
    "ENV",
    "EXPOSE",
    "ADD",
    "COPY",
    "VOLUME",
    "USER",
    "WORKDIR",
    "ARG",
    "ONBUILD",
    "STOPSIGNAL",
    "HEALTHCHECK",
    "SHELL",
    "MAINTAINER",
];

fn from(rest: &str, options: &mut Options) -> Result<Command, String> {
    let platform = options.value("platform")?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let (image, name) = match words[..] {
        [image] => (image, None),
        [image, word, name] if word.eq_ignore_ascii_case("as") => (image, Some(name.to_lowercase())),
        _ => return Err("FROM requires either one or three arguments".into()),
    };
    if let Some(name) = &name {
        let ok = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
        if !ok || name == "scratch" {
            return Err(format!(
                "invalid name for build stage: \"{name}\", name can't start with a number or contain symbols"
            ));
        }
    }
    Ok(Command::From { image: image.to_owned(), platform, name })
}

fn run(rest: &str, documents: Vec<HereDocument>, options: &mut Options) -> Result<Command, String> {
    let network = match options.value("network")?.as_deref() {
        None | Some("default") => RunNetwork::Default,
        Some("none") => RunNetwork::None,
        Some("host") => RunNetwork::Host,
        Some(other) => return Err(format!("invalid network mode: \"{other}\"")),
    };
    if !options.values("mount")?.is_empty() {
        return Err("RUN --mount is not supported: it needs BuildKit".into());
    }
    if let Some(security) = options.value("security")?
        && security != "sandbox"
    {
        return Err(format!("RUN --security={security} is not supported"));
    }
    Ok(Command::Run { form: form(rest), network, documents })
}

/// A JSON array of strings, or a line for the shell.
fn form(rest: &str) -> CommandForm {
    match json_list(rest) {
        Some(words) => CommandForm::Exec(words),
        None => CommandForm::Shell(rest.to_owned()),
    }
}

fn json_list(rest: &str) -> Option<Vec<String>> {
    if !rest.starts_with('[') {
        return None;
    }
    serde_json::from_str(rest).ok()
}

/// A JSON array, or words.
fn list(rest: &str, escape: char) -> Vec<String> {
    json_list(rest).unwrap_or_else(|| split(rest, escape))
}

fn one(keyword: &str, rest: &str, escape: char) -> Result<String, String> {
    match split(rest, escape).as_slice() {
        [word] => Ok(word.clone()),
        _ => Err(format!("{keyword} requires exactly one argument")),
    }
}

/// `name=value …`, or the old `name value with spaces`.
fn pairs(keyword: &str, rest: &str, escape: char) -> Result<Vec<(String, String)>, String> {
    let words = split(rest, escape);
    let first = words.first().map(String::as_str).unwrap_or_default();
    if !first.contains('=') {
        let (name, value) = rest
            .split_once(|c: char| c.is_whitespace())
            .ok_or_else(|| format!("{keyword} must have two arguments"))?;
        return Ok(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    let mut pairs = Vec::new();
    for word in words {
        let (name, value) = word.split_once('=').ok_or_else(|| {
            format!("Syntax error - can't find = in \"{word}\". Must be of the form: name=value")
        })?;
        if name.is_empty() {
            return Err(format!("{keyword} names can not be blank"));
        }
        pairs.push((name.to_owned(), value.to_owned()));
    }
    Ok(pairs)
}

fn args(rest: &str, escape: char) -> Result<Vec<(String, Option<String>)>, String> {
    let mut args = Vec::new();
    for word in split(rest, escape) {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (word.clone(), None),
        };
        if name.is_empty() {
            return Err("ARG names can not be blank".into());
        }
        args.push((name, value));
    }
    Ok(args)
}

fn copying(
    keyword: &str,
    rest: &str,
    documents: Vec<HereDocument>,
    escape: char,
    options: &mut Options,
) -> Result<Copying, String> {
    let from = if keyword == "COPY" { options.value("from")? } else { None };
    let (owner, mode) = (options.value("chown")?, options.value("chmod")?);
    let exclude = options.values("exclude")?;
    // Each COPY is a layer of its own here, so there is nothing to link.
    options.switch("link")?;
    for unsupported in ["parents", "keep-git-dir", "checksum", "unpack"] {
        if options.switch(unsupported).unwrap_or(true) {
            return Err(format!("{keyword} --{unsupported} is not supported: it needs BuildKit"));
        }
    }
    let mut words = list(rest, escape);
    let target = words.pop().unwrap_or_default();
    if words.is_empty() {
        return Err(format!(
            "{keyword} requires at least two arguments, but only one was provided. Destination could not be determined"
        ));
    }
    let mut documents = documents.into_iter();
    let mut sources = Vec::new();
    for word in words {
        let is_document = word.starts_with("<<");
        sources.push(match is_document.then(|| documents.next()).flatten() {
            Some(document) => CopySource::Document(document),
            None => CopySource::Path(word),
        });
    }
    Ok(Copying { sources, target, from, owner, mode, exclude })
}

fn on_build(rest: &str) -> Result<Command, String> {
    let keyword = rest.split_whitespace().next().unwrap_or_default().to_uppercase();
    match keyword.as_str() {
        "ONBUILD" => Err("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".into()),
        "FROM" | "MAINTAINER" => Err(format!("{keyword} isn't allowed as an ONBUILD trigger")),
        known if KEYWORDS.contains(&known) => Ok(Command::OnBuild(rest.to_owned())),
        unknown => Err(format!("unknown instruction: {unknown}")),
    }
}

fn healthcheck(rest: &str, options: &mut Options) -> Result<Command, String> {
    let mut health = HealthOptions {
        interval: duration(options, "interval")?,
        timeout: duration(options, "timeout")?,
        start_period: duration(options, "start-period")?,
        start_interval: duration(options, "start-interval")?,
        ..HealthOptions::default()
    };
    if let Some(retries) = options.value("retries")? {
        health.retries = retries
            .parse()
            .ok()
            .filter(|&n: &i64| n >= 0)
            .ok_or_else(|| format!("--retries cannot be `{retries}`: a number from 0 is needed"))?;
    }
    let (word, command) = rest.split_once(|c: char| c.is_whitespace()).unwrap_or((rest, ""));
    match word.to_uppercase().as_str() {
        "NONE" if command.trim().is_empty() => {}
        "NONE" => return Err("HEALTHCHECK NONE takes no arguments".into()),
        "CMD" if command.trim().is_empty() => return Err("Missing command after HEALTHCHECK CMD".into()),
        "CMD" => health.command = Some(form(command.trim())),
        other => return Err(format!("Unknown type {other:?} in HEALTHCHECK (try CMD)")),
    }
    Ok(Command::Healthcheck(health))
}

/// A duration as Go writes it (`1m30s`, `500ms`), in nanoseconds; 0 where the option is absent.
fn duration(options: &mut Options, name: &str) -> Result<i64, String> {
    let Some(text) = options.value(name)? else { return Ok(0) };
    let nanoseconds = base::duration::parse(&text).map_err(|error| error.to_string())?;
    if nanoseconds != 0 && nanoseconds < LEAST_INTERVAL {
        return Err(format!("Interval {name:?} cannot be less than 1ms"));
    }
    Ok(nanoseconds)
}
