//! Instructions: what a node of the text says. Variables in it are put in later.

mod flags;
mod mount;
mod read;
mod run;
mod stages;
#[cfg(test)]
mod tests;

pub(crate) use mount::{Mount, MountKind, Sharing};
pub(crate) use read::read_trigger;
pub(crate) use run::Device;
pub(crate) use stages::{Document, Stage, parse};

use crate::syntax::{Heredoc, Lines};

/// One instruction of a stage.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Instruction {
    /// As written.
    pub(crate) keyword: String,
    /// The whole as written, continuation lines joined.
    pub(crate) code: String,
    pub(crate) lines: Lines,
    /// The comments right before it.
    pub(crate) comments: Vec<String>,
    pub(crate) what: What,
}

/// What an instruction is for.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum What {
    Add(Copying),
    Arg(Vec<Arg>),
    Cmd(CommandLine),
    Copy(Copying),
    Entrypoint(CommandLine),
    Env(Vec<Pair>),
    Expose(Vec<String>),
    Healthcheck(oci::Healthcheck),
    Label(Vec<Pair>),
    Maintainer(String),
    OnBuild(String),
    Run(Run),
    Shell(Vec<String>),
    StopSignal(String),
    User(String),
    Volume(Vec<String>),
    Workdir(String),
}

/// A name and a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pair {
    pub(crate) name: String,
    pub(crate) value: String,
    /// Whether white space stands between them instead of an equals sign.
    pub(crate) is_legacy: bool,
}

/// A build argument.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Arg {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
    /// What the comment before it says of it.
    pub(crate) description: String,
}

/// RUN, CMD and ENTRYPOINT.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct CommandLine {
    pub(crate) words: Vec<String>,
    /// Whether the words are for the shell: they were not written as a JSON array.
    pub(crate) is_for_shell: bool,
    pub(crate) heredocs: Vec<Heredoc>,
}

/// RUN.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Run {
    pub(crate) command: CommandLine,
    /// Each as written: variables in them are put in before they are read.
    pub(crate) mounts: Vec<String>,
    pub(crate) devices: Vec<Device>,
    pub(crate) network: RunNetwork,
    /// Whether it asks for everything that the host's root may do.
    pub(crate) is_insecure: bool,
}

/// `RUN --network`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum RunNetwork {
    #[default]
    Default,
    None,
    Host,
}

/// COPY and ADD.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Copying {
    pub(crate) sources: Vec<String>,
    pub(crate) files: Vec<InlineFile>,
    pub(crate) target: String,
    /// `COPY --from`; empty for the context.
    pub(crate) from: String,
    pub(crate) chown: String,
    pub(crate) chmod: String,
    pub(crate) exclude: Vec<String>,
    pub(crate) link: bool,
    pub(crate) parents: bool,
    /// `ADD --keep-git-dir`, if it is given.
    pub(crate) keep_git_dir: Option<bool>,
    /// `ADD --unpack`, if it is given.
    pub(crate) unpack: Option<bool>,
    pub(crate) checksum: String,
}

/// A here-document that becomes a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct InlineFile {
    pub(crate) name: String,
    pub(crate) content: String,
    pub(crate) expands: bool,
}

/// The instructions there are.
pub(crate) const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];
