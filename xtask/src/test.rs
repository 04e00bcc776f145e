//! Runs the tests of the workspace, several programs at a time.
//!
//! `cargo test` runs one program after another. Many wait for disks, time-outs and others most of the time; with
//! one more than there are processors, that time is used.

use std::fs::File;
use std::io::{self, Write as _};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use cargo_metadata::Message;
use clap::Args;

/// Builds and runs all tests: unit tests, those of `tests/`, and those of documents.
#[derive(Args)]
pub(crate) struct Test {
    /// How many programs run at a time; one more than there are processors where nothing is said
    #[arg(long)]
    at_once: Option<NonZero<usize>>,
    /// Only programs whose package or name contains this
    #[arg(long, default_value = "")]
    only: String,
}

/// A program that cargo has built of tests.
struct Program {
    /// Its package and its own name, as `apiserver api`.
    name: String,
    path: PathBuf,
    manifest: PathBuf,
}

impl Program {
    /// Where what it says goes.
    fn said(&self, kept: &Path) -> PathBuf {
        kept.join(self.path.file_name().unwrap_or_default()).with_extension("log")
    }
}

/// What became of one.
struct Ended {
    status: ExitStatus,
    said: PathBuf,
    seconds: f64,
}

/// So many programs that failed are run again, to learn more; where more did, it is no accident.
const AGAIN: usize = 3;
/// So much of what a program that failed has said is said once more in the end.
const LAST_LINES: usize = 40;

pub(crate) fn run(test: &Test) -> anyhow::Result<()> {
    let root = crate::workspace_root()?;
    let mut programs = build(&root)?;
    programs.retain(|program| program.name.contains(&test.only));
    ensure!(!programs.is_empty(), "no program's name contains `{}`", test.only);
    let kept = root.join("target/tests");
    std::fs::create_dir_all(&kept).with_context(|| format!("make {}", kept.display()))?;
    let usual = || thread::available_parallelism().map_or(2, |processors| processors.get() + 1);
    let at_once = test.at_once.map_or_else(usual, NonZero::get);
    let next = Mutex::new(programs.iter());
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(program) = take(&next) {
                    let ended = execute(program, &kept);
                    // Held while it is told, so that what two say is not mixed.
                    let Ok(mut failed) = failed.lock() else { return };
                    if !has_passed(program, ended) {
                        failed.push(program);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_default();
    let documents = test.only.is_empty().then(|| of_documents(&root)).transpose();
    if !failed.is_empty() {
        let runs_again = failed.len() <= AGAIN;
        let words = failed.iter().map(|program| describe(program, &kept, runs_again));
        let words: String = words.collect();
        bail!("of {} programs {} failed:\n{words}", programs.len(), failed.len());
    }
    documents.map(drop)
}

/// What a program that failed said last, and whether it passes once it runs alone: it has failed all the same, but
/// whoever looks for the cause looks elsewhere then.
fn describe(program: &Program, kept: &Path, runs_again: bool) -> String {
    let said = last_words(program, kept);
    let alone = match runs_again.then(|| has_passed(program, execute(program, kept))) {
        Some(true) => ", and passes alone",
        Some(false) => ", alone as well",
        None => "",
    };
    format!("    {}{alone}\n{said}", program.name)
}

/// What a program said last.
fn last_words(program: &Program, kept: &Path) -> String {
    let said = std::fs::read(program.said(kept)).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].iter().map(|line| format!("        {line}\n")).collect()
}

fn take<'a>(next: &Mutex<std::slice::Iter<'a, Program>>) -> Option<&'a Program> {
    next.lock().ok()?.next()
}

/// A cargo that knows nothing of the one that runs this: where it is told of a package, what looks at that is built
/// anew each time somebody builds in another way.
fn cargo(root: &Path) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    let of_package = |name: &str| {
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    };
    for (name, _) in std::env::vars().filter(|(name, _)| of_package(name)) {
        cargo.env_remove(name);
    }
    cargo.current_dir(root);
    cargo
}

/// Builds all programs of tests.
fn build(root: &Path) -> anyhow::Result<Vec<Program>> {
    let output = cargo(root)
        .args(["test", "--workspace", "--no-run", "--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .context("run cargo")?;
    ensure!(output.status.success(), "the tests do not build");
    let mut programs = Vec::new();
    for message in Message::parse_stream(&output.stdout[..]) {
        let Message::CompilerArtifact(artifact) = message.context("read what cargo says")? else { continue };
        let Some(path) = artifact.executable.filter(|_| artifact.profile.test) else { continue };
        let manifest = artifact.manifest_path.into_std_path_buf();
        let package = manifest.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let name = format!("{package} {}", artifact.target.name);
        programs.push(Program { name, path: path.into_std_path_buf(), manifest });
    }
    Ok(programs)
}

/// Runs one as cargo would; what it says goes to a file, since what it leaves running may hold on to that.
fn execute(program: &Program, kept: &Path) -> anyhow::Result<Ended> {
    let said = program.said(kept);
    let output = File::create(&said).with_context(|| format!("make {}", said.display()))?;
    let began = Instant::now();
    let status = Command::new(&program.path)
        .current_dir(program.manifest.parent().unwrap_or(&program.manifest))
        .env("CARGO_MANIFEST_DIR", program.manifest.parent().unwrap_or(&program.manifest))
        .stdin(Stdio::null())
        .stdout(output.try_clone().context("open the file once more")?)
        .stderr(output)
        .status()
        .with_context(|| format!("run {}", program.path.display()))?;
    Ok(Ended { status, said, seconds: began.elapsed().as_secs_f64() })
}

/// Prints what a program has said, or why it could not be run; gives whether all of its tests passed.
fn has_passed(program: &Program, ended: anyhow::Result<Ended>) -> bool {
    tell(program, ended).unwrap_or_else(|error| {
        println!("{}: {error:#}", program.name);
        false
    })
}

fn tell(program: &Program, ended: anyhow::Result<Ended>) -> anyhow::Result<bool> {
    let Ended { status, said, seconds } = ended?;
    let mut out = io::stdout().lock();
    writeln!(out, "\n     Running {} ({seconds:.1} s)", program.name)?;
    io::copy(&mut File::open(&said).with_context(|| format!("open {}", said.display()))?, &mut out)?;
    if !status.success() {
        writeln!(out, "{}: {status}", program.name)?;
    }
    Ok(status.success())
}

fn of_documents(root: &Path) -> anyhow::Result<()> {
    let status =
        cargo(root).args(["test", "--workspace", "--doc", "--quiet"]).status().context("run cargo")?;
    ensure!(status.success(), "tests of documents failed");
    Ok(())
}
