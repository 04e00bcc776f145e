//! Instructions that change how containers run, and nothing else.

use std::path::{Component, Path, PathBuf};

use dockerfile::classic::{Command, CommandForm, Dockerfile, HealthOptions};
use dockerfile::words::{Variables, expand, expand_words};
use oci::{ContainerConfig, Healthcheck};

/// What a configuration is changed with besides the instruction.
pub(crate) struct Scope<'a> {
    pub(crate) escape: char,
    pub(crate) variables: &'a dyn Variables,
}

/// What a shell runs that the image names none.
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// The shell of an image.
pub(crate) fn shell(config: &ContainerConfig) -> Vec<String> {
    if config.shell.is_empty() { DEFAULT_SHELL.map(str::to_owned).to_vec() } else { config.shell.clone() }
}

/// A command as the arguments of a process.
pub(crate) fn arguments(form: &CommandForm, config: &ContainerConfig) -> Vec<String> {
    match form {
        CommandForm::Exec(words) => words.clone(),
        CommandForm::Shell(line) => {
            let mut arguments = shell(config);
            arguments.push(line.clone());
            arguments
        }
    }
}

/// Applies an instruction to a configuration. Gives what the image's history says of it, or `None`
/// if the instruction is of another sort.
pub(crate) fn configure(
    command: &Command,
    config: &mut ContainerConfig,
    scope: &Scope<'_>,
) -> Result<Option<String>, String> {
    let one = |word: &str| expand(word, scope.escape, scope.variables);
    let comment = match command {
        Command::Cmd(form) => {
            let words = arguments(form, config);
            let comment = format!("CMD {}", quoted(&words));
            config.cmd = Some(words);
            comment
        }
        Command::Entrypoint(form) => {
            let words = arguments(form, config);
            let comment = format!("ENTRYPOINT {}", quoted(&words));
            config.entrypoint = if words.is_empty() { None } else { Some(words) };
            comment
        }
        Command::Env(pairs) => {
            let mut comment = "ENV".to_owned();
            for (name, value) in expand_pairs(pairs, scope)? {
                comment.push_str(&format!(" {name}={value}"));
                config.env_set(&name, &value);
            }
            comment
        }
        Command::Label(pairs) => {
            let mut comment = "LABEL".to_owned();
            for (name, value) in expand_pairs(pairs, scope)? {
                comment.push_str(&format!(" {name}={value}"));
                config.labels.insert(name, value);
            }
            comment
        }
        Command::Expose(words) => {
            let mut ports = Vec::new();
            for word in words {
                for word in expand_words(word, scope.escape, scope.variables)? {
                    ports.extend(expand_ports(&word)?);
                }
            }
            let comment = format!("EXPOSE {}", ports.join(" "));
            config.exposed_ports.extend(ports);
            comment
        }
        Command::Volume(words) => {
            let mut volumes = Vec::new();
            for word in words {
                let path = one(word)?;
                if path.trim().is_empty() {
                    return Err("VOLUME specified can not be an empty string".into());
                }
                volumes.push(path);
            }
            let comment = format!("VOLUME [{}]", volumes.join(" "));
            config.volumes.extend(volumes);
            comment
        }
        Command::User(user) => {
            config.user = one(user)?;
            format!("USER {}", config.user)
        }
        Command::Workdir(path) => {
            config.working_dir = absolute(&config.working_dir, &one(path)?);
            format!("WORKDIR {}", config.working_dir)
        }
        Command::OnBuild(instruction) => {
            config.on_build.push(instruction.clone());
            format!("ONBUILD {instruction}")
        }
        Command::StopSignal(signal) => {
            let signal = one(signal)?;
            check_signal(&signal)?;
            config.stop_signal = signal;
            format!("STOPSIGNAL {}", config.stop_signal)
        }
        Command::Healthcheck(options) => {
            let health = healthcheck(options, config);
            let comment = format!("HEALTHCHECK {}", quoted(&health.test));
            config.healthcheck = Some(health);
            comment
        }
        Command::Shell(words) => {
            config.shell = words.clone();
            format!("SHELL [{}]", words.join(" "))
        }
        Command::From { .. }
        | Command::Run { .. }
        | Command::Add(_)
        | Command::Copy(_)
        | Command::Arg(_)
        | Command::Maintainer(_) => return Ok(None),
    };
    Ok(Some(comment))
}

/// What can be changed without files and without a base image.
const CHANGES: [&str; 11] = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// Applies the instructions of `--change`, each on its line.
pub(crate) fn change(config: &mut ContainerConfig, text: &str) -> Result<(), String> {
    for step in Dockerfile::parse_changes(text, &CHANGES)? {
        let environment = config.clone();
        let variables = move |name: &str| environment.env_get(name).map(str::to_owned);
        let scope = Scope { escape: '\\', variables: &variables };
        configure(&step.command, config, &scope)?;
    }
    Ok(())
}

/// A path made absolute: below the working directory, without `.` and `..`.
pub(crate) fn absolute(working_dir: &str, path: &str) -> String {
    let mut clean = PathBuf::from("/");
    for component in Path::new("/").join(working_dir).join(path).components() {
        match component {
            Component::Normal(part) => clean.push(part),
            Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean.to_string_lossy().into_owned()
}

fn expand_pairs(pairs: &[(String, String)], scope: &Scope<'_>) -> Result<Vec<(String, String)>, String> {
    let mut expanded = Vec::new();
    for (name, value) in pairs {
        let name = expand(name, scope.escape, scope.variables)?;
        if name.is_empty() {
            return Err("names can not be blank".into());
        }
        expanded.push((name, expand(value, scope.escape, scope.variables)?));
    }
    Ok(expanded)
}

/// `80`, `80/udp`, `8000-8010/tcp`, each port for itself.
fn expand_ports(text: &str) -> Result<Vec<String>, String> {
    let invalid = || format!("invalid containerPort: {text}");
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {protocol}"));
    }
    // As `-p` has it, what comes before a colon is the host's side.
    let ports = ports.rsplit(':').next().unwrap_or(ports);
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let first: u16 = first.parse().ok().filter(|&port| port > 0).ok_or_else(invalid)?;
    let last: u16 = last.parse().ok().filter(|&port| port >= first).ok_or_else(invalid)?;
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

fn healthcheck(options: &HealthOptions, config: &ContainerConfig) -> Healthcheck {
    let test = match &options.command {
        None => vec!["NONE".to_owned()],
        Some(CommandForm::Shell(line)) => vec!["CMD-SHELL".to_owned(), line.clone()],
        Some(form) => [vec!["CMD".to_owned()], arguments(form, config)].concat(),
    };
    Healthcheck {
        test,
        interval: options.interval,
        timeout: options.timeout,
        start_period: options.start_period,
        start_interval: options.start_interval,
        retries: options.retries,
    }
}

/// A signal's name or number.
fn check_signal(text: &str) -> Result<(), String> {
    const NAMES: &str = "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT SEGV STKFLT STOP \
        SYS TERM TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ";
    let upper = text.to_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = NAMES.split(' ').any(|known| known == name)
        || name.starts_with("RTMIN")
        || name.starts_with("RTMAX")
        || text.parse().is_ok_and(|number: u8| (1..=64).contains(&number));
    if known { Ok(()) } else { Err(format!("Invalid signal: {text}")) }
}

/// A list as Go prints one of strings.
fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the history says and what the configuration becomes; or the complaint.
    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let mut config =
            ContainerConfig { working_dir: "/srv".into(), env: vec!["A=1".into()], ..Default::default() };
        let got = change(&mut config, text).map(|()| {
            let json = serde_json::to_string(&config).expect("prints");
            json.replace(r#""Env":["A=1"],"#, "")
                .replace(r#""WorkingDir":"/srv""#, "")
                .replace(",,", ",")
                .replace(",}", "}")
                .replace("{,", "{")
        });
        assert_eq!(got.as_deref().map_err(String::as_str), expected, "for `{text}`");
    }

    #[test]
    fn each_instruction_changes_its_own_field() {
        check("CMD echo hi", Ok(r#"{"Cmd":["/bin/sh","-c","echo hi"]}"#));
        check(r#"ENTRYPOINT ["x"]"#, Ok(r#"{"Entrypoint":["x"]}"#));
        check(
            "LABEL a=1\nENTRYPOINT [\"x\"]\n# and more\nLABEL b=\\\n2",
            Ok(r#"{"Entrypoint":["x"],"Labels":{"a":"1","b":"2"}}"#),
        );
        check("EXPOSE 80 90-91/udp", Ok(r#"{"ExposedPorts":{"80/tcp":{},"90/udp":{},"91/udp":{}}}"#));
        check("LABEL a=$A", Ok(r#"{"Labels":{"a":"1"}}"#));
        check("VOLUME /a /b", Ok(r#"{"Volumes":{"/a":{},"/b":{}}}"#));
        check("HEALTHCHECK NONE", Ok(r#"{"Healthcheck":{"Test":["NONE"]}}"#));
        check("STOPSIGNAL SIGQUIT", Ok(r#"{"StopSignal":"SIGQUIT"}"#));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        check("EXPOSE abc", Err("invalid containerPort: abc"));
        check("STOPSIGNAL NOPE", Err("Invalid signal: NOPE"));
        check("RUN x", Err("RUN is not a valid change command"));
        check("FOO x", Err("FOO is not a valid change command"));
        check("ENV B=1\nRUN x", Err("RUN is not a valid change command"));
        check("# nothing", Err("file with no instructions"));
    }

    #[test]
    fn working_directories_add_up() {
        assert_eq!(absolute("/a", "b/../c"), "/a/c");
        assert_eq!(absolute("/a", "/d"), "/d");
        assert_eq!(absolute("", "../x"), "/x");
    }
}
