//! The objects that were looked at last, read already: every pod that is made has its namespace looked at, its
//! account, its class, which change seldom.

use std::collections::VecDeque;
use std::sync::Arc;

use model::Object;
use parking_lot::Mutex;

use super::Stored;

/// So many are held.
const MOST: usize = 16;
/// None of which the text is longer.
const LONGEST: usize = 4 << 10;

/// Some objects of a partition, read.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<VecDeque<(Arc<Stored>, Object)>>);

impl Recent {
    /// What is stored, read: from before, if that was not long ago.
    pub(super) fn object(&self, stored: &Arc<Stored>) -> Object {
        if stored.len() > LONGEST {
            return stored.object();
        }
        let known = |all: &VecDeque<(Arc<Stored>, Object)>| {
            all.iter().find(|(of, _)| Arc::ptr_eq(of, stored)).map(|(_, object)| object.clone())
        };
        if let Some(object) = known(&self.0.lock()) {
            return object;
        }
        let object = stored.object();
        let mut all = self.0.lock();
        if all.len() == MOST {
            all.pop_front();
        }
        // What it was before is of no use to anybody.
        all.retain(|(of, _)| of.name != stored.name);
        all.push_back((Arc::clone(stored), object.clone()));
        object
    }
}
