//! The thinking half of the garbage collector: pure.

use model::OwnerReference;

/// Keeps an object until its dependents are gone.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// Keeps an object until its dependents have forgotten it.
pub(super) const ORPHAN: &str = "orphan";

/// What becomes of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing.
    Keep,
    /// It goes: none of its owners is there.
    Delete,
    /// Some of its owners are gone: it forgets these.
    ForgetOwners(Vec<String>),
    /// Its dependents go first.
    DeleteDependents,
    /// Its dependents forget it first.
    OrphanDependents,
    /// Nothing keeps it any more: this finalizer is taken away.
    Release(&'static str),
}

/// Decides about an object from its owners, those of them that do not exist (by uid), its own
/// deletion, and how many others name it as an owner.
pub(super) fn verdict(
    owners: &[OwnerReference],
    absent: &[String],
    is_being_deleted: bool,
    finalizers: &[String],
    dependents: usize,
) -> Verdict {
    let has = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
    if is_being_deleted {
        return match (has(ORPHAN), has(FOREGROUND), dependents) {
            (true, ..) => Verdict::OrphanDependents,
            (_, true, 0) => Verdict::Release(FOREGROUND),
            (_, true, _) => Verdict::DeleteDependents,
            _ => Verdict::Keep,
        };
    }
    match (absent.len(), owners.len()) {
        (0, _) => Verdict::Keep,
        (gone, all) if gone >= all => Verdict::Delete,
        _ => Verdict::ForgetOwners(absent.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(
        owners: &str,
        absent: &str,
        deleting: bool,
        finalizers: &str,
        dependents: usize,
        expected: Verdict,
    ) {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let owner = |uid: String| OwnerReference { uid, ..OwnerReference::default() };
        let owners: Vec<_> = words(owners).into_iter().map(owner).collect();
        assert_eq!(verdict(&owners, &words(absent), deleting, &words(finalizers), dependents), expected);
    }

    #[test]
    fn an_object_goes_when_its_last_owner_is_gone() {
        check("a", "", false, "", 0, Verdict::Keep);
        check("a", "a", false, "", 0, Verdict::Delete);
        check("a b", "a", false, "", 0, Verdict::ForgetOwners(vec!["a".to_owned()]));
        check("", "", false, "", 3, Verdict::Keep);
    }

    #[test]
    fn an_object_that_is_deleted_in_the_foreground_waits_for_its_dependents() {
        check("", "", true, FOREGROUND, 2, Verdict::DeleteDependents);
        check("", "", true, FOREGROUND, 0, Verdict::Release(FOREGROUND));
        check("", "", true, "example.org/own", 2, Verdict::Keep);
    }

    #[test]
    fn orphans_forget_their_owner() {
        check("", "", true, ORPHAN, 2, Verdict::OrphanDependents);
    }
}
