//! Feeds the targets of `fuzz/`, built to count what they go through.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use clap::Args;

/// Feeds what reads bytes of others with made-up ones.
#[derive(Args)]
pub(crate) struct Fuzz {
    /// What the program `fuzz` takes: targets, `--seconds N`, `--seed N`, `--input FILE`, `--list`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Says that this program stands in for the compiler.
const WRAPPER: &str = "XTASK_COUNTS";

/// Builds the program and runs it in place of this one.
///
/// Only crates of this workspace count what they go through; what they depend on is built as it always is.
pub(crate) fn run(Fuzz { arguments }: &Fuzz) -> anyhow::Result<()> {
    let this = env::current_exe().context("find this program")?;
    let output = Command::new(env!("CARGO"))
        .current_dir(crate::workspace_root()?)
        // All of the workspace has a say in what dependencies are built with, as for the tests.
        .args(["build", "--workspace", "--bin", "fuzz", "--message-format", "json-render-diagnostics"])
        .env("RUSTC_WORKSPACE_WRAPPER", this)
        .env(WRAPPER, "1")
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("run cargo")?;
    ensure!(output.status.success(), "the fuzzer does not build");
    let program =
        cargo_metadata::Message::parse_stream(&output.stdout[..]).find_map(|message| match message {
            Ok(cargo_metadata::Message::CompilerArtifact(artifact)) if artifact.target.name == "fuzz" => {
                artifact.executable
            }
            _ => None,
        });
    let program = program.context("cargo does not say where the fuzzer is")?;
    // Counts are read from memory, not from a file at the end.
    let error = Command::new(program).args(arguments).env("LLVM_PROFILE_FILE", "/dev/null").exec();
    Err(error).context("run the fuzzer")
}

/// Whether this program stands in for the compiler.
pub(crate) fn is_compiler() -> bool {
    env::var_os(WRAPPER).is_some()
}

/// Compiles as cargo says, with counters.
pub(crate) fn compile() -> anyhow::Result<()> {
    let mut arguments = env::args_os().skip(1);
    let Some(compiler) = arguments.next() else { bail!("cargo names no compiler") };
    let mut command = Command::new(compiler);
    command.args(arguments).args(["-C", "instrument-coverage"]);
    Err(command.exec()).context("run the compiler")
}
