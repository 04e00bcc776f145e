//! Which pods of this node have its volumes, or are about to: what somebody has is not removed, and what is being
//! removed is given to nobody.
//!
//! What the API says is not enough: a pod may be gone there whose containers still end. Containers that an earlier run
//! of the daemon started are asked of the [runtime](crate::runtime::Host::users_of).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use parking_lot::Mutex;

/// Who has what.
#[derive(Debug)]
pub(crate) struct Holds {
    root: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Uids of pods, by the names of volumes.
    held: BTreeMap<String, BTreeSet<String>>,
    going: BTreeSet<String>,
}

/// A volume that is being removed, until this is dropped.
#[derive(Debug)]
pub(crate) struct Going<'a> {
    holds: &'a Holds,
    name: String,
}

impl Holds {
    /// Those of the volumes below `root`.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, state: Mutex::default() }
    }

    /// The volume of this node that a path is in, if it is in one.
    pub(crate) fn volume_of<'a>(&self, path: &'a Path) -> Option<&'a str> {
        let mut parts = path.strip_prefix(&self.root).ok()?.components();
        let Some(Component::Normal(name)) = parts.next() else { return None };
        // Who goes up again may be anywhere.
        parts.all(|part| part != Component::ParentDir).then(|| name.to_str()).flatten()
    }

    /// A pod is about to have a volume; gives whether it may, which it may not while that is being removed.
    pub(crate) fn hold(&self, name: &str, pod: &str) -> bool {
        let mut state = self.state.lock();
        if state.going.contains(name) {
            return false;
        }
        state.held.entry(name.to_owned()).or_default().insert(pod.to_owned());
        true
    }

    /// Nothing that runs of a pod has any volume.
    pub(crate) fn release(&self, pod: &str) {
        self.state.lock().held.retain(|_, pods| {
            pods.remove(pod);
            !pods.is_empty()
        });
    }

    /// Keeps a volume from all pods, if none has it; gives those that have it.
    pub(crate) fn take_away(&self, name: &str) -> Result<Going<'_>, Vec<String>> {
        let mut state = self.state.lock();
        if let Some(pods) = state.held.get(name) {
            return Err(pods.iter().cloned().collect());
        }
        state.going.insert(name.to_owned());
        Ok(Going { holds: self, name: name.to_owned() })
    }
}

impl Drop for Going<'_> {
    fn drop(&mut self) {
        self.holds.state.lock().going.remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pod_has_is_not_removed_and_what_is_removed_no_pod_gets() {
        let holds = Holds::new("/volumes".into());
        assert!(holds.hold("v", "one") && holds.hold("v", "two") && holds.hold("other", "one"));
        assert_eq!(holds.take_away("v").expect_err("two have it"), ["one", "two"]);
        holds.release("one");
        assert_eq!(holds.take_away("v").expect_err("one has it"), ["two"]);
        holds.release("two");
        let going = holds.take_away("v").expect("nobody has it");
        assert!(!holds.hold("v", "three"), "it is being removed");
        assert!(holds.hold("other", "three"));
        drop(going);
        assert!(holds.hold("v", "three"), "it could not be removed");
    }

    #[test]
    fn a_path_is_in_a_volume_only_below_where_those_are() {
        let holds = Holds::new("/volumes".into());
        let table = [
            ("/volumes/v/disk", Some("v")),
            ("/volumes/v", Some("v")),
            ("/volumes", None),
            ("/volumes/v/../../etc", None),
            ("/elsewhere/v/disk", None),
        ];
        for (path, volume) in table {
            assert_eq!(holds.volume_of(Path::new(path)), volume, "{path}");
        }
    }
}
