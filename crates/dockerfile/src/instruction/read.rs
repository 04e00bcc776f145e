//! From a node to an instruction: the arguments that each wants.

use super::flags::{Flags, Takes};
use super::{Arg, CommandLine, Copying, InlineFile, Instruction, KEYWORDS, Pair, Stage, What, run};
use crate::go;
use crate::suggest;
use crate::syntax::{self, Node, SyntaxError, chomp, heredoc};

/// The least time between two checks that is not none, in nanoseconds.
const LEAST_INTERVAL: i64 = 1_000_000;

/// What a node is.
pub(super) enum Read {
    Stage(Stage),
    Instruction(Instruction),
}

/// Reads a node. The error says what is wrong.
pub(super) fn read(node: &Node) -> Result<Read, String> {
    let keyword = node.keyword.to_uppercase();
    let words = &node.arguments.words;
    let what = match keyword.as_str() {
        "FROM" => return from(node).map(Read::Stage),
        "ADD" => What::Add(copying("ADD", node)?),
        "ARG" => What::Arg(args(words, &node.comments)?),
        "CMD" => {
            no_flags(node)?;
            What::Cmd(command_line(node))
        }
        "COPY" => What::Copy(copying("COPY", node)?),
        "ENTRYPOINT" => {
            no_flags(node)?;
            What::Entrypoint(command_line(node))
        }
        "ENV" => What::Env(pairs("ENV", node)?),
        "EXPOSE" => {
            let mut ports = at_least_one("EXPOSE", node)?;
            ports.sort();
            What::Expose(ports)
        }
        "HEALTHCHECK" => What::Healthcheck(healthcheck(node)?),
        "LABEL" => What::Label(pairs("LABEL", node)?),
        "MAINTAINER" => What::Maintainer(exactly_one("MAINTAINER", node)?),
        "ONBUILD" => What::OnBuild(on_build(node)?),
        "RUN" => What::Run(run::read(&node.flags, command_line(node))?),
        "SHELL" => {
            no_flags(node)?;
            match (words.is_empty(), node.arguments.is_json) {
                (true, _) => return Err("SHELL requires at least one argument".to_owned()),
                (false, true) => What::Shell(words.clone()),
                (false, false) => return Err("SHELL requires the arguments to be in JSON form".to_owned()),
            }
        }
        "STOPSIGNAL" => match words.as_slice() {
            [signal] => What::StopSignal(signal.clone()),
            _ => return Err("STOPSIGNAL requires exactly one argument".to_owned()),
        },
        "USER" => What::User(exactly_one("USER", node)?),
        "VOLUME" => What::Volume(volumes(node)?),
        "WORKDIR" => What::Workdir(exactly_one("WORKDIR", node)?),
        _ => {
            let problem = format!("unknown instruction: {}", node.keyword);
            return Err(suggest::hint(problem, &node.keyword, KEYWORDS, false));
        }
    };
    Ok(Read::Instruction(Instruction {
        keyword: node.keyword.clone(),
        code: node.original.trim().to_owned(),
        lines: node.lines,
        comments: node.comments.clone(),
        what,
    }))
}

/// Reads the instruction that ONBUILD left behind.
pub(crate) fn read_trigger(text: &str) -> Result<Instruction, String> {
    let syntax = syntax::parse(text).map_err(|SyntaxError { problem, .. }| problem)?;
    match syntax.nodes.as_slice() {
        [node] => match read(node)? {
            Read::Instruction(instruction) => Ok(instruction),
            Read::Stage(_) => Err("FROM isn't allowed as an ONBUILD trigger".to_owned()),
        },
        _ => Err("onbuild trigger should be a single expression".to_owned()),
    }
}

/// What a comment says of the thing called `name`.
fn description(comments: &[String], name: &str) -> String {
    if name.is_empty() {
        return String::new();
    }
    let found = comments.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found.unwrap_or_default().to_owned()
}

fn from(node: &Node) -> Result<Stage, String> {
    let words = &node.arguments.words;
    let (base, name) = match words.as_slice() {
        [base] => (base, String::new()),
        [base, word, name] if word.eq_ignore_ascii_case("as") => {
            let lower = name.to_lowercase();
            let is_name = lower.starts_with(|c: char| c.is_ascii_lowercase())
                && lower.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
            if !is_name {
                return Err(format!(
                    "invalid name for build stage: {}, name can't start with a number or contain symbols",
                    go::quote(name)
                ));
            }
            (base, lower)
        }
        _ => return Err("FROM requires either one or three arguments".to_owned()),
    };
    let flags = Flags::read(&node.flags, &[("platform", Takes::Text)])?;
    Ok(Stage {
        description: description(&node.comments, &name),
        name,
        base: base.clone(),
        platform: flags.text("platform"),
        keyword: node.keyword.clone(),
        code: node.original.trim().to_owned(),
        lines: node.lines,
        comments: node.comments.clone(),
        instructions: Vec::new(),
    })
}

fn command_line(node: &Node) -> CommandLine {
    CommandLine {
        words: node.arguments.words.clone(),
        is_for_shell: !node.arguments.is_json,
        heredocs: node.heredocs.clone(),
    }
}

fn no_flags(node: &Node) -> Result<(), String> {
    Flags::read(&node.flags, &[]).map(drop)
}

fn at_least_one(keyword: &str, node: &Node) -> Result<Vec<String>, String> {
    if node.arguments.words.is_empty() {
        return Err(format!("{keyword} requires at least one argument"));
    }
    no_flags(node)?;
    Ok(node.arguments.words.clone())
}

fn exactly_one(keyword: &str, node: &Node) -> Result<String, String> {
    let [word] = node.arguments.words.as_slice() else {
        return Err(format!("{keyword} requires exactly one argument"));
    };
    no_flags(node)?;
    Ok(word.clone())
}

fn pairs(keyword: &str, node: &Node) -> Result<Vec<Pair>, String> {
    no_flags(node)?;
    let words = &node.arguments.words;
    if words.is_empty() {
        return Err(format!("{keyword} requires at least one argument"));
    }
    let mut pairs = Vec::new();
    for triple in words.chunks(3) {
        let [name, value, between] = triple else {
            return Err(format!("Bad input to {keyword}, too many arguments"));
        };
        if name.is_empty() {
            return Err(format!("{keyword} names can not be blank"));
        }
        pairs.push(Pair { name: name.clone(), value: value.clone(), is_legacy: between.is_empty() });
    }
    Ok(pairs)
}

fn args(words: &[String], comments: &[String]) -> Result<Vec<Arg>, String> {
    if words.is_empty() {
        return Err("ARG requires at least one argument".to_owned());
    }
    let arg = |word: &String| {
        let (name, value) = match word.split_once('=') {
            Some(("", _)) => return Err("ARG names can not be blank".to_owned()),
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        Ok(Arg { name: name.to_owned(), value, description: description(comments, name) })
    };
    words.iter().map(arg).collect()
}

fn volumes(node: &Node) -> Result<Vec<String>, String> {
    let words = at_least_one("VOLUME", node)?;
    let volumes: Vec<String> = words.iter().map(|word| word.trim().to_owned()).collect();
    match volumes.iter().any(String::is_empty) {
        true => Err("VOLUME specified can not be an empty string".to_owned()),
        false => Ok(volumes),
    }
}

fn copying(keyword: &'static str, node: &Node) -> Result<Copying, String> {
    let [sources @ .., target] = node.arguments.words.as_slice() else { return Err(no_target(keyword)) };
    if sources.is_empty() {
        return Err(no_target(keyword));
    }
    let known: &[_] = match keyword {
        "ADD" => &[
            ("chown", Takes::Text),
            ("chmod", Takes::Text),
            ("link", Takes::Truth),
            ("keep-git-dir", Takes::Truth),
            ("checksum", Takes::Text),
            ("unpack", Takes::Truth),
            ("exclude", Takes::Texts),
        ],
        _ => &[
            ("chown", Takes::Text),
            ("from", Takes::Text),
            ("chmod", Takes::Text),
            ("link", Takes::Truth),
            ("exclude", Takes::Texts),
            ("parents", Takes::Truth),
        ],
    };
    let flags = Flags::read(&node.flags, known)?;
    if let Ok(Some(_)) = heredoc(target) {
        return Err(format!("{keyword} cannot accept a heredoc as a destination"));
    }
    let mut copying = Copying {
        target: target.clone(),
        from: flags.text("from"),
        chown: flags.text("chown"),
        chmod: flags.text("chmod"),
        exclude: flags.texts("exclude"),
        link: flags.truth("link").unwrap_or_default(),
        parents: flags.truth("parents").unwrap_or_default(),
        keep_git_dir: flags.truth("keep-git-dir"),
        unpack: flags.truth("unpack"),
        checksum: flags.text("checksum"),
        ..Copying::default()
    };
    for source in sources {
        let Ok(Some(announced)) = heredoc(source) else {
            copying.sources.push(source.clone());
            continue;
        };
        let read = node.heredocs.iter().rev().find(|known| known.name == announced.name);
        let content = read.map(|known| known.content.clone()).unwrap_or_default();
        let content = if announced.chomps { chomp(&content) } else { content };
        copying.files.push(InlineFile { name: announced.name, content, expands: announced.expands });
    }
    Ok(copying)
}

fn no_target(keyword: &str) -> String {
    format!(
        "{keyword} requires at least two arguments, but only one was provided. Destination could not be determined"
    )
}

fn on_build(node: &Node) -> Result<String, String> {
    let Some(inner) = node.arguments.words.first() else {
        return Err("ONBUILD requires at least one argument".to_owned());
    };
    no_flags(node)?;
    match inner.trim().to_uppercase().as_str() {
        "ONBUILD" => return Err("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned()),
        inner @ ("MAINTAINER" | "FROM") => {
            return Err(format!("{inner} isn't allowed as an ONBUILD trigger"));
        }
        _ => {}
    }
    let original = node.original.trim_start();
    let mut text = original[node.keyword.len()..].trim_start().to_owned();
    for heredoc in &node.heredocs {
        text.push_str(&format!("\n{}{}", heredoc.content, heredoc.name));
    }
    Ok(text)
}

fn healthcheck(node: &Node) -> Result<oci::Healthcheck, String> {
    let Some((kind, command)) = node.arguments.words.split_first() else {
        return Err("HEALTHCHECK requires at least one argument".to_owned());
    };
    let kind = kind.to_uppercase();
    if kind == "NONE" {
        if !command.is_empty() {
            return Err("HEALTHCHECK NONE takes no arguments".to_owned());
        }
        return Ok(oci::Healthcheck { test: vec![kind], ..oci::Healthcheck::default() });
    }
    let known =
        ["interval", "timeout", "start-period", "start-interval", "retries"].map(|name| (name, Takes::Text));
    let flags = Flags::read(&node.flags, &known)?;
    if kind != "CMD" {
        return Err(format!("Unknown type {} in HEALTHCHECK (try CMD)", go::quote(&kind)));
    }
    if command.is_empty() {
        return Err("Missing command after HEALTHCHECK CMD".to_owned());
    }
    let kind = if node.arguments.is_json { "CMD" } else { "CMD-SHELL" };
    let mut test = vec![kind.to_owned()];
    test.extend_from_slice(command);
    let duration = |name: &str| {
        let text = flags.text(name);
        if text.is_empty() {
            return Ok(0);
        }
        let nanoseconds = base::duration::parse(&text).map_err(|error| error.to_string())?;
        match nanoseconds {
            0 | LEAST_INTERVAL.. => Ok(nanoseconds),
            _ => Err(format!("Interval {} cannot be less than 1ms", go::quote(name))),
        }
    };
    let retries = match flags.text("retries").as_str() {
        "" => 0,
        text => match text.parse::<i32>() {
            Ok(retries @ 0..) => i64::from(retries),
            Ok(retries) => return Err(format!("--retries cannot be negative ({retries})")),
            Err(_) => {
                return Err(format!("strconv.ParseInt: parsing {}: invalid syntax", go::quote(text)));
            }
        },
    };
    Ok(oci::Healthcheck {
        test,
        interval: duration("interval")?,
        timeout: duration("timeout")?,
        start_period: duration("start-period")?,
        start_interval: duration("start-interval")?,
        retries,
    })
}
