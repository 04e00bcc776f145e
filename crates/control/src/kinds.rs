//! Which kinds of objects the API has, asked of the API itself: for controllers that look at all.

use client::{Client, Error, ResourceKind};
use serde::Deserialize;

/// A kind and what can be done with it.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    /// Where the API serves it.
    pub(crate) resource: ResourceKind,
    verbs: Vec<String>,
}

impl Kind {
    /// Whether the API lets clients do this with it.
    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|known| known == verb)
    }
}

#[derive(Deserialize)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    name: String,
    preferred_version: Version,
}

#[derive(Deserialize)]
struct Version {
    version: String,
}

#[derive(Deserialize)]
struct Resources {
    resources: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    kind: String,
    namespaced: bool,
    verbs: Vec<String>,
}

/// Every kind in its preferred version. Events are left out: two groups show the same ones, they
/// own nothing, and they go by themselves.
pub(crate) async fn all(client: &Client) -> Result<Vec<Kind>, Error> {
    let mut kinds = of_version(client, "/api/v1", "", "v1").await?;
    let groups: Groups = client.get("/apis").await?;
    for Group { name, preferred_version: Version { version } } in groups.groups {
        kinds.extend(of_version(client, &format!("/apis/{name}/{version}"), &name, &version).await?);
    }
    Ok(kinds)
}

async fn of_version(client: &Client, path: &str, group: &str, version: &str) -> Result<Vec<Kind>, Error> {
    let listed: Resources = client.get(path).await?;
    let whole =
        listed.resources.into_iter().filter(|entry| !entry.name.contains('/') && entry.kind != "Event");
    let kind = |entry: Entry| Kind {
        resource: ResourceKind {
            group: group.to_owned().into(),
            version: version.to_owned().into(),
            kind: entry.kind.into(),
            plural: entry.name.into(),
            namespaced: entry.namespaced,
        },
        verbs: entry.verbs,
    };
    Ok(whole.map(kind).collect())
}
