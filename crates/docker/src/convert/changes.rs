//! Instructions given to `docker commit --change` and `docker import --change`.

use engine::container::HealthTest;
use engine::image::ImageConfig;

use super::{image, ports};
use crate::fault::Fault;

/// Applies instructions of a Dockerfile that concern an image's configuration only.
pub(crate) fn apply(mut config: ImageConfig, changes: &[String]) -> Result<ImageConfig, Fault> {
    for line in
        changes.iter().flat_map(|change| change.lines()).map(str::trim).filter(|line| !line.is_empty())
    {
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        instruction(&mut config, &word.to_ascii_uppercase(), rest.trim())?;
    }
    Ok(config)
}

fn instruction(config: &mut ImageConfig, word: &str, rest: &str) -> Result<(), Fault> {
    if rest.is_empty() {
        return Err(Fault::invalid(format!("{word} requires at least one argument")));
    }
    match word {
        "CMD" => config.command = Some(command(rest, config.shell.as_deref())),
        "ENTRYPOINT" => {
            config.entrypoint = Some(command(rest, config.shell.as_deref()));
        }
        "ENV" => {
            for (name, value) in pairs(rest, word)? {
                image::set_env(&mut config.env, &format!("{name}={value}"));
            }
        }
        "LABEL" => config.labels.extend(pairs(rest, word)?),
        "EXPOSE" => {
            for text in rest.split_whitespace() {
                let port = ports::port(text)?;
                if !config.exposed_ports.contains(&port) {
                    config.exposed_ports.push(port);
                }
            }
        }
        "VOLUME" => {
            let paths = json(rest).unwrap_or_else(|| rest.split_whitespace().map(str::to_owned).collect());
            config.volumes.extend(paths);
        }
        "USER" => config.user = rest.to_owned(),
        "WORKDIR" => {
            config.workdir = match rest.starts_with('/') {
                true => rest.to_owned(),
                false => format!("{}/{rest}", config.workdir.trim_end_matches('/')),
            }
        }
        "STOPSIGNAL" => config.stop_signal = Some(rest.to_owned()),
        "ONBUILD" => config.on_build.push(rest.to_owned()),
        "SHELL" => {
            config.shell = Some(
                json(rest)
                    .ok_or_else(|| Fault::invalid("SHELL requires the arguments to be in JSON form"))?,
            )
        }
        "HEALTHCHECK" => config.healthcheck = Some(healthcheck(rest)?),
        _ => {
            return Err(Fault::invalid(format!(
                "{} is not a valid change command",
                word.to_ascii_lowercase()
            )));
        }
    }
    Ok(())
}

fn healthcheck(rest: &str) -> Result<engine::container::Healthcheck, Fault> {
    let test = match rest.split_once(char::is_whitespace) {
        None if rest.eq_ignore_ascii_case("none") => HealthTest::Disabled,
        Some((word, line)) if word.eq_ignore_ascii_case("cmd") => match json(line.trim()) {
            Some(words) => HealthTest::Command(words),
            None => HealthTest::Shell(line.trim().to_owned()),
        },
        _ => return Err(Fault::invalid(format!("Unknown type \"{rest}\" in HEALTHCHECK (try CMD)"))),
    };
    Ok(engine::container::Healthcheck { test, ..Default::default() })
}

/// The words of a JSON list, or a line for the shell.
fn command(rest: &str, shell: Option<&[String]>) -> Vec<String> {
    json(rest).unwrap_or_else(|| {
        let usual = ["/bin/sh".to_owned(), "-c".to_owned()];
        shell.unwrap_or(&usual).iter().cloned().chain([rest.to_owned()]).collect()
    })
}

fn json(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

/// Reads `a=b "c d"=e` and the old form `a b`.
fn pairs(text: &str, word: &str) -> Result<Vec<(String, String)>, Fault> {
    let words = split(text);
    if let Some(first) = words.first().filter(|first| !first.contains('=')) {
        let value = text[first.len()..].trim();
        if value.is_empty() {
            return Err(Fault::invalid(format!("{word} must have two arguments")));
        }
        return Ok(vec![(first.clone(), value.to_owned())]);
    }
    let pair = |pair: &String| match pair.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Fault::invalid(format!(
            "Syntax error - can't find = in \"{pair}\". Must be of the form: name=value"
        ))),
    };
    words.iter().map(pair).collect()
}

/// Splits at blanks that are neither quoted nor escaped, and takes quotes and escapes away.
fn split(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(letters.next()),
            (None, letter) if letter.is_whitespace() => words.extend(word.take()),
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: &str, expected: Result<ImageConfig, &str>) {
        let applied = apply(ImageConfig::default(), &[change.to_owned()]);
        assert_eq!(applied.map_err(|fault| fault.message), expected.map_err(str::to_owned), "{change}");
    }

    fn words(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|&word| word.to_owned()).collect())
    }

    #[test]
    fn commands_have_two_forms() {
        check(r#"CMD ["a","b"]"#, Ok(ImageConfig { command: words(&["a", "b"]), ..Default::default() }));
        check("cmd a b", Ok(ImageConfig { command: words(&["/bin/sh", "-c", "a b"]), ..Default::default() }));
    }

    #[test]
    fn variables_and_labels_are_pairs() {
        let env = vec!["A=1".to_owned(), "B=c d".to_owned()];
        check(r#"ENV A=1 B="c d""#, Ok(ImageConfig { env, ..Default::default() }));
        check("ENV A b c", Ok(ImageConfig { env: vec!["A=b c".to_owned()], ..Default::default() }));
        check("ENV A", Err("ENV must have two arguments"));
    }

    #[test]
    fn what_needs_a_build_is_refused() {
        check("RUN true", Err("run is not a valid change command"));
        check("USER", Err("USER requires at least one argument"));
    }
}
