//! Why a runtime did not do what it was asked for.

use std::error::Error as StdError;
use std::fmt;

/// The few kinds of failure that the node acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no such thing.
    NotFound,
    /// It is so already: nothing was done.
    Unchanged,
    /// It makes no sense, whatever the state.
    Invalid,
    /// Anything else.
    Failed,
}

/// What is the matter, where Kubernetes has a sentence for it, which `words.rs` has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// There is no such image here.
    NoImage {
        /// With its tag.
        reference: String,
    },
    /// A registry has no such image.
    NoManifest {
        /// With its tag.
        reference: String,
    },
    /// A registry does not give the image, or hides that there is none.
    PullDenied {
        /// Without a tag.
        repository: String,
    },
}

/// Why a runtime did not do what it was asked for. It prints as the runtime says it.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    fact: Option<Fact>,
    said: Box<dyn StdError + Send + Sync>,
}

impl Error {
    /// What a runtime said.
    pub fn new(kind: Kind, fact: Option<Fact>, said: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { kind, fact, said: said.into() }
    }

    /// What the node can act on.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What is the matter, where Kubernetes has words of its own for it.
    pub fn fact(&self) -> Option<&Fact> {
        self.fact.as_ref()
    }

    /// What was said, with all its causes.
    pub fn full_message(&self) -> String {
        base::error::chain(self).to_string()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.said.fmt(f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.said.source()
    }
}
