//! The command line: `gantry <noun> <verb>` or `gantry <verb>`.
//!
//! Data goes to stdout, all else to stderr. Exit status 0: done, 1: failed, 2: wrong usage.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::config::{self, Config, ConfigError, Layers};

mod config_show;
mod doctor;
mod explain;
mod kubeconfig;
pub(crate) mod output;
mod reset;
mod status;
mod store;
mod up;

const DEFAULT_FILE: &str = "/etc/gantry/gantry.toml";

/// A container engine and a container cluster in one process, driven with docker and kubectl.
#[derive(Parser)]
#[command(name = "gantry", version, max_term_width = 100)]
struct Cli {
    /// Configuration file
    #[arg(long, global = true, value_name = "FILE", env = "GANTRY_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run control plane and node in the foreground; prints how to reach them with docker and kubectl
    Up,
    /// What runs and how it fares
    Status(output::Arguments),
    /// What the kernel and the host lack, with the cure
    Doctor(output::Arguments),
    /// Why something in the cluster is as it is
    #[command(subcommand)]
    Explain(explain::ExplainCommand),
    /// Remove an instance with everything in it
    Reset(reset::Arguments),
    /// Print the administrator's kubeconfig
    Kubeconfig,
    /// The cluster's state on disk
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// The effective configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// The OCI runtime command line: create, start, state, kill, delete, exec, run, list, features
    #[command(disable_help_flag = true)]
    Runtime,
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Every key with its value and where it came from
    Show(output::Arguments),
}

/// Runs the command that the arguments name.
pub(crate) fn main() -> ExitCode {
    let matches = command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let config = match configuration(cli.config.as_deref(), &matches) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("gantry: {}", base::error::chain(&error));
            return ExitCode::from(2);
        }
    };
    let result = match cli.command {
        Command::Up => up::run(&config, &|| configuration(cli.config.as_deref(), &matches)),
        Command::Status(arguments) => status::run(&config, arguments),
        Command::Doctor(arguments) => doctor::run(&config, arguments),
        Command::Explain(command) => explain::run(&config, &command),
        Command::Reset(arguments) => reset::run(&config, &arguments),
        Command::Kubeconfig => kubeconfig::run(&config),
        Command::Config(ConfigCommand::Show(arguments)) => config_show::run(&config, arguments),
        Command::Store(store::StoreCommand::Check(arguments)) => store::check::run(&config, &arguments),
        Command::Store(store::StoreCommand::Backup(arguments)) => store::backup::run(&config, &arguments),
        Command::Store(store::StoreCommand::Restore(arguments)) => store::restore::run(&config, &arguments),
        Command::Runtime => unreachable!("main takes this role before the command line is parsed"),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("gantry: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The command line with one global flag for each configuration key.
fn command() -> clap::Command {
    config::KEYS.iter().fold(Cli::command(), |command, key| {
        let argument = Arg::new(key.name)
            .long(key.name)
            .value_name(key.value_name)
            .help(key.help)
            .help_heading("Configuration")
            .global(true);
        // What takes several values takes them one by one, too.
        command.arg(if key.takes_several() { argument.action(ArgAction::Append) } else { argument })
    })
}

fn configuration(file: Option<&Path>, matches: &ArgMatches) -> Result<Config, ConfigError> {
    Config::new(&Layers {
        flags: flags(matches),
        environment: config::read_environment(std::env::vars())?,
        file: config::read_file(file.unwrap_or(Path::new(DEFAULT_FILE)), file.is_some())?,
    })
}

/// The configuration flags that were given, wherever among the words they stood.
fn flags(matches: &ArgMatches) -> BTreeMap<&'static str, String> {
    let mut innermost = matches;
    while let Some((_, inner)) = innermost.subcommand() {
        innermost = inner;
    }
    let value = |name| {
        let values = innermost.get_many::<String>(name)?;
        Some(values.map(String::as_str).collect::<Vec<_>>().join(","))
    };
    config::KEYS.iter().filter_map(|key| Some((key.name, value(key.name)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        command().debug_assert();
    }

    #[test]
    fn a_configuration_flag_counts_before_and_after_the_verb() {
        for words in
            [["gantry", "--root", "/srv", "config", "show"], ["gantry", "config", "show", "--root", "/srv"]]
        {
            let matches = command().try_get_matches_from(words).expect("right usage");
            assert_eq!(flags(&matches).get("root").map(String::as_str), Some("/srv"));
        }
    }

    #[test]
    fn what_takes_several_values_takes_them_one_by_one_too() {
        let words = ["gantry", "up", "--api-audiences", "a,b", "--api-audiences", "c"];
        let matches = command().try_get_matches_from(words).expect("right usage");
        assert_eq!(flags(&matches).get("api-audiences").map(String::as_str), Some("a,b,c"));
        assert!(command().try_get_matches_from(["gantry", "up", "--bip", "a", "--bip", "b"]).is_err());
    }
}
