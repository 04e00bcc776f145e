//! Roles and their bindings, found by whom they are for.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use apiserver::{
    Attributes, Authorizer, Deciding, Decision, Identity, KnownRules, Objects, PolicyRule, decided,
};
use model::Object;
use model::field::quote;
use model::validate::{list, text};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use serde_json::Value;

use super::rules::{GROUP, allows, rules_of};
use crate::followed::{Followed, Step};

/// Decides by the roles and bindings that there are.
pub(super) struct Roles {
    index: RwLock<Index>,
}

struct Index {
    /// What is followed: roles, their bindings, and both of the whole cluster.
    followed: [Followed; 4],
    known: Known,
}

#[derive(Default)]
struct Known {
    /// Rules by the namespace of the role, empty for the whole cluster, and its name.
    roles: ByNamespace<Arc<[PolicyRule]>>,
    /// Bindings likewise, to find whom they were for.
    bindings: ByNamespace<Arc<Binding>>,
    /// Bindings by whom they are for, likewise.
    bound: HashMap<String, Bound>,
}

type ByNamespace<T> = HashMap<String, HashMap<String, T>>;

struct Binding {
    name: String,
    role: Role,
    /// Whom it is for: users, groups, and how each is told of.
    users: Vec<(String, String)>,
    groups: Vec<(String, String)>,
}

/// A role, as a binding names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Role {
    wide: bool,
    name: String,
}

/// The bindings of one namespace, or of the whole cluster.
#[derive(Default)]
struct Bound {
    users: HashMap<String, Grants>,
    groups: HashMap<String, Grants>,
}

/// The roles that somebody has, each with the names of the bindings by which, and how each tells of him: who is
/// bound to the same role a thousand times costs as much as who is once.
type Grants = BTreeMap<Role, BTreeMap<String, String>>;

impl Roles {
    pub(super) fn new(objects: &dyn Objects) -> Self {
        let followed = ["clusterroles", "roles", "clusterrolebindings", "rolebindings"]
            .map(|plural| Followed::new(objects, GROUP, plural));
        Self { index: RwLock::new(Index { followed, known: Known::default() }) }
    }

    /// The index as all that has been acknowledged makes it.
    fn current(&self) -> RwLockReadGuard<'_, Index> {
        let index = self.index.read();
        if index.followed.iter().all(Followed::is_current) {
            return index;
        }
        drop(index);
        let mut index = self.index.write();
        index.catch_up();
        RwLockWriteGuard::downgrade(index)
    }
}

impl Authorizer for Roles {
    fn decide<'a>(&'a self, identity: &'a Identity, attributes: Attributes<'a>) -> Deciding<'a> {
        let index = self.current();
        let namespace = match &attributes {
            Attributes::Resource(asked) => asked.namespace,
            Attributes::Path { .. } => "",
        };
        let path = match &attributes {
            Attributes::Resource(asked) => asked.resource_path(),
            Attributes::Path { .. } => "".into(),
        };
        let mut errors = Vec::new();
        for (space, bound) in index.known.spaces(namespace) {
            for (role, by) in bound.grants(identity) {
                let Some(rules) = index.known.rules(space, role) else {
                    errors.push(role.not_found());
                    continue;
                };
                if rules.iter().any(|rule| allows(rule, &attributes, &path)) {
                    return decided(Decision::Allowed(role.reason(space, by).into()));
                }
            }
        }
        let reason = match errors.as_slice() {
            [] => String::new(),
            [one] => format!("RBAC: {one}"),
            many => format!("RBAC: [{}]", many.join(", ")),
        };
        decided(Decision::NoOpinion(reason.into()))
    }

    fn rules(&self, identity: &Identity, namespace: &str) -> KnownRules {
        let index = self.current();
        let mut known = KnownRules::default();
        for (space, bound) in index.known.spaces(namespace) {
            // Each binding once, by whatever it is for the caller.
            let mut all: BTreeMap<&str, &Role> = BTreeMap::new();
            for (role, by) in bound.grants(identity) {
                all.extend(by.keys().map(|binding| (binding.as_str(), role)));
            }
            for role in all.into_values() {
                match index.known.rules(space, role) {
                    Some(rules) => known.rules.extend(rules.iter().cloned()),
                    None => known.errors.push(role.not_found()),
                }
            }
        }
        known.incomplete = !known.errors.is_empty();
        known
    }
}

impl Index {
    fn catch_up(&mut self) {
        let Self { followed, known } = self;
        let [wide_roles, roles, wide_bindings, bindings] = followed;
        for (followed, wide) in [(wide_roles, true), (roles, false)] {
            followed.catch_up(|step| match step {
                Step::Forget => known.roles.retain(|space, _| space.is_empty() != wide),
                Step::Put(changed, role) => {
                    let of_space = known.roles.entry(changed.namespace.clone()).or_default();
                    of_space.insert(changed.name.clone(), rules_of(role.value()).into());
                }
                Step::Gone(changed) => drop(remove(&mut known.roles, &changed.namespace, &changed.name)),
            });
        }
        for (followed, wide) in [(wide_bindings, true), (bindings, false)] {
            followed.catch_up(|step| match step {
                Step::Forget => {
                    known.bindings.retain(|space, _| space.is_empty() != wide);
                    known.bound.retain(|space, _| space.is_empty() != wide);
                }
                Step::Put(changed, binding) => {
                    known.unbind(&changed.namespace, &changed.name);
                    known.bind(&changed.namespace, Binding::read(&changed.name, &binding));
                }
                Step::Gone(changed) => known.unbind(&changed.namespace, &changed.name),
            });
        }
    }
}

fn remove<T>(all: &mut ByNamespace<T>, namespace: &str, name: &str) -> Option<T> {
    let of_namespace = all.get_mut(namespace)?;
    let removed = of_namespace.remove(name);
    if of_namespace.is_empty() {
        all.remove(namespace);
    }
    removed
}

impl Known {
    /// Where bindings count for what is in a namespace: everywhere, and there.
    fn spaces<'a>(&'a self, namespace: &'a str) -> impl Iterator<Item = (&'a str, &'a Bound)> {
        let all = std::iter::once("").chain(Some(namespace).filter(|space| !space.is_empty()));
        all.filter_map(|space| Some((space, self.bound.get(space)?)))
    }

    /// The rules of a role that a binding in `space` names.
    fn rules(&self, space: &str, role: &Role) -> Option<&[PolicyRule]> {
        let space = if role.wide { "" } else { space };
        self.roles.get(space)?.get(&role.name).map(AsRef::as_ref)
    }

    fn bind(&mut self, namespace: &str, binding: Binding) {
        let bound = self.bound.entry(namespace.to_owned()).or_default();
        for (all, subjects) in [(&mut bound.users, &binding.users), (&mut bound.groups, &binding.groups)] {
            for (subject, told) in subjects {
                let grants = all.entry(subject.clone()).or_default();
                let by = grants.entry(binding.role.clone()).or_default();
                by.insert(binding.name.clone(), told.clone());
            }
        }
        let of_namespace = self.bindings.entry(namespace.to_owned()).or_default();
        of_namespace.insert(binding.name.clone(), Arc::new(binding));
    }

    fn unbind(&mut self, namespace: &str, name: &str) {
        let Some(binding) = remove(&mut self.bindings, namespace, name) else { return };
        let Some(bound) = self.bound.get_mut(namespace) else { return };
        for (all, subjects) in [(&mut bound.users, &binding.users), (&mut bound.groups, &binding.groups)] {
            for (subject, _) in subjects {
                let Some(grants) = all.get_mut(subject) else { continue };
                if let Some(by) = grants.get_mut(&binding.role) {
                    by.remove(name);
                    if by.is_empty() {
                        grants.remove(&binding.role);
                    }
                }
                if grants.is_empty() {
                    all.remove(subject);
                }
            }
        }
        if bound.users.is_empty() && bound.groups.is_empty() {
            self.bound.remove(namespace);
        }
    }
}

impl Bound {
    /// What somebody is granted, by name and by each group.
    fn grants<'a>(
        &'a self,
        identity: &'a Identity,
    ) -> impl Iterator<Item = (&'a Role, &'a BTreeMap<String, String>)> {
        let of_user = self.users.get(identity.user.as_str());
        let of_groups = identity.groups.iter().filter_map(|group| self.groups.get(group.as_str()));
        of_user.into_iter().chain(of_groups).flatten()
    }
}

impl Binding {
    fn read(name: &str, binding: &Object) -> Self {
        let value = binding.value();
        let reference = value.get("roleRef").unwrap_or(&Value::Null);
        let role =
            Role { wide: text(reference, "kind") == "ClusterRole", name: text(reference, "name").to_owned() };
        let mut read = Self { name: name.to_owned(), role, users: Vec::new(), groups: Vec::new() };
        for subject in list(value, "subjects") {
            let (kind, name) = (text(subject, "kind"), text(subject, "name"));
            let told = || format!("{kind} {}", quote(name));
            match kind {
                "User" => read.users.push((name.to_owned(), told())),
                "Group" => read.groups.push((name.to_owned(), told())),
                "ServiceAccount" => {
                    let own = binding.namespace().unwrap_or_default();
                    let namespace = Some(text(subject, "namespace")).filter(|named| !named.is_empty());
                    let namespace = namespace.unwrap_or(own);
                    if !namespace.is_empty() {
                        let told = format!("{kind} {}", quote(&format!("{name}/{namespace}")));
                        read.users.push((format!("system:serviceaccount:{namespace}:{name}"), told));
                    }
                }
                _ => {}
            }
        }
        read
    }
}

impl Role {
    fn kind(&self) -> &'static str {
        if self.wide { "ClusterRole" } else { "Role" }
    }

    fn not_found(&self) -> String {
        format!("{}.{GROUP} {} not found", self.kind().to_lowercase(), quote(&self.name))
    }

    /// Why it allows something, by the first of these bindings.
    fn reason(&self, space: &str, by: &BTreeMap<String, String>) -> String {
        let (binding, subject) = by.iter().next().expect("there is one");
        let binding = if space.is_empty() {
            format!("ClusterRoleBinding {}", quote(binding))
        } else {
            format!("RoleBinding {}", quote(&format!("{binding}/{space}")))
        };
        format!("RBAC: allowed by {binding} of {} {} to {subject}", self.kind(), quote(&self.name))
    }
}

#[cfg(test)]
mod tests;
