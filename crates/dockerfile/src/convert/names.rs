//! The names of steps: `[linux/amd64 build 2/5] RUN make`.

use oci::Platform;

use super::Converter;
use super::state::Env;
use crate::lexer::Lexer;

impl Converter<'_> {
    /// The name of the next step of a stage.
    pub(super) fn step_name(
        &mut self,
        at: usize,
        text: &str,
        platform: Option<&Platform>,
        env: &Env,
    ) -> String {
        self.stages[at].step += 1;
        // It is looked at after each instruction.
        let _ = self.charge(text.len());
        self.same_step_name(at, text, platform, env)
    }

    /// Another name of the step that [`Converter::step_name`] gave one.
    pub(super) fn same_step_name(
        &self,
        at: usize,
        text: &str,
        platform: Option<&Platform>,
        env: &Env,
    ) -> String {
        let stage = &self.stages[at];
        if stage.steps == 0 {
            return text.to_owned();
        }
        let mut name = "[".to_owned();
        if let (true, Some(platform)) = (self.job.settings.is_multi_platform, platform) {
            name.push_str(&format!("{platform}{} ", target_of(platform, env)));
        }
        if !stage.shown.is_empty() {
            name.push_str(&format!("{} ", stage.shown));
        }
        let width = stage.steps.ilog10() as usize + 1;
        name.push_str(&format!("{:width$}/{}] ", stage.step, stage.steps));
        if stage.is_trigger {
            name.push_str("ONBUILD ");
        }
        name + text
    }
}

/// What is compiled for, where that is something else: `->arm64`.
fn target_of(platform: &Platform, env: &Env) -> String {
    let mut target = Platform::default();
    let mut is_set = false;
    for name in env.names() {
        let value = env.value(name).unwrap_or_default();
        match name {
            "TARGETPLATFORM" => {
                if let Ok(parsed) = value.parse() {
                    (target, is_set) = (parsed, true);
                    break;
                }
            }
            "TARGETOS" => (target.os, is_set) = (value.to_owned(), true),
            "TARGETARCH" => (target.architecture, is_set) = (value.to_owned(), true),
            "TARGETVARIANT" => (target.variant, is_set) = (value.to_owned(), true),
            _ => {}
        }
    }
    if !is_set {
        return String::new();
    }
    if target.os.is_empty() {
        target.os.clone_from(&platform.os);
    }
    if target.architecture.is_empty() {
        target.architecture.clone_from(&platform.architecture);
    }
    let target = target.normalised();
    if target.os != platform.os {
        return format!("->{target}");
    }
    match target.architecture == platform.architecture {
        true => String::new(),
        false if target.variant.is_empty() => format!("->{}", target.architecture),
        false => format!("->{}/{}", target.architecture, target.variant),
    }
}

/// An instruction with its variables put in, where they can be, and its keyword in capitals.
pub(super) fn shown(lexer: Lexer, code: &str, env: &Env) -> String {
    let text = lexer.expand(code, env).map_or_else(|_| code.to_owned(), |expansion| expansion.text);
    match text.split_once(' ') {
        Some((keyword, rest)) => format!("{} {rest}", keyword.to_uppercase()),
        None => text.to_uppercase(),
    }
}
