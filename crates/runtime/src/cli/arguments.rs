//! The command line taken apart: flags as `--name value` or `--name=value`, then the rest.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// A command line that is being read.
#[derive(Debug)]
pub(super) struct Arguments<'a> {
    rest: std::collections::VecDeque<&'a OsStr>,
    /// Name of the flag that was read last, and its value if it came with one.
    flag: String,
    value: Option<OsString>,
}

/// What is wrong with a command line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UsageError {
    #[error("unknown flag --{0}")]
    Flag(String),
    #[error("flag --{0} needs a value")]
    NoValue(String),
    #[error("flag --{0} cannot be `{1}`")]
    Value(&'static str, String),
    #[error("flag --{0} takes true or false, not `{1}`")]
    Switch(String, String),
    #[error("`{0}` is not text")]
    NotText(String),
    #[error("something is missing at the end")]
    Missing,
    #[error("`{0}` is too much")]
    TooMuch(String),
    #[error("unknown command `{0}`")]
    Command(String),
}

impl<'a> Arguments<'a> {
    pub(super) fn new(args: &'a [OsString]) -> Self {
        Self { rest: args.iter().map(OsString::as_os_str).collect(), flag: String::new(), value: None }
    }

    /// The next flag's name, without dashes; `None` before anything else, and behind `--`.
    pub(super) fn flag(&mut self) -> Result<Option<String>, UsageError> {
        if let Some(value) = self.value.take() {
            let value = value.to_string_lossy().into_owned();
            return Err(UsageError::Switch(std::mem::take(&mut self.flag), value));
        }
        let Some(&next) = self.rest.front() else { return Ok(None) };
        let bytes = next.as_bytes();
        if !bytes.starts_with(b"-") || bytes == b"-" {
            return Ok(None);
        }
        self.rest.pop_front();
        if bytes == b"--" {
            return Ok(None);
        }
        let name = bytes.strip_prefix(b"--").unwrap_or(&bytes[1..]);
        let (name, value) = match name.iter().position(|&byte| byte == b'=') {
            Some(at) => (&name[..at], Some(OsStr::from_bytes(&name[at + 1..]).to_owned())),
            None => (name, None),
        };
        self.flag = String::from_utf8_lossy(name).into_owned();
        self.value = value;
        Ok(Some(self.flag.clone()))
    }

    /// The value of the flag just read.
    pub(super) fn value(&mut self) -> Result<OsString, UsageError> {
        match self.value.take() {
            Some(value) => Ok(value),
            None => self
                .rest
                .pop_front()
                .map(OsStr::to_owned)
                .ok_or_else(|| UsageError::NoValue(self.flag.clone())),
        }
    }

    /// The value of the flag just read, as text.
    pub(super) fn text(&mut self) -> Result<String, UsageError> {
        self.value()?.into_string().map_err(|value| UsageError::NotText(value.to_string_lossy().into_owned()))
    }

    /// The value of a flag that is on by being there, or `=true` or `=false`.
    pub(super) fn switch(&mut self) -> Result<bool, UsageError> {
        match self.value.take() {
            None => Ok(true),
            Some(value) if value == "true" => Ok(true),
            Some(value) if value == "false" => Ok(false),
            Some(value) => Err(UsageError::Switch(self.flag.clone(), value.to_string_lossy().into_owned())),
        }
    }

    /// The next argument that is no flag.
    pub(super) fn positional(&mut self) -> Result<String, UsageError> {
        let next = self.rest.pop_front().ok_or(UsageError::Missing)?;
        next.to_str()
            .map(ToOwned::to_owned)
            .ok_or_else(|| UsageError::NotText(next.to_string_lossy().into_owned()))
    }

    /// The next argument that is no flag, if there is one.
    pub(super) fn optional(&mut self) -> Result<Option<String>, UsageError> {
        if self.rest.is_empty() { Ok(None) } else { self.positional().map(Some) }
    }

    /// All that is left.
    pub(super) fn remaining(mut self) -> Result<Vec<String>, UsageError> {
        let mut all = Vec::with_capacity(self.rest.len());
        while let Some(next) = self.optional()? {
            all.push(next);
        }
        Ok(all)
    }

    /// Makes sure that nothing is left.
    pub(super) fn end(self) -> Result<(), UsageError> {
        match self.rest.front() {
            None => Ok(()),
            Some(extra) => Err(UsageError::TooMuch(extra.to_string_lossy().into_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn values_come_behind_a_blank_or_an_equals_sign() {
        let args = split("--root /a --log=/b create -f json");
        let mut args = Arguments::new(&args);
        assert_eq!(args.flag(), Ok(Some("root".to_owned())));
        assert_eq!(args.text(), Ok("/a".to_owned()));
        assert_eq!(args.flag(), Ok(Some("log".to_owned())));
        assert_eq!(args.text(), Ok("/b".to_owned()));
        assert_eq!(args.flag(), Ok(None));
        assert_eq!(args.positional(), Ok("create".to_owned()));
        assert_eq!(args.flag(), Ok(Some("f".to_owned())));
        assert_eq!(args.text(), Ok("json".to_owned()));
        assert_eq!(args.end(), Ok(()));
    }

    #[test]
    fn flags_end_at_the_first_other_argument_or_two_dashes() {
        let args = split("id -- --not-a-flag");
        let mut args = Arguments::new(&args);
        assert_eq!(args.flag(), Ok(None));
        assert_eq!(args.positional(), Ok("id".to_owned()));
        assert_eq!(args.flag(), Ok(None));
        assert_eq!(args.remaining(), Ok(vec!["--not-a-flag".to_owned()]));
    }

    #[test]
    fn a_value_given_to_a_switch_that_takes_none_is_an_error() {
        let args = split("--force=maybe id");
        let mut args = Arguments::new(&args);
        assert_eq!(args.flag(), Ok(Some("force".to_owned())));
        assert!(args.switch().is_err());
    }
}
