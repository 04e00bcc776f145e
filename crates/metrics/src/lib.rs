//! Numbers that a program gives of itself: [`Counter`], [`Gauge`], [`Histogram`], many of a kind by labels in
//! a [`Family`], and their text as Prometheus reads it ([`Text`]).
//!
//! Counting takes no lock and, once a number is there, no memory. Which labels there are is the business of
//! whoever counts: values that others choose (names, paths, methods) must be mapped to those that are known
//! first. A family has a bound all the same, past which all further ones are one.
//!
//! Source: Prometheus, "Exposition formats", version 0.0.4 of the text.
#![forbid(unsafe_code)]

mod family;
mod number;
mod text;

use std::sync::Arc;

use parking_lot::Mutex;

pub use family::Family;
pub use number::{Counter, Gauge, Histogram};
pub use text::{Block, CONTENT_TYPE, Kind, Text};

/// Somebody who has numbers to give.
pub trait Source: Send + Sync + 'static {
    /// Writes all of them.
    fn write(&self, text: &mut Text);
}

impl<F: Fn(&mut Text) + Send + Sync + 'static> Source for F {
    fn write(&self, text: &mut Text) {
        self(text);
    }
}

/// All who have numbers to give in this process. Cheap to clone: all clones are one.
#[derive(Clone, Default)]
pub struct Registry {
    sources: Arc<Mutex<Vec<Arc<dyn Source>>>>,
}

impl Registry {
    /// Adds one.
    pub fn add(&self, source: Arc<dyn Source>) {
        self.sources.lock().push(source);
    }

    /// The text of all numbers, as they are now.
    pub fn text(&self) -> String {
        let sources = self.sources.lock().clone();
        let mut text = Text::default();
        for source in sources {
            source.write(&mut text);
        }
        text.finish()
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("sources", &self.sources.lock().len()).finish()
    }
}
