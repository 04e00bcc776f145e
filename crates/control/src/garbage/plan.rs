//! The thinking half of the garbage collector: pure.

use client::api::Propagation;

/// Keeps an object until its dependents are gone.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// Keeps an object until its dependents have forgotten it.
pub(super) const ORPHAN: &str = "orphan";

/// How an owner is, as far as its dependents are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// It is there.
    Solid,
    /// It is there until its dependents are gone.
    Waiting,
    /// It is not there.
    Absent,
    /// It lives in a namespace and the object does not: nobody can say which is meant.
    Misplaced,
}

/// Everything that the decision depends on.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    /// The object's owners by uid.
    pub(super) owners: Vec<(String, Owner)>,
    /// Whether it is being deleted itself.
    pub(super) is_being_deleted: bool,
    /// What keeps it.
    pub(super) finalizers: Vec<String>,
    /// How many others name it as an owner.
    pub(super) dependents: usize,
    /// How many of these it has to wait for when it is deleted in the foreground.
    pub(super) blocking: usize,
    /// One of its dependents waits for dependents of its own.
    pub(super) dependent_waits: bool,
}

/// What becomes of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Keep,
    /// It goes: none of its owners is there to stay.
    Delete(Propagation),
    /// It goes, but no owner may wait for it: it may itself be waiting for that owner.
    DeleteUnblocking,
    /// Some of its owners are gone or going: it forgets these.
    ForgetOwners(Vec<String>),
    /// Its dependents go first: each is looked at.
    DeleteDependents,
    /// Its dependents forget it first.
    OrphanDependents,
    /// Nothing keeps it any more: this finalizer is taken away.
    Release(&'static str),
}

/// Decides about an object.
pub(super) fn verdict(view: &View) -> Verdict {
    let has = |name: &str| view.finalizers.iter().any(|finalizer| finalizer == name);
    if view.is_being_deleted {
        return match (has(ORPHAN), has(FOREGROUND), view.blocking) {
            (true, ..) => Verdict::OrphanDependents,
            (_, true, 0) => Verdict::Release(FOREGROUND),
            (_, true, _) => Verdict::DeleteDependents,
            _ => Verdict::Keep,
        };
    }
    // As Kubernetes has it, an owner that cannot be looked up is not taken for one that is gone.
    if view.owners.iter().any(|(_, owner)| *owner == Owner::Misplaced) {
        return Verdict::Keep;
    }
    let waits = view.owners.iter().any(|(_, owner)| *owner == Owner::Waiting);
    let is_owned = view.owners.iter().any(|(_, owner)| *owner == Owner::Solid);
    let going: Vec<String> =
        view.owners.iter().filter(|(_, owner)| *owner != Owner::Solid).map(|(uid, _)| uid.clone()).collect();
    match (going.is_empty(), is_owned) {
        (true, _) => Verdict::Keep,
        (false, true) => Verdict::ForgetOwners(going),
        (false, false) if waits && view.dependents > 0 && view.dependent_waits => Verdict::DeleteUnblocking,
        (false, false) if waits && view.dependents > 0 => Verdict::Delete(Propagation::Foreground),
        (false, false) if has(ORPHAN) => Verdict::Delete(Propagation::Orphan),
        (false, false) if has(FOREGROUND) => Verdict::Delete(Propagation::Foreground),
        (false, false) => Verdict::Delete(Propagation::Background),
    }
}

/// Whether a group may be served by somebody else than the API server, or with the help of somebody else: what Kubernetes
/// has itself is in groups of its project.
pub(super) fn may_be_anothers(group: &str) -> bool {
    group.contains('.') && !group.ends_with(".k8s.io")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Owners are written `name` where they are there, `name?` where they wait, `name!` where they are gone,
    /// `/name` where they are in a namespace.
    fn view(owners: &str) -> View {
        let owner = |word: &str| match (word.strip_suffix('?'), word.strip_suffix('!')) {
            (Some(name), _) => (name.to_owned(), Owner::Waiting),
            (_, Some(name)) => (name.to_owned(), Owner::Absent),
            _ if word.starts_with('/') => (word.to_owned(), Owner::Misplaced),
            _ => (word.to_owned(), Owner::Solid),
        };
        View { owners: owners.split_whitespace().map(owner).collect(), ..View::default() }
    }

    #[track_caller]
    fn check(view: View, expected: Verdict) {
        assert_eq!(verdict(&view), expected, "{view:?}");
    }

    fn deleting(finalizer: &str, dependents: usize, blocking: usize) -> View {
        let finalizers = vec![finalizer.to_owned()];
        View { is_being_deleted: true, finalizers, dependents, blocking, ..View::default() }
    }

    #[test]
    fn an_object_goes_when_its_last_owner_is_gone() {
        check(view("a"), Verdict::Keep);
        check(view("a!"), Verdict::Delete(Propagation::Background));
        check(view("a b!"), Verdict::ForgetOwners(vec!["b".to_owned()]));
        check(View { dependents: 3, blocking: 3, ..view("") }, Verdict::Keep);
    }

    #[test]
    fn an_object_with_an_owner_that_cannot_be_its_own_is_kept() {
        check(view("/a"), Verdict::Keep);
        check(view("/a b!"), Verdict::Keep);
        check(view("/a b?"), Verdict::Keep);
        let deleting = View { owners: view("/a").owners, ..deleting(FOREGROUND, 0, 0) };
        check(deleting, Verdict::Release(FOREGROUND));
    }

    #[test]
    fn an_owner_that_waits_takes_along_only_what_no_other_owns() {
        check(view("a? b"), Verdict::ForgetOwners(vec!["a".to_owned()]));
        check(view("a?"), Verdict::Delete(Propagation::Background));
        check(View { dependents: 1, ..view("a?") }, Verdict::Delete(Propagation::Foreground));
        check(View { dependents: 1, dependent_waits: true, ..view("a?") }, Verdict::DeleteUnblocking);
    }

    #[test]
    fn an_object_that_is_deleted_in_the_foreground_waits_for_dependents_that_ask_for_it() {
        check(deleting(FOREGROUND, 2, 2), Verdict::DeleteDependents);
        check(deleting(FOREGROUND, 2, 0), Verdict::Release(FOREGROUND));
        check(deleting("example.org/own", 2, 2), Verdict::Keep);
    }

    #[test]
    fn orphans_forget_their_owner() {
        check(deleting(ORPHAN, 2, 2), Verdict::OrphanDependents);
    }

    #[test]
    fn groups_of_kubernetes_are_its_own() {
        for own in ["", "apps", "batch", "rbac.authorization.k8s.io", "storage.k8s.io"] {
            assert!(!may_be_anothers(own), "{own}");
        }
        for other in ["wardle.example.com", "k8s.io.example.com", "example.k8s-io"] {
            assert!(may_be_anothers(other), "{other}");
        }
    }
}
