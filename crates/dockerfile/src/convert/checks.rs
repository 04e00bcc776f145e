//! What is said of stages and instructions that build, but not well.

use super::Converter;
use crate::go::{clean_path, quote};
use crate::ignore::Ignore;
use crate::instruction::Stage;
use crate::lint::{self, Linter};
use crate::syntax::Lines;

/// What the context lacks, for the rule about it.
pub(super) struct Ignored {
    ignore: Ignore,
    /// Whether everything is left out.
    is_all: bool,
}

impl Ignored {
    /// From the patterns; none where there are none, or where some bring back what others leave out: nobody can
    /// tell what that comes to without looking at the files.
    pub(super) fn new(patterns: &[String]) -> Result<Option<Self>, String> {
        let ignore = Ignore::new(patterns.iter().map(String::as_str))?;
        let is_all = patterns.iter().any(|pattern| matches!(pattern.as_str(), "*" | "**" | "**/*"));
        Ok((!ignore.is_empty() && !ignore.keeps_some()).then_some(Self { ignore, is_all }))
    }
}

/// Names of stages: those that are taken, and those that are used twice.
pub(super) fn stages(stages: &[Stage], linter: &mut Linter) {
    let mut names = std::collections::BTreeSet::new();
    for stage in stages.iter().filter(|stage| !stage.name.is_empty()) {
        let name = quote(&stage.name);
        if matches!(stage.name.as_str(), "context" | "scratch") {
            let message = format!("Stage name should not use the same name as reserved stage {name}");
            linter.found(&lint::RESERVED_STAGE_NAME, stage.lines, message);
        }
        if !names.insert(&stage.name) {
            let message = format!("Duplicate stage name {name}, stage names should be unique");
            linter.found(&lint::DUPLICATE_STAGE_NAME, stage.lines, message);
        }
    }
}

/// Whether all keywords are written the same way.
pub(super) fn casing(stages: &[Stage], linter: &mut Linter) {
    let keywords = || {
        stages.iter().flat_map(|stage| {
            let instructions = stage.instructions.iter();
            let instructions = instructions.map(|instruction| (&instruction.keyword, instruction.lines));
            std::iter::once((&stage.keyword, stage.lines)).chain(instructions)
        })
    };
    let (mut lower, mut upper) = (0, 0);
    for (keyword, _) in keywords() {
        if *keyword == keyword.to_lowercase() {
            lower += 1;
        } else if *keyword == keyword.to_uppercase() {
            upper += 1;
        }
    }
    for (keyword, lines) in keywords() {
        let casing = match lower > upper {
            true if *keyword != keyword.to_lowercase() => "lowercase",
            false if *keyword != keyword.to_uppercase() => "uppercase",
            _ => continue,
        };
        let message = format!("Command '{keyword}' should match the case of the command majority ({casing})");
        linter.found(&lint::CONSISTENT_INSTRUCTION_CASING, lines, message);
    }
}

impl Converter<'_> {
    /// Whether what a variable is called says that it is secret.
    pub(super) fn check_secret(&mut self, keyword: &str, name: &str, lines: Lines) {
        if is_secret(name) {
            let name = quote(name);
            let message = format!("Do not use ARG or ENV instructions for sensitive data ({keyword} {name})");
            self.linter.found(&lint::SECRETS_USED_IN_ARG_OR_ENV, lines, message);
        }
    }

    /// Whether a path of the context is in it.
    pub(super) fn check_ignored(&mut self, source: &str, is_add: bool, lines: Lines) {
        let Some(ignored) = &self.ignore else { return };
        let path = clean_path(source);
        let is_root = matches!(path.as_str(), "." | "/");
        let is_ignored = match is_root {
            true => ignored.is_all,
            false => ignored.ignore.excludes(path.trim_start_matches('/')),
        };
        if is_ignored {
            let keyword = if is_add { "Add" } else { "Copy" };
            let path = quote(&path);
            let message = format!("Attempting to {keyword} file {path} that is excluded by .dockerignore");
            self.linter.found(&lint::COPY_IGNORED_FILE, lines, message);
        }
    }
}

/// A word of the name, by underscores, says it; and no other takes it back.
fn is_secret(name: &str) -> bool {
    const SECRET: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    const OPEN: [&str; 3] = ["public", "file", "version"];
    let name = name.to_lowercase();
    let has = |words: &[&str]| name.split('_').any(|word| words.contains(&word));
    has(&SECRET) && !has(&OPEN)
}

/// Whether a text is a signal's name or number.
pub(super) fn signal(text: &str) -> Result<(), String> {
    const NAMES: &str = "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP \
        SYS TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ RTMIN RTMAX";
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let is_real_time = |prefix: &str, most: u8| {
        name.strip_prefix(prefix).and_then(|n| n.parse().ok()).is_some_and(|n: u8| (1..=most).contains(&n))
    };
    let is_known = NAMES.split(' ').any(|known| known == name)
        || is_real_time("RTMIN+", 15)
        || is_real_time("RTMAX-", 14)
        || text.parse().is_ok_and(|number: i32| number != 0);
    if is_known { Ok(()) } else { Err(format!("invalid signal: {text}")) }
}
