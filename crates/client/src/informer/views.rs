//! Which objects of a store are held as views, besides their texts: some that were made last.

use std::collections::VecDeque;
use std::sync::Arc;

use model::Encoded;

/// The views that a store holds. It does not have them: each is with its object.
#[derive(Debug)]
pub(super) struct Views {
    /// So many bytes of text may have views.
    limit: usize,
    /// Oldest first. Some of these may be gone already.
    made: VecDeque<View>,
    /// How many are held, and how long the texts of those are.
    held: usize,
    bytes: usize,
}

/// An object at one revision that got a view.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) name: Arc<str>,
    pub(super) revision: u64,
}

impl Views {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, made: VecDeque::new(), held: 0, bytes: 0 }
    }

    /// Whether there is room for the views of so much text, if no others were held.
    pub(super) fn fit(&self, bytes: usize) -> bool {
        bytes <= self.limit
    }

    /// One is held from now on. `holds` says whether one is still held; `drop` lets go of one, if it is
    /// held, and gives its text.
    pub(super) fn add(
        &mut self,
        view: View,
        encoded: &Encoded,
        holds: impl Fn(&View) -> bool,
        drop: impl Fn(&View) -> Option<Encoded>,
    ) {
        self.made.push_back(view);
        self.held += 1;
        self.bytes += encoded.len();
        while self.bytes > self.limit
            && let Some(oldest) = self.made.pop_front()
        {
            if let Some(encoded) = drop(&oldest) {
                self.gone(&encoded);
            }
        }
        self.forget_gone(holds);
    }

    /// One is held no longer.
    pub(super) fn gone(&mut self, encoded: &Encoded) {
        self.held -= 1;
        self.bytes -= encoded.len();
    }

    /// Forgets those that are gone, if they are many: what is changed often leaves them, and so do objects that are
    /// deleted. A name is small, and keeps the page of memory that it is in.
    pub(super) fn forget_gone(&mut self, holds: impl Fn(&View) -> bool) {
        if self.made.len() > 2 * self.held + 64 {
            self.made.retain(holds);
            self.made.shrink_to(2 * self.made.len());
        }
    }
}
