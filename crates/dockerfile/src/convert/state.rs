//! What a stage's instructions have come to so far.

use llb::pb;

use crate::draft::{Place, Source};
use crate::words::Variables;

/// Variables, those set last at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Env(Vec<(String, String)>);

/// A stage's files, and how its commands run.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    /// None for an empty directory.
    pub(super) root: Option<Place>,
    pub(super) env: Env,
    /// Empty for the root.
    pub(super) dir: String,
    pub(super) user: String,
    pub(super) hostname: String,
    pub(super) network: pb::NetMode,
    /// Where the files come from, if that is made when all that is taken of them is known.
    pub(super) later: Option<Later>,
}

/// A source that lacks what is taken of it.
#[derive(Clone, Debug)]
pub(crate) struct Later {
    pub(crate) place: Place,
    pub(crate) source: Source,
}

impl Env {
    /// Sets a variable.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    /// The value of a variable.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// As `NAME=value`.
    pub(crate) fn entries(&self) -> Vec<String> {
        self.0.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    /// Bytes of all names and values.
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

impl Variables for Env {
    fn get(&self, name: &str) -> Option<String> {
        self.value(name).map(str::to_owned)
    }
}

impl State {
    /// The working directory.
    pub(super) fn dir(&self) -> &str {
        if self.dir.is_empty() { "/" } else { &self.dir }
    }
}
