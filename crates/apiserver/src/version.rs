//! What clients see as `resourceVersion`: a revision of the store, and a place after it.
//!
//! What is written in the store has the place 0. A change that stays in memory (`crate::passing`) has no
//! revision of its own; it comes after all that this server shows, so it takes the next place after the
//! newest revision. So versions of all objects stay distinct and in the order in which things happened, as
//! long as one server gives them.

use store::Revision;

/// How many bits of a version say its place: 4,095 changes in memory between two in the store.
const PLACE_BITS: u32 = 12;

/// The version of what the store has written at `revision`.
pub(crate) const fn version_at(revision: Revision) -> u64 {
    revision << PLACE_BITS
}

/// The newest revision of the store that a version shows.
pub(crate) const fn revision_of(version: u64) -> Revision {
    version >> PLACE_BITS
}

/// Whether a version may ever have been given. A store begins with revision 1: what is less than its version
/// comes from before versions had places, or from nowhere.
pub(crate) const fn is_known(version: u64) -> bool {
    revision_of(version) > 0
}

/// Whether a version was given to something that the store has not written.
pub(crate) const fn is_in_memory(version: u64) -> bool {
    version_at(revision_of(version)) != version
}

/// The version of what changes in memory next, after all that is shown up to `version`; none where the
/// places after the revision are used up.
pub(crate) fn next_in_memory(version: u64) -> Option<u64> {
    let next = version + 1;
    is_in_memory(next).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_between_two_revisions() {
        let mut version = version_at(7);
        assert!(!is_in_memory(version));
        let mut places = 0;
        while let Some(next) = next_in_memory(version) {
            assert!(is_in_memory(next) && revision_of(next) == 7);
            version = next;
            places += 1;
        }
        assert_eq!((places, version + 1), (4095, version_at(8)));
        assert!(!is_known(4095) && is_known(4096));
    }
}
