//! What is served: the documents by which clients find resources, in the old and the new form.
//! Source: Kubernetes documentation, "The Kubernetes API", section "Discovery API".

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use model::gvk::{GroupVersion, rank};
use model::{GroupVersionKind, Status};
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::aggregation::{Offered, Priority, View};
use crate::body::Body;
use crate::call::json_response;
use crate::error::{Error, Result};
use crate::negotiate::{JSON, YAML, accepted, check_text};
use crate::resource::Entries;
use crate::state::State;

/// One resource, as discovery shows it.
struct Entry {
    plural: String,
    singular: String,
    kind: GroupVersionKind,
    namespaced: bool,
    verbs: Vec<&'static str>,
    /// What its objects are stored as; none where none are.
    stored: Option<GroupVersionKind>,
    short_names: Vec<String>,
    categories: Vec<String>,
    subresources: Vec<Sub>,
}

struct Sub {
    name: String,
    kind: GroupVersionKind,
    verbs: Vec<&'static str>,
}

/// What a version of a group has.
enum Offer {
    /// What is served here.
    Own(Vec<Entry>),
    /// What somebody else serves, as far as he has told.
    Others(Arc<Offered>),
}

/// Versions of a group with what they have, most preferred first.
type Versions = Vec<(String, Offer)>;

/// The groups, most preferred first.
type Groups = Vec<(String, Versions)>;

/// How much a group version is preferred of which nobody says it.
const UNSAID: Priority = Priority { group: 1000, version: 100 };
/// The group of the registrations themselves comes before all that they are of.
const REGISTRATIONS: &str = "apiregistration.k8s.io";

/// The documents that have been asked for, as long as the resources are what they were.
#[derive(Default)]
pub(crate) struct Discovery {
    made: Mutex<Made>,
}

#[derive(Default)]
struct Made {
    /// What they tell of.
    entries: Arc<Entries>,
    others: [u64; 2],
    /// By path and form. Of what does not exist there is none.
    documents: HashMap<(String, Option<&'static str>), Bytes>,
}

/// Answers `/api`, `/apis` and what lies below them.
pub(super) fn answer(state: &State, headers: &HeaderMap, segments: &[&str]) -> Result<Response<Body>> {
    check_text(headers)?;
    let form = match segments {
        ["api"] | ["apis"] => aggregated(headers),
        _ => None,
    };
    let (entries, others) = (state.table.entries(), state.aggregation.generation());
    let key = (segments.join("/"), form);
    let is_of = |made: &Made, others: [u64; 2]| Arc::ptr_eq(&made.entries, &entries) && made.others == others;
    let known = {
        let mut made = state.discovery.made.lock();
        if !is_of(&made, others) {
            *made = Made { entries: entries.clone(), others, documents: HashMap::new() };
        }
        made.documents.get(&key).cloned()
    };
    let text = match known {
        Some(text) => text,
        None => {
            let view = state.aggregation.view();
            let text = Bytes::from(make(&groups(&entries, &view), segments, form)?.to_string());
            let mut made = state.discovery.made.lock();
            if is_of(&made, view.generation) {
                made.documents.insert(key, text.clone());
            }
            text
        }
    };
    let mut response = json_response(StatusCode::OK, Body::full(text));
    if let Some(form) = form {
        let content_type = match form {
            "v2beta1" => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
            _ => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    }
    Ok(response)
}

fn make(groups: &Groups, segments: &[&str], form: Option<&'static str>) -> Result<Value> {
    match (segments, form) {
        (["api"], Some(form)) => Ok(aggregate(groups, |group| group.is_empty(), form)),
        (["apis"], Some(form)) => Ok(aggregate(groups, |group| !group.is_empty(), form)),
        (["api"], None) => Ok(json!({
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        })),
        (["apis"], None) => {
            let named = groups.iter().filter(|(name, _)| !name.is_empty());
            let list: Vec<Value> = named.map(|(name, versions)| group_document(name, versions)).collect();
            Ok(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": list}))
        }
        (["api", version], _) => resources(groups, "", version),
        (["apis", group], _) => {
            let versions = versions_of(groups, group)?;
            let mut found = group_document(group, versions);
            found["kind"] = json!("APIGroup");
            found["apiVersion"] = json!("v1");
            Ok(found)
        }
        (["apis", group, version], _) => resources(groups, group, version),
        _ => Err(missing()),
    }
}

fn versions_of<'a>(groups: &'a Groups, group: &str) -> Result<&'a Versions> {
    groups.iter().find(|(name, _)| name == group).map(|(_, versions)| versions).ok_or_else(missing)
}

fn missing() -> Error {
    Status::no_such_resource().into()
}

/// The aggregated form's version, if the client prefers it.
fn aggregated(headers: &HeaderMap) -> Option<&'static str> {
    accepted(headers).iter().find_map(|range| {
        let plain = matches!(range.media_type, JSON | "*/*" | "application/*");
        match (range.parameter("as"), range.parameter("g"), range.parameter("v")) {
            (Some("APIGroupDiscoveryList"), Some("apidiscovery.k8s.io"), Some(version)) if plain => {
                Some(match version {
                    "v2" => Some("v2"),
                    "v2beta1" => Some("v2beta1"),
                    _ => None,
                })
            }
            (None, _, _) if plain || range.media_type == YAML => Some(None),
            _ => None,
        }
    })?
}

fn groups(entries: &Entries, view: &View) -> Groups {
    let mut groups: BTreeMap<String, BTreeMap<String, Vec<Entry>>> = BTreeMap::new();
    let is_own = |group: &str, version: &str| view.offered(group, version).is_none();
    for resource in entries.values().filter(|resource| is_own(&resource.group, &resource.version)) {
        let versions = groups.entry(resource.group.clone()).or_default();
        let listed = versions.entry(resource.version.clone()).or_default();
        if resource.any_name {
            continue;
        }
        let gvk = resource.gvk();
        let subresources = resource.subresources.iter().map(|s| Sub {
            name: s.name.clone(),
            kind: s.kind.clone().unwrap_or_else(|| gvk.clone()),
            verbs: s.verbs.iter().map(|verb| verb.as_str()).collect(),
        });
        let entry = Entry {
            plural: resource.plural.clone(),
            singular: resource.singular.clone(),
            namespaced: resource.namespaced,
            verbs: resource.verbs(),
            stored: resource.unstored.is_none().then(|| {
                resource.storage.served.as_ref().map_or_else(|| gvk.clone(), |served| served.stored().clone())
            }),
            short_names: resource.short_names.clone(),
            categories: resource.categories.clone(),
            subresources: subresources.collect(),
            kind: gvk,
        };
        listed.push(entry);
    }
    let mut offers: BTreeMap<String, Versions> = BTreeMap::new();
    for (group, versions) in groups {
        let own = versions.into_iter().map(|(version, entries)| (version, Offer::Own(entries)));
        offers.insert(group, own.collect());
    }
    for (version, offered) in view.all_offered() {
        let versions = offers.entry(version.group.clone()).or_default();
        versions.push((version.version.clone(), Offer::Others(offered.clone())));
    }
    preferred_first(offers, |group, version| {
        let registration = view.registered.get(&GroupVersion::new(group, version));
        registration.map_or(UNSAID, |registration| registration.priority)
    })
}

/// Groups as it is said of them, the one that says it first; where of two the same is said, by the first name of
/// those of whom it is. The same of versions, where then stable ones come before beta before alpha, higher ones
/// before lower.
fn preferred_first<T>(
    groups: BTreeMap<String, Vec<(String, T)>>,
    priority: impl Fn(&str, &str) -> Priority,
) -> Vec<(String, Vec<(String, T)>)> {
    let mut all = Vec::new();
    for (group, mut versions) in groups {
        versions.sort_by(|(a, _), (b, _)| a.cmp(b));
        versions.sort_by_key(|(version, _)| Reverse((priority(&group, version).version, rank(version))));
        let of_group =
            |version: &str| (Reverse(priority(&group, version).group), format!("{version}.{group}"));
        let first = versions.iter().map(|(version, _)| of_group(version)).min();
        all.push(((group != REGISTRATIONS, first), (group, versions)));
    }
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    all.into_iter().map(|(_, group)| group).collect()
}

fn group_document(name: &str, versions: &Versions) -> Value {
    let describe = |version: &str| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    let all: Vec<Value> = versions.iter().map(|(v, _)| describe(v)).collect();
    json!({"name": name, "versions": all, "preferredVersion": all.first().cloned().unwrap_or_default()})
}

fn resources(groups: &Groups, group: &str, version: &str) -> Result<Value> {
    let versions = versions_of(groups, group)?;
    // What others have they are asked for themselves.
    let Some((_, Offer::Own(entries))) = versions.iter().find(|(v, _)| v == version) else {
        return Err(missing());
    };
    let group_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    let mut list = Vec::new();
    for entry in entries {
        let mut shown = json!({
            "name": entry.plural,
            "singularName": entry.singular,
            "namespaced": entry.namespaced,
            "kind": entry.kind.kind,
            "verbs": entry.verbs,
        });
        if !entry.short_names.is_empty() {
            shown["shortNames"] = json!(entry.short_names);
        }
        if !entry.categories.is_empty() {
            shown["categories"] = json!(entry.categories);
        }
        if let Some(stored) = &entry.stored {
            shown["storageVersionHash"] = json!(storage_version_hash(stored));
        }
        list.push(shown);
        for sub in &entry.subresources {
            let mut shown = json!({
                "name": format!("{}/{}", entry.plural, sub.name),
                "singularName": "",
                "namespaced": entry.namespaced,
                "kind": sub.kind.kind,
                "verbs": sub.verbs,
            });
            if sub.kind.group != group || sub.kind.version != version {
                shown["group"] = json!(sub.kind.group);
                shown["version"] = json!(sub.kind.version);
            }
            list.push(shown);
        }
    }
    Ok(json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": list,
    }))
}

/// What clients compare to know that objects are stored in another version than before: equal where that is.
fn storage_version_hash(stored: &GroupVersionKind) -> String {
    let GroupVersionKind { group, version, kind } = stored;
    STANDARD.encode(&Sha256::digest(format!("{group}/{version}/{kind}"))[..8])
}

fn aggregate(groups: &Groups, wanted: impl Fn(&str) -> bool, form: &'static str) -> Value {
    let items: Vec<Value> = groups
        .iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|(version, offer)| {
                    let (resources, fresh): (Vec<Value>, bool) = match offer {
                        Offer::Own(entries) => (entries.iter().map(aggregate_entry).collect(), true),
                        Offer::Others(offered) => (offered.resources.clone(), offered.fresh),
                    };
                    let freshness = if fresh { "Current" } else { "Stale" };
                    json!({"version": version, "resources": resources, "freshness": freshness})
                })
                .collect();
            let metadata = if name.is_empty() { json!({}) } else { json!({"name": name}) };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": format!("apidiscovery.k8s.io/{form}"),
        "metadata": {},
        "items": items,
    })
}

fn aggregate_entry(entry: &Entry) -> Value {
    let kind =
        |kind: &GroupVersionKind| json!({"group": kind.group, "version": kind.version, "kind": kind.kind});
    let mut shown = json!({
        "resource": entry.plural,
        "responseKind": kind(&entry.kind),
        "scope": if entry.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": entry.singular,
        "verbs": entry.verbs,
    });
    if !entry.short_names.is_empty() {
        shown["shortNames"] = json!(entry.short_names);
    }
    if !entry.categories.is_empty() {
        shown["categories"] = json!(entry.categories);
    }
    if !entry.subresources.is_empty() {
        let subs: Vec<Value> = entry
            .subresources
            .iter()
            .map(|s| json!({"subresource": s.name, "responseKind": kind(&s.kind), "verbs": s.verbs}))
            .collect();
        shown["subresources"] = json!(subs);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_versions_come_in_the_order_that_is_said_of_them() {
        let mut groups = BTreeMap::new();
        for (group, versions) in [
            ("", &["v1"][..]),
            ("apps", &["v1"]),
            ("autoscaling", &["v1", "v2"]),
            ("apiregistration.k8s.io", &["v1"]),
            ("a.example.com", &["v1", "v2alpha1"]),
            ("b.example.com", &["v1", "v1beta1", "v2"]),
            ("c.example.com", &["v1"]),
        ] {
            groups.insert(group.to_owned(), versions.iter().map(|v| ((*v).to_owned(), ())).collect());
        }
        let priority = |group: &str, version: &str| match (group, version) {
            ("", _) => Priority { group: 18_000, version: 1 },
            ("apps", _) => Priority { group: 17_800, version: 15 },
            ("autoscaling", "v2") => Priority { group: 17_500, version: 30 },
            ("autoscaling", _) => Priority { group: 17_500, version: 15 },
            // The highest that is said of one of its versions counts for all of them.
            ("a.example.com", "v2alpha1") => Priority { group: 2000, version: 15 },
            ("a.example.com", _) => Priority { group: 100, version: 10 },
            _ => UNSAID,
        };
        let shown: Vec<String> = preferred_first(groups, priority)
            .into_iter()
            .map(|(group, versions)| {
                let versions: Vec<String> = versions.into_iter().map(|(version, ())| version).collect();
                format!("{group}: {}", versions.join(" "))
            })
            .collect();
        assert_eq!(
            shown,
            [
                "apiregistration.k8s.io: v1",
                ": v1",
                "apps: v1",
                "autoscaling: v2 v1",
                "a.example.com: v2alpha1 v1",
                "b.example.com: v2 v1 v1beta1",
                "c.example.com: v1",
            ]
        );
    }
}
