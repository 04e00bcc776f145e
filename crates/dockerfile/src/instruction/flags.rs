//! The flags of an instruction: which it knows, and what they were set to.

use crate::suggest;

/// What a flag takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Takes {
    /// `true`, `false`, or nothing, which is `true`.
    Truth,
    /// One value.
    Text,
    /// As many values as it is given times.
    Texts,
}

/// Flags that were given.
#[derive(Debug, Default)]
pub(super) struct Flags(Vec<(&'static str, String)>);

impl Flags {
    /// Reads the flags of an instruction that knows these.
    pub(super) fn read(given: &[String], known: &[(&'static str, Takes)]) -> Result<Self, String> {
        let mut flags = Self::default();
        for word in given {
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) => (flag, Some(value)),
                None => (word.as_str(), None),
            };
            let Some(name) = flag.strip_prefix("--") else {
                return Err(format!("arg should start with -- : {word}"));
            };
            let Some((name, takes)) = known.iter().find(|(known, _)| *known == name) else {
                let names = known.iter().map(|(name, _)| *name);
                return Err(suggest::hint(format!("unknown flag: {flag}"), name, names, true));
            };
            if *takes != Takes::Texts && flags.is_given(name) {
                return Err(format!("duplicate flag specified: {flag}"));
            }
            let missing = || format!("missing a value on flag: {flag}");
            let value = match (takes, value) {
                (Takes::Truth, None) => "true".to_owned(),
                (Takes::Truth, Some("")) => return Err(missing()),
                (Takes::Truth, Some(value)) => match value.to_lowercase().as_str() {
                    truth @ ("true" | "false") => truth.to_owned(),
                    _ => return Err(format!("expecting boolean value for flag {flag}, not: {value}")),
                },
                (_, value) => value.ok_or_else(missing)?.to_owned(),
            };
            flags.0.push((name, value));
        }
        Ok(flags)
    }

    /// The value of a flag; empty where it is not given.
    pub(super) fn text(&self, name: &str) -> String {
        self.texts(name).into_iter().next().unwrap_or_default()
    }

    /// All values of a flag.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(known, _)| *known == name).map(|(_, value)| value.clone()).collect()
    }

    /// Whether a flag is set; none where it is not given.
    pub(super) fn truth(&self, name: &str) -> Option<bool> {
        self.is_given(name).then(|| self.text(name) == "true")
    }

    fn is_given(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| *known == name)
    }
}
