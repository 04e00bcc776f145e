//! The `--name=value` options between an instruction and its arguments.

/// Options, in the order written.
#[derive(Default)]
pub(super) struct Options(Vec<(String, Option<String>)>);

/// Takes the options off the front of an instruction's arguments.
pub(super) fn take(arguments: &str, escape: char) -> (Options, &str) {
    let mut options = Vec::new();
    let mut rest = arguments.trim_start();
    while let Some(after) = rest.strip_prefix("--") {
        let end = word_end(rest, escape);
        if after.is_empty() || end == 2 {
            // A bare `--` ends the options.
            rest = rest[end..].trim_start();
            break;
        }
        let word = &rest[2..end];
        options.push(match word.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.trim_matches(['"', '\'']).to_owned())),
            None => (word.to_owned(), None),
        });
        rest = rest[end..].trim_start();
    }
    (Options(options), rest)
}

/// Where the first word ends.
fn word_end(text: &str, escape: char) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (c, quote) {
            _ if escaped => escaped = false,
            (c, _) if c == escape => escaped = true,
            (c, None) if c.is_whitespace() => return at,
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            _ => {}
        }
    }
    text.len()
}

impl Options {
    /// Takes the option `name` out, if it was given; it may be given once.
    pub(super) fn value(&mut self, name: &str) -> Result<Option<String>, String> {
        let mut values = self.values(name)?;
        match values.len() {
            0 => Ok(None),
            1 => Ok(values.pop()),
            _ => Err(format!("duplicate flag specified: {name}")),
        }
    }

    /// Takes all values of the option `name` out.
    pub(super) fn values(&mut self, name: &str) -> Result<Vec<String>, String> {
        let (found, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.0).into_iter().partition(|(known, _)| known == name);
        self.0 = others;
        found
            .into_iter()
            .map(|(name, value)| value.ok_or_else(|| format!("missing a value on flag: --{name}")))
            .collect()
    }

    /// Takes the switch `name` out: `--name`, `--name=true`, `--name=false`.
    pub(super) fn switch(&mut self, name: &str) -> Result<bool, String> {
        let (found, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.0).into_iter().partition(|(known, _)| known == name);
        self.0 = others;
        match found.last() {
            None => Ok(false),
            Some((_, None)) => Ok(true),
            Some((_, Some(value))) => match value.as_str() {
                "true" => Ok(true),
                "false" => Ok(false),
                other => Err(format!("expecting boolean value for flag {name}, not: {other}")),
            },
        }
    }

    /// Whatever is left is unknown.
    pub(super) fn finish(self) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(format!("unknown flag: {name}")),
        }
    }
}
