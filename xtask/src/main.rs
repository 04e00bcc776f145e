//! Repository chores: `cargo xtask test`, `cargo xtask tidy`, `cargo xtask codegen`, `cargo xtask fuzz`.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

mod codegen;
mod fuzz;
mod test;
mod tidy;

/// Chores of this repository.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build and run all tests, several programs at a time
    Test(test::Test),
    /// Check the rows of the house, file sizes, inherited lints, forbidden dependencies, links in documents
    Tidy,
    /// Make committed files that are generated
    Codegen(codegen::Codegen),
    /// Feed what reads bytes of others with made-up ones
    Fuzz(fuzz::Fuzz),
}

fn main() -> ExitCode {
    let result = if fuzz::is_compiler() {
        fuzz::compile()
    } else {
        match Cli::parse().command {
            Command::Test(test) => test::run(&test),
            Command::Tidy => tidy::run(),
            Command::Codegen(codegen) => codegen::run(&codegen),
            Command::Fuzz(fuzz) => fuzz::run(&fuzz),
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the workspace that this program was built in.
fn workspace_root() -> anyhow::Result<PathBuf> {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(PathBuf::from).context("xtask lies in a workspace")
}
