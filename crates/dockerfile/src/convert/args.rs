//! Arguments: which every build has, those declared before the first stage, and what is said of those that are not.

use oci::Reference;

use super::outline::ArgNote;
use super::{Converter, Env, Failure};
use crate::go::quote;
use crate::instruction::{Document, Stage};
use crate::lexer::{Expansion, Lexer};
use crate::lint;
use crate::suggest;
use crate::syntax::Lines;

/// Bytes of what the arguments are worth together: with more no program could be started. A line may double what
/// the one before it declared.
pub(super) const WORTH_MAX: usize = oci::limits::EXEC_MAX;

/// The argument that says which time is written into what is made.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

impl Converter<'_> {
    /// Works out the arguments that FROM knows.
    pub(super) fn declare_globals(&mut self, document: &Document, last: &str) -> Result<(), Failure> {
        let env = self.predefined(last);
        self.check_defaults(document, &env);
        self.global = env;
        for (args, lines) in &document.args {
            for arg in args {
                let mut note = ArgNote::new(arg, *lines);
                let value = match (self.given.get(&arg.name), &arg.value) {
                    (Some(given), _) => Some(given.clone()),
                    (None, Some(default)) => {
                        let expansion = self.lexer.expand(default, &self.global);
                        let expansion = expansion.map_err(|problem| Failure::from(problem).at(*lines))?;
                        self.charge(expansion.text.len())?;
                        note.uses = expansion.found;
                        if note.uses.remove(&arg.name)
                            && let Some(before) = self.noted.args.get(&arg.name)
                        {
                            note.uses.extend(before.uses.iter().cloned());
                        }
                        Some(expansion.text)
                    }
                    (None, None) => None,
                };
                if let Some(value) = &value {
                    self.global.set(&arg.name, value);
                    check_worth(&self.global).map_err(|problem| Failure::from(problem).at(*lines))?;
                }
                note.value = value.unwrap_or_default();
                self.noted.args.insert(arg.name.clone(), note);
            }
        }
        self.read_epoch()
    }

    /// The arguments that every build has.
    fn predefined(&self, last: &str) -> Env {
        let (build, target) = (&self.job.build_platform, &self.target_platform);
        let stage = [self.job.settings.target.as_str(), last, "default"];
        let stage = stage.into_iter().find(|name| !name.is_empty()).unwrap_or_default();
        let mut env = Env::default();
        for (name, value) in [
            ("BUILDPLATFORM", &*build.to_string()),
            ("BUILDOS", &build.os),
            ("BUILDOSVERSION", &build.os_version),
            ("BUILDARCH", &build.architecture),
            ("BUILDVARIANT", &build.variant),
            ("TARGETPLATFORM", &*target.to_string()),
            ("TARGETOS", &target.os),
            ("TARGETOSVERSION", &target.os_version),
            ("TARGETARCH", &target.architecture),
            ("TARGETVARIANT", &target.variant),
            ("TARGETSTAGE", stage),
        ] {
            env.set(name, self.given.get(name).map_or(value, String::as_str));
        }
        env
    }

    /// Whether images have names where nobody gives arguments.
    fn check_defaults(&mut self, document: &Document, predefined: &Env) {
        let mut env = predefined.clone();
        for arg in document.args.iter().flat_map(|(args, _)| args) {
            let Some(default) = &arg.value else { continue };
            match self.lexer.expand(default, &env) {
                Ok(expansion) => env.set(&arg.name, &expansion.text),
                // The build fails with the same.
                Err(_) => return,
            }
            if check_worth(&env).is_err() {
                return;
            }
        }
        for stage in &document.stages {
            let Ok(expansion) = self.lexer.expand(&stage.base, &env) else { return };
            if Reference::parse(&expansion.text).is_err() {
                let base = &stage.base;
                let message =
                    format!("Default value for ARG {base} results in empty or invalid base image name");
                self.linter.found(&lint::INVALID_DEFAULT_ARG_IN_FROM, stage.lines, message);
            }
        }
    }

    fn read_epoch(&mut self) -> Result<(), Failure> {
        let given = self.given.get(EPOCH).cloned();
        let Some(text) = given.or_else(|| self.global.value(EPOCH).map(str::to_owned)) else { return Ok(()) };
        if text.is_empty() {
            self.given.remove(EPOCH);
            self.global.remove(EPOCH);
            return Ok(());
        }
        let seconds: i64 = text.parse().map_err(|_| format!("invalid SOURCE_DATE_EPOCH: {text}"))?;
        if jiff::Timestamp::from_second(seconds).is_err() {
            return Err(Failure::from(format!("invalid SOURCE_DATE_EPOCH: {text}")));
        }
        self.epoch = Some(seconds);
        Ok(())
    }

    /// Puts arguments into a word of FROM, and says which there are not.
    pub(super) fn expand_global(&mut self, word: &str, lines: Lines) -> Result<Expansion, String> {
        let expansion = self.lexer.expand(word, &self.global)?;
        self.charge(expansion.text.len())?;
        for name in &expansion.missing {
            if self.noted.args.contains_key(name) || self.linter.is_full() {
                continue;
            }
            let known = self.global.names().chain(self.noted.args.keys().map(String::as_str));
            let suggested = suggest::nearest(name, known, true);
            let suggested = suggested.map(|name| format!(" (did you mean {name}?)")).unwrap_or_default();
            let message = format!("FROM argument '{name}' is not declared{suggested}");
            self.linter.found(&lint::UNDEFINED_ARG_IN_FROM, lines, message);
        }
        Ok(expansion)
    }

    /// What is to be said of `FROM --platform`.
    pub(super) fn check_platform(&mut self, stage: &Stage, expansion: &Expansion) {
        let target = "TARGETPLATFORM";
        if expansion.missing.is_empty()
            && expansion.found.len() == 1
            && expansion.found.contains(target)
            && self.global.value(target) == Some(&expansion.text)
        {
            let platform = &stage.platform;
            let message = format!(
                "Setting platform to predefined {platform} in FROM is redundant as this is the default behavior"
            );
            self.linter.found(&lint::REDUNDANT_TARGET_PLATFORM, stage.lines, message);
        }
        if !expansion.missing.is_empty() || !expansion.found.is_empty() {
            return;
        }
        let Ok(platform) = expansion.text.parse::<oci::Platform>() else { return };
        if stage.name.contains(&platform.os) || stage.name.contains(&platform.architecture) {
            return;
        }
        let message =
            format!("FROM --platform flag should not use constant value {}", quote(&expansion.text));
        self.linter.found(&lint::FROM_PLATFORM_FLAG_CONST_DISALLOWED, stage.lines, message);
    }

    /// Puts a stage's variables into a word, and says which there are not.
    pub(super) fn expand(
        &mut self,
        at: usize,
        lexer: Lexer,
        word: &str,
        lines: Lines,
    ) -> Result<Expansion, String> {
        let expansion = lexer.expand(word, &self.stages[at].state.env)?;
        self.charge(expansion.text.len())?;
        let stage = &self.stages[at];
        for name in &expansion.missing {
            let is_of_scanner = [super::SCAN_CONTEXT, super::SCAN_STAGE].contains(&name.as_str());
            if stage.args.contains_key(name) || is_of_scanner || self.linter.is_full() {
                continue;
            }
            let suggested = suggest::nearest(name, stage.state.env.names(), true);
            let suggested = suggested.map(|name| format!(" (did you mean ${name}?)")).unwrap_or_default();
            let message = format!("Usage of undefined variable '${name}'{suggested}");
            self.linter.found(&lint::UNDEFINED_VAR, lines, message);
        }
        Ok(expansion)
    }
}

/// Whether variables stay within their bound.
pub(super) fn check_worth(env: &Env) -> Result<(), String> {
    match env.len() > WORTH_MAX {
        true => Err(format!("build arguments are longer than {WORTH_MAX} bytes together")),
        false => Ok(()),
    }
}
