//! `fuzz TARGET…`: feeds targets for some time; `cargo xtask fuzz` builds this to count what it goes through.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use fuzz::{Limit, Options, Target, all, run};

/// Feeds what reads bytes of others with made-up ones.
#[derive(Parser)]
struct Cli {
    /// What to feed; all in turn where none is named
    targets: Vec<String>,
    /// How long, each
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What all inputs follow from; drawn where none is given
    #[arg(long)]
    seed: Option<u64>,
    /// Where finds and what was learned are kept
    #[arg(long, default_value = "target/fuzz")]
    directory: PathBuf,
    /// Feeds what is in this file, once
    #[arg(long)]
    input: Option<PathBuf>,
    /// Tells the targets
    #[arg(long)]
    list: bool,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let known = all();
    if cli.list {
        for target in &known {
            println!("{}", target.name);
        }
        return Ok(());
    }
    let named = |name: &String| {
        known
            .iter()
            .find(|target| target.name == name)
            .with_context(|| format!("there is no target `{name}`"))
    };
    let targets: Vec<&Target> = match cli.targets.as_slice() {
        [] => known.iter().collect(),
        names => names.iter().map(named).collect::<anyhow::Result<_>>()?,
    };
    if let Some(path) = cli.input {
        let [target] = targets.as_slice() else { bail!("name the target that the input is for") };
        let input = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        println!("{}", if (target.read)(&input) { "taken" } else { "refused" });
        return Ok(());
    }
    let mut found = 0;
    for target in targets {
        let options = Options {
            seed: cli.seed.unwrap_or_else(|| fastrand::u64(..)),
            limit: Limit::Time(Duration::from_secs(cli.seconds)),
            directory: cli.directory.clone(),
            learns: true,
        };
        match run(target, &options) {
            Ok(report) => println!("{}: seed {}, {report:?}", target.name, options.seed),
            Err(error) => {
                found += 1;
                println!("{}: seed {}, {:#}", target.name, options.seed, anyhow::Error::from(error));
            }
        }
    }
    if found > 0 {
        bail!("{found} of them found something");
    }
    Ok(())
}
