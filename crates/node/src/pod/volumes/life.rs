//! A volume's life as a pure function: where it is and whether it is wanted in, what is next out.
//!
//! ```text
//!             stage                    publish
//!  (nothing) ───────▶ staging ─▶ staged ───────▶ publishing ─▶ published ─┐ publish again:
//!      ▲                           ▲                               ▲ │    │ bring up to date
//!      │                           │                               └─┼────┘
//!      │         unstage           │            unpublish            │
//!      └─ unstaging ◀──────────────┴── unpublishing ◀────────────────┘
//! ```
//!
//! *Staged* is what lies on the node's disk for a volume; *published* is what the pod is shown of it: what is
//! mounted, and what is written into it. A phase that ends in `-ing` is written down before anything is done,
//! so that after a crash it is known what there may be. Everything may be done twice.

/// Where a volume is in its life. There is no phase where there is nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Some of what lies on disk may be there.
    Staging,
    /// What lies on disk is there.
    Staged,
    /// Some of what the pod is shown may be mounted or written.
    Publishing,
    /// The pod has it.
    Published,
    /// Some of what the pod is shown may still be mounted.
    Unpublishing,
    /// Some of what lies on disk may still be there.
    Unstaging,
}

/// What is done to a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Makes what lies on disk.
    Stage,
    /// Mounts and writes what the pod is shown.
    Publish,
    /// Unmounts it.
    Unpublish,
    /// Removes what lies on disk.
    Unstage,
}

/// What is next for a volume that is `wanted`, or not any more; `None` where it is as it should be.
pub fn next(phase: Option<Phase>, wanted: bool) -> Option<Action> {
    use Phase::{Published, Publishing, Staged, Staging, Unpublishing, Unstaging};
    match (phase, wanted) {
        (None, false) | (Some(Published), true) => None,
        (None | Some(Staging), true) => Some(Action::Stage),
        (Some(Staged | Publishing), true) => Some(Action::Publish),
        // What is being taken away goes whole before it is made again.
        (Some(Unpublishing), _) | (Some(Publishing | Published), false) => Some(Action::Unpublish),
        (Some(Unstaging), _) | (Some(Staging | Staged), false) => Some(Action::Unstage),
    }
}

impl Action {
    /// Where a volume is while this is done.
    pub fn during(self) -> Phase {
        match self {
            Self::Stage => Phase::Staging,
            Self::Publish => Phase::Publishing,
            Self::Unpublish => Phase::Unpublishing,
            Self::Unstage => Phase::Unstaging,
        }
    }

    /// Where it is afterwards.
    pub fn done(self) -> Option<Phase> {
        match self {
            Self::Stage | Self::Unpublish => Some(Phase::Staged),
            Self::Publish => Some(Phase::Published),
            Self::Unstage => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that is done from `phase` on.
    fn way(phase: Option<Phase>, wanted: bool) -> Vec<Action> {
        let mut phase = phase;
        let mut actions = Vec::new();
        while let Some(action) = next(phase, wanted) {
            actions.push(action);
            assert!(actions.len() < 10, "it comes to an end: {actions:?}");
            phase = action.done();
        }
        actions
    }

    #[test]
    fn from_wherever_it_was_left_a_volume_comes_to_be_or_goes() {
        use Action::{Publish, Stage, Unpublish, Unstage};
        let check = |phase: Option<Phase>, wanted: &[Action], unwanted: &[Action]| {
            assert_eq!(way(phase, true), wanted, "{phase:?}");
            assert_eq!(way(phase, false), unwanted, "{phase:?}");
        };
        check(None, &[Stage, Publish], &[]);
        check(Some(Phase::Staging), &[Stage, Publish], &[Unstage]);
        check(Some(Phase::Staged), &[Publish], &[Unstage]);
        check(Some(Phase::Publishing), &[Publish], &[Unpublish, Unstage]);
        check(Some(Phase::Published), &[], &[Unpublish, Unstage]);
        check(Some(Phase::Unpublishing), &[Unpublish, Publish], &[Unpublish, Unstage]);
        check(Some(Phase::Unstaging), &[Unstage, Stage, Publish], &[Unstage]);
    }

    #[test]
    fn what_is_interrupted_is_done_again() {
        for action in [Action::Stage, Action::Publish] {
            assert_eq!(next(Some(action.during()), true), Some(action));
        }
        for action in [Action::Unpublish, Action::Unstage] {
            assert_eq!(next(Some(action.during()), false), Some(action));
        }
    }
}
