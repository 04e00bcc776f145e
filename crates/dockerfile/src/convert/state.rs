//! What a stage's instructions have come to so far.

use std::collections::{BTreeMap, HashMap};

use llb::pb;

use crate::draft::{Place, Source};
use crate::words::Variables;

/// Variables, those set last at the end. A Dockerfile may have very many, and look each up as often.
#[derive(Clone, Debug, Default)]
pub struct Env {
    /// Values, with their number in the order of setting.
    values: HashMap<String, (u64, String)>,
    order: BTreeMap<u64, String>,
    next: u64,
    bytes: usize,
}

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
    pub fn set(&mut self, name: &str, value: &str) {
        self.remove(name);
        self.bytes += name.len() + value.len();
        self.values.insert(name.to_owned(), (self.next, value.to_owned()));
        self.order.insert(self.next, name.to_owned());
        self.next += 1;
    }

    /// Takes a variable away.
    pub fn remove(&mut self, name: &str) {
        if let Some((number, value)) = self.values.remove(name) {
            self.bytes -= name.len() + value.len();
            self.order.remove(&number);
        }
    }

    /// The value of a variable.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.order.values().map(String::as_str)
    }

    /// As `NAME=value`.
    pub fn entries(&self) -> Vec<String> {
        self.names().map(|name| format!("{name}={}", self.value(name).unwrap_or_default())).collect()
    }

    /// Bytes of all names and values.
    pub(crate) fn len(&self) -> usize {
        self.bytes
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
