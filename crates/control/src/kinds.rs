//! Which kinds of objects the API has, asked of the API itself: for controllers that look at all.

use std::collections::HashSet;

use client::{Client, Error, ResourceKind};
use serde::Deserialize;

/// The form in which all kinds are told at once, so that none of those who serve some of them is asked meanwhile.
const FORM: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// So many kinds of one group version are looked at: whoever serves it may say that it has any number.
const MOST: usize = 500;

/// A kind and what can be done with it.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    /// Where the API serves it.
    pub(crate) resource: ResourceKind,
    verbs: Vec<String>,
    /// Whether whoever serves it, who is not the API server itself, is gone.
    pub(crate) stale: bool,
}

/// The kinds that there are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kinds {
    /// Each in its preferred version.
    pub(crate) all: Vec<Kind>,
    /// Groups and versions of which nobody says now what they have: a server that is gone, or not there yet.
    silent: HashSet<(String, String)>,
}

impl Kind {
    /// Whether the API lets clients do this with it.
    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }
}

impl Kinds {
    /// Whether it is not known if there still is such a kind.
    pub(crate) fn are_silent_of(&self, kind: &ResourceKind) -> bool {
        self.silent.contains(&(kind.group.to_string(), kind.version.to_string()))
    }

    /// Whether it is not known which kinds some version of a group has.
    pub(crate) fn are_silent_of_group(&self, group: &str) -> bool {
        self.silent.iter().any(|(known, _)| known == group)
    }

    fn without_events(mut self) -> Self {
        self.all.retain(|Kind { resource, .. }| {
            resource.kind != "Event" || !["", "events.k8s.io"].contains(&&*resource.group)
        });
        self
    }
}

#[derive(Deserialize)]
struct Groups {
    items: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    metadata: Metadata,
    versions: Vec<Version>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct Version {
    version: String,
    #[serde(default)]
    resources: Vec<Entry>,
    #[serde(default)]
    freshness: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    resource: String,
    response_kind: ResponseKind,
    scope: String,
    verbs: Vec<String>,
}

#[derive(Deserialize)]
struct ResponseKind {
    kind: String,
}

/// Every kind in its preferred version. Events are left out: two groups show the same ones, they
/// own nothing, and they go by themselves.
pub(crate) async fn all(client: &Client) -> Result<Kinds, Error> {
    Ok(everything(client).await?.without_events())
}

/// Every kind in its preferred version, events too.
pub(crate) async fn everything(client: &Client) -> Result<Kinds, Error> {
    let core: Groups = client.get_as("/api", FORM).await?;
    let others: Groups = client.get_as("/apis", FORM).await?;
    Ok(read(core.items.into_iter().chain(others.items)))
}

fn read(groups: impl Iterator<Item = Group>) -> Kinds {
    let mut kinds = Kinds::default();
    for Group { metadata: Metadata { name: group }, versions } in groups {
        let mut seen = HashSet::new();
        for Version { version, resources, freshness } in versions {
            if resources.is_empty() && freshness == "Stale" {
                kinds.silent.insert((group.clone(), version.clone()));
            }
            for entry in resources.into_iter().take(MOST) {
                let kind = entry.response_kind.kind;
                if kind.is_empty() || !seen.insert(entry.resource.clone()) {
                    continue;
                }
                let resource = ResourceKind {
                    group: group.clone().into(),
                    version: version.clone().into(),
                    kind: kind.into(),
                    plural: entry.resource.into(),
                    namespaced: entry.scope == "Namespaced",
                };
                kinds.all.push(Kind { resource, verbs: entry.verbs, stale: freshness == "Stale" });
            }
        }
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_kind_is_known_in_the_first_version_that_has_it() {
        let entry = |resource: &str, kind: &str| {
            json!({"resource": resource, "responseKind": {"group": "", "version": "", "kind": kind},
                   "scope": "Namespaced", "verbs": ["list"]})
        };
        let groups = json!({"items": [
            {"metadata": {}, "versions": [{"version": "v1", "freshness": "Current", "resources": [
                entry("pods", "Pod"), entry("events", "Event"),
            ]}]},
            {"metadata": {"name": "w.example.com"}, "versions": [
                {"version": "v2", "freshness": "Current", "resources": [entry("as", "A")]},
                {"version": "v1", "freshness": "Current", "resources": [entry("as", "A"), entry("bs", "Event")]},
            ]},
            {"metadata": {"name": "dead.example.com"}, "versions": [{"version": "v1", "freshness": "Stale"}]},
        ]});
        let groups: Groups = serde_json::from_value(groups).expect("groups");
        let kinds = read(groups.items.into_iter()).without_events();
        let shown: Vec<String> = kinds
            .all
            .iter()
            .map(|kind| format!("{}.{}.{}", kind.resource.plural, kind.resource.version, kind.resource.group))
            .collect();
        assert_eq!(shown, ["pods.v1.", "as.v2.w.example.com", "bs.v1.w.example.com"]);
        let many: Vec<_> = (0..100_000).map(|number| entry(&format!("r{number}"), "Kind")).collect();
        let version = json!({"version": "v1", "freshness": "Current", "resources": many});
        let group: Group =
            serde_json::from_value(json!({"metadata": {"name": "many.example.com"}, "versions": [version]}))
                .expect("a group");
        assert_eq!(read([group].into_iter()).all.len(), MOST);
        let of = |group: &str| ResourceKind::dynamic(group, "v1", "A", "as", true);
        assert!(kinds.are_silent_of(&of("dead.example.com")) && !kinds.are_silent_of(&of("w.example.com")));
    }
}
