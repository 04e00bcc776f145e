//! What becomes of a definition: which names it gets, whether it is served, how it ends.

use std::collections::{BTreeSet, HashMap};

use base::Timestamp;
use model::Object;
use model::validate::text;
use serde_json::{Value, json};

use super::FINALIZER;
use super::definition::{Names, accepted, condition, group, is_true, wished};

/// Names that other definitions of a group have.
#[derive(Debug, Default)]
pub(super) struct Taken {
    resources: BTreeSet<String>,
    kinds: BTreeSet<String>,
}

impl Taken {
    fn of(names: &Names) -> Self {
        let mut taken = Self::default();
        taken.add(names);
        taken
    }

    pub(super) fn add(&mut self, names: &Names) {
        let Names { plural, singular, short_names, kind, list_kind, .. } = names;
        self.resources.extend([plural, singular].into_iter().chain(short_names).cloned());
        self.kinds.extend([kind, list_kind].into_iter().cloned());
    }

    /// A resource that is built in has this plural name.
    pub(super) fn take(&mut self, plural: &str) {
        self.resources.insert(plural.to_owned());
    }

    pub(super) fn join(&mut self, others: &Self) {
        self.resources.extend(others.resources.iter().cloned());
        self.kinds.extend(others.kinds.iter().cloned());
    }
}

/// Names that the definitions of a group have, and how many have each.
#[derive(Debug, Default)]
pub(super) struct Counted {
    resources: HashMap<String, usize>,
    kinds: HashMap<String, usize>,
}

impl Counted {
    pub(super) fn add(&mut self, names: &Names) {
        let Taken { resources, kinds } = Taken::of(names);
        resources.into_iter().for_each(|name| *self.resources.entry(name).or_default() += 1);
        kinds.into_iter().for_each(|name| *self.kinds.entry(name).or_default() += 1);
    }

    /// Those that a definition wishes and that others have, where this is what it has itself.
    pub(super) fn without(&self, has: &Names, wished: &Names) -> Taken {
        let (own, wished) = (Taken::of(has), Taken::of(wished));
        let others = |counted: &HashMap<String, usize>, own: &BTreeSet<String>, name: &String| {
            counted.get(name).is_some_and(|count| *count > usize::from(own.contains(name)))
        };
        let mut taken = wished;
        taken.resources.retain(|name| others(&self.resources, &own.resources, name));
        taken.kinds.retain(|name| others(&self.kinds, &own.kinds, name));
        taken
    }
}

/// A condition without its time.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    kind: &'static str,
    is: bool,
    reason: String,
    message: String,
}

impl Condition {
    fn new(kind: &'static str, is: bool, reason: &str, message: impl Into<String>) -> Self {
        Self { kind, is, reason: reason.to_owned(), message: message.into() }
    }
}

/// The definition as it is to be, where it is to be something else. `others` are the names of the others of its
/// group.
pub(super) fn amended(object: &Object, others: &Taken, now: Timestamp) -> Option<Object> {
    let mut new = object.clone();
    let (wished, has) = (wished(object), accepted(object));
    if wished != has {
        let (names, conflict) = choose(&wished, &has, others);
        let accepts = match conflict {
            Some((reason, message)) => Condition::new("NamesAccepted", false, reason, message),
            None => Condition::new("NamesAccepted", true, "NoConflicts", "no conflicts found"),
        };
        let is_accepted = accepts.is;
        if names != has {
            new.set(&["status", "acceptedNames"], names.value());
        }
        set(&mut new, &accepts, now);
        if !is_true(object, "Established") && !is_accepted && condition(object, "Established").is_none() {
            let refused = Condition::new("Established", false, "NotAccepted", "not all names are accepted");
            set(&mut new, &refused, now);
        }
    }
    if is_true(&new, "NamesAccepted") && !is_true(&new, "Established") {
        let message = "the initial names have been accepted";
        set(&mut new, &Condition::new("Established", true, "InitialNamesAccepted", message), now);
    }
    if let Some(approval) = approval(object) {
        set(&mut new, &approval, now);
    }
    (new != *object).then_some(new)
}

/// How a definition that is to go comes to its end; `left` is how many objects of its kind there are.
#[derive(Debug, PartialEq)]
pub(super) enum Ending {
    /// It is let go of, in this form.
    Over(Object),
    /// The objects of its kind are to go; it is to be this meanwhile, where it is not already.
    Empties(Option<Object>),
}

/// What is to be done about a definition that is being deleted; nothing where it is not, or others hold it.
pub(super) fn ending(object: &Object, left: usize, now: Timestamp) -> Option<Ending> {
    if !object.is_being_deleted() || !object.finalizers().any(|finalizer| finalizer == FINALIZER) {
        return None;
    }
    let mut new = object.clone();
    let over = if !is_true(object, "Established") {
        Some(("NeverEstablished", "resource was never established"))
    } else if left == 0 {
        Some(("InstanceDeletionCompleted", "removed all instances"))
    } else {
        None
    };
    let Some((reason, message)) = over else {
        // Why it does not go on is told until it does.
        if condition(object, "Terminating").is_some_and(|is| text(is, "reason") == FAILED) {
            return Some(Ending::Empties(None));
        }
        let message = "CustomResource deletion is in progress";
        set(&mut new, &Condition::new("Terminating", true, "InstanceDeletionInProgress", message), now);
        return Some(Ending::Empties((new != *object).then_some(new)));
    };
    set(&mut new, &Condition::new("Terminating", false, reason, message), now);
    let rest: Vec<String> =
        object.finalizers().filter(|finalizer| *finalizer != FINALIZER).map(str::to_owned).collect();
    new.set_finalizers(rest);
    Some(Ending::Over(new))
}

const FAILED: &str = "InstanceDeletionFailed";

/// A definition that is to go, where not all objects of its kind could be asked to; none where it says so already.
pub(super) fn not_emptied(object: &Object, why: &str, now: Timestamp) -> Option<Object> {
    let mut new = object.clone();
    let message = format!("could not issue all deletes: {why}");
    set(&mut new, &Condition::new("Terminating", true, FAILED, message), now);
    (object.is_being_deleted() && new != *object).then_some(new)
}

/// Marks a definition that is to go.
pub(crate) fn begin_ending(object: &mut Object, now: Timestamp) {
    let mut finalizers: Vec<String> = object.finalizers().map(str::to_owned).collect();
    if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        finalizers.push(FINALIZER.to_owned());
    }
    object.set_finalizers(finalizers);
    object.set_deletion_timestamp(now);
    let message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    set(object, &Condition::new("Terminating", true, "InstanceDeletionPending", message), now);
}

type Conflict = Option<(&'static str, String)>;

/// The names that a definition gets: those that it wishes and nobody else has, else those that it had.
fn choose(wished: &Names, has: &Names, others: &Taken) -> (Names, Conflict) {
    let (mut names, mut conflict) = (has.clone(), None);
    let mut choose = |wish: &str, is: &mut String, taken: &BTreeSet<String>, reason| {
        if wish != is.as_str() && taken.contains(wish) {
            conflict = Some((reason, format!("{} is already in use", model::field::quote(wish))));
        } else {
            wish.clone_into(is);
        }
    };
    choose(&wished.plural, &mut names.plural, &others.resources, "PluralConflict");
    choose(&wished.singular, &mut names.singular, &others.resources, "SingularConflict");
    if wished.short_names != has.short_names {
        let new = wished.short_names.iter().filter(|name| !has.short_names.contains(name));
        let in_use: Vec<String> = new
            .filter(|name| others.resources.contains(*name))
            .map(|name| format!("{} is already in use", model::field::quote(name)))
            .collect();
        match in_use.as_slice() {
            [] => names.short_names.clone_from(&wished.short_names),
            [one] => conflict = Some(("ShortNamesConflict", one.clone())),
            several => conflict = Some(("ShortNamesConflict", format!("[{}]", several.join(", ")))),
        }
    }
    let mut choose = |wish: &str, is: &mut String, reason| {
        if wish != is.as_str() && others.kinds.contains(wish) {
            conflict = Some((reason, format!("{} is already in use", model::field::quote(wish))));
        } else {
            wish.clone_into(is);
        }
    };
    choose(&wished.kind, &mut names.kind, "KindConflict");
    choose(&wished.list_kind, &mut names.list_kind, "ListKindConflict");
    names.categories.clone_from(&wished.categories);
    (names, conflict)
}

/// Whether a group is one of Kubernetes' own, whose kinds somebody has to have approved of.
pub(crate) fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|own| group.strip_suffix(own).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

/// The annotation that says who has approved of a kind of Kubernetes' own groups.
pub(crate) const APPROVED: &str = "api-approved.kubernetes.io";

/// What that annotation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Approval {
    Invalid,
    Approved,
    Bypassed,
    Missing,
}

/// What it says, and why, in words.
pub(crate) fn approval_state(object: &Object) -> (Approval, String) {
    let said = object.annotations().get(APPROVED).unwrap_or_default();
    let is_url = || {
        let (scheme, rest) = said.split_once("://")?;
        let host = rest.split(['/', '?']).next()?;
        let word = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        (!scheme.is_empty() && scheme.chars().all(word) && !host.is_empty() && !said.contains(' '))
            .then_some(())
    };
    let annotation = format!("protected groups must have approval annotation {:?}", APPROVED);
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    if said.is_empty() {
        (Approval::Missing, format!("{annotation}, {see}"))
    } else if said.starts_with("unapproved") {
        (Approval::Bypassed, format!("not approved: {}", model::field::quote(said)))
    } else if is_url().is_some() {
        (Approval::Approved, format!("approved in {said}"))
    } else {
        let why = format!("{annotation} with either a URL or a reason starting with \"unapproved\", {see}");
        (Approval::Invalid, why)
    }
}

fn approval(object: &Object) -> Option<Condition> {
    if !is_protected(group(object)) {
        return None;
    }
    let (state, message) = approval_state(object);
    let (is, reason) = match state {
        Approval::Invalid => (false, "InvalidAnnotation"),
        Approval::Missing => (false, "MissingAnnotation"),
        Approval::Approved => (true, "ApprovedAnnotation"),
        Approval::Bypassed => (false, "UnapprovedAnnotation"),
    };
    Some(Condition::new("KubernetesAPIApprovalPolicyConformant", is, reason, message))
}

/// Sets a condition; its time is that of the last change of its status.
fn set(object: &mut Object, condition: &Condition, now: Timestamp) {
    let status = if condition.is { "True" } else { "False" };
    let now = model::time::format(now);
    let mut all = object.get_list(&["status", "conditions"]).to_vec();
    let mut new = json!({
        "lastTransitionTime": now,
        "message": condition.message,
        "reason": condition.reason,
        "status": status,
        "type": condition.kind,
    });
    match all.iter_mut().find(|known| text(known, "type") == condition.kind) {
        Some(known) => {
            let same = |name: &str| known.get(name) == new.get(name);
            if same("status") && same("reason") && same("message") {
                return;
            }
            if same("status") {
                new["lastTransitionTime"] = known.get("lastTransitionTime").cloned().unwrap_or(Value::Null);
            }
            *known = new;
        }
        None => all.push(new),
    }
    object.set(&["status", "conditions"], all);
}

#[cfg(test)]
mod tests;
