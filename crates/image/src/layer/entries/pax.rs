//! The records of a PAX header (POSIX, "pax Extended Header").

use std::io;

use super::invalid;

/// What a PAX header says, in order. A name may come several times.
#[derive(Debug, Default)]
pub(super) struct Records(Vec<(String, Vec<u8>)>);

impl Records {
    /// Reads `LENGTH NAME=VALUE\n` one after another. The length counts all of a record, and nothing else
    /// ends it: a value is bytes.
    pub(super) fn parse(mut bytes: &[u8]) -> io::Result<Self> {
        let malformed = || invalid("malformed pax extension".to_owned());
        let mut records = Vec::new();
        // Some writers fill it up.
        while bytes.first().is_some_and(|&byte| byte != 0) {
            let blank = bytes.iter().position(|&byte| byte == b' ').ok_or_else(malformed)?;
            let digits = std::str::from_utf8(&bytes[..blank]).map_err(|_| malformed())?;
            let length: usize = digits.parse().map_err(|_| malformed())?;
            let record = bytes.get(blank + 1..length).ok_or_else(malformed)?;
            let record = record.strip_suffix(b"\n").ok_or_else(malformed)?;
            let equals = record.iter().position(|&byte| byte == b'=').ok_or_else(malformed)?;
            if let Ok(name) = std::str::from_utf8(&record[..equals]) {
                records.push((name.to_owned(), record[equals + 1..].to_vec()));
            }
            bytes = &bytes[length..];
        }
        Ok(Self(records))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// The value of `name`: of several the last; an empty one is none.
    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        let found = self.iter().filter(|(found, _)| *found == name).last();
        found.map(|(_, value)| value).filter(|value| !value.is_empty())
    }

    /// The value of `name` as a number.
    pub(super) fn number(&self, name: &str) -> io::Result<Option<u64>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        number(value).map(Some).ok_or_else(|| invalid(format!("`{name}` in a pax header is no number")))
    }
}

pub(super) fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
