//! What a group version offers that somebody else serves, as far as he has told.
//! Source: Kubernetes documentation, "The Kubernetes API", section "Discovery API".

use serde::Deserialize;
use serde_json::{Value, json};

use model::gvk::GroupVersion;

/// The form in which all that somebody serves is asked for.
pub(super) const FORM: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
/// What may be said of it.
pub(super) const LONGEST: usize = 1 << 20;

/// The resources of a group version.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Offered {
    /// As they are shown among others: resource by resource.
    pub(crate) resources: Vec<Value>,
    /// Whether it was told when it was asked for last.
    pub(crate) fresh: bool,
}

/// Groups, in the new form.
#[derive(Deserialize)]
struct Groups {
    #[serde(default)]
    items: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    metadata: Metadata,
    #[serde(default)]
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
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resource {
    resource: String,
    #[serde(default)]
    response_kind: Option<Kind>,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    singular_resource: String,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    short_names: Vec<String>,
    #[serde(default)]
    categories: Vec<String>,
    #[serde(default)]
    subresources: Vec<Subresource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subresource {
    subresource: String,
    #[serde(default)]
    response_kind: Option<Kind>,
    #[serde(default)]
    verbs: Vec<String>,
}

#[derive(Clone, Default, Deserialize)]
struct Kind {
    #[serde(default)]
    group: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    kind: String,
}

/// The resources of a group version, in the old form.
#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    resources: Vec<ListedResource>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedResource {
    name: String,
    #[serde(default)]
    singular_name: String,
    #[serde(default)]
    namespaced: bool,
    #[serde(default)]
    group: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    short_names: Vec<String>,
    #[serde(default)]
    categories: Vec<String>,
}

impl Offered {
    /// The same, told some time ago.
    pub(super) fn stale(&self) -> Self {
        Self { resources: self.resources.clone(), fresh: false }
    }
}

/// Whether an answer is in the new form.
pub(super) fn is_new_form(content_type: &str) -> bool {
    let mut parameters = content_type.split(';').map(str::trim);
    let is_json = parameters.next() == Some("application/json");
    let all: Vec<&str> = parameters.collect();
    is_json
        && ["g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"].iter().all(|one| all.contains(one))
}

/// What a server says of one of its group versions, in the new form; nothing where it says nothing of that.
pub(super) fn read(text: &[u8], version: &GroupVersion) -> Result<Offered, serde_json::Error> {
    let groups: Groups = serde_json::from_slice(text)?;
    let found = groups
        .items
        .into_iter()
        .filter(|group| group.metadata.name == version.group)
        .flat_map(|group| group.versions)
        .find(|found| found.version == version.version);
    let resources = found.map(|found| found.resources).unwrap_or_default();
    Ok(Offered { resources: resources.iter().map(Resource::shown).collect(), fresh: true })
}

/// The same of the old form.
pub(super) fn read_list(text: &[u8], version: &GroupVersion) -> Result<Offered, serde_json::Error> {
    let listed: Listed = serde_json::from_slice(text)?;
    let mut resources: Vec<Resource> = Vec::new();
    let (whole, below): (Vec<_>, Vec<_>) =
        listed.resources.into_iter().partition(|resource| !resource.name.contains('/'));
    let kind = |listed: &ListedResource| Kind {
        group: if listed.group.is_empty() { version.group.clone() } else { listed.group.clone() },
        version: if listed.version.is_empty() { version.version.clone() } else { listed.version.clone() },
        kind: listed.kind.clone(),
    };
    for listed in whole {
        resources.push(Resource {
            response_kind: Some(kind(&listed)),
            resource: listed.name,
            scope: if listed.namespaced { "Namespaced" } else { "Cluster" }.to_owned(),
            singular_resource: listed.singular_name,
            verbs: listed.verbs,
            short_names: listed.short_names,
            categories: listed.categories,
            subresources: Vec::new(),
        });
    }
    for listed in below {
        let Some((name, part)) = listed.name.split_once('/') else { continue };
        let subresource = Subresource {
            subresource: part.to_owned(),
            response_kind: Some(kind(&listed)),
            verbs: listed.verbs.clone(),
        };
        match resources.iter_mut().find(|known| known.resource == name) {
            Some(known) => known.subresources.push(subresource),
            // Of one that cannot be asked for itself: what is below it is all that it has.
            None => resources.push(Resource {
                resource: name.to_owned(),
                response_kind: Some(Kind::default()),
                scope: if listed.namespaced { "Namespaced" } else { "Cluster" }.to_owned(),
                singular_resource: String::new(),
                verbs: Vec::new(),
                short_names: Vec::new(),
                categories: Vec::new(),
                subresources: vec![subresource],
            }),
        }
    }
    Ok(Offered { resources: resources.iter().map(Resource::shown).collect(), fresh: true })
}

impl Resource {
    /// In the order and with the fields that discovery has, and no others.
    fn shown(&self) -> Value {
        let mut shown = json!({
            "resource": self.resource,
            "responseKind": self.response_kind.clone().unwrap_or_default().shown(),
            "scope": if self.scope == "Cluster" { "Cluster" } else { "Namespaced" },
            "singularResource": self.singular_resource,
            "verbs": self.verbs,
        });
        if !self.short_names.is_empty() {
            shown["shortNames"] = json!(self.short_names);
        }
        if !self.categories.is_empty() {
            shown["categories"] = json!(self.categories);
        }
        if !self.subresources.is_empty() {
            let shown_below = |below: &Subresource| {
                json!({
                    "subresource": below.subresource,
                    "responseKind": below.response_kind.clone().unwrap_or_default().shown(),
                    "verbs": below.verbs,
                })
            };
            shown["subresources"] = self.subresources.iter().map(shown_below).collect();
        }
        shown
    }
}

impl Kind {
    fn shown(&self) -> Value {
        json!({"group": self.group, "version": self.version, "kind": self.kind})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version() -> GroupVersion {
        GroupVersion::new("wardle.example.com", "v1")
    }

    #[test]
    fn both_forms_say_the_same() {
        let new = json!({"items": [
            {"metadata": {"name": "other.example.com"}, "versions": [{"version": "v1", "resources": [{"resource": "x"}]}]},
            {"metadata": {"name": "wardle.example.com"}, "versions": [
                {"version": "v2", "resources": []},
                {"version": "v1", "freshness": "Current", "resources": [{
                    "resource": "flunders", "scope": "Namespaced", "singularResource": "flunder",
                    "responseKind": {"group": "wardle.example.com", "version": "v1", "kind": "Flunder"},
                    "verbs": ["get", "list"], "shortNames": ["fl"], "more": {"than": "is known"},
                    "subresources": [{
                        "subresource": "scale", "verbs": ["get"],
                        "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"},
                    }],
                }]},
            ]},
        ]});
        let old = json!({"kind": "APIResourceList", "groupVersion": "wardle.example.com/v1", "resources": [
            {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder",
             "verbs": ["get", "list"], "shortNames": ["fl"]},
            {"name": "flunders/scale", "namespaced": true, "kind": "Scale", "group": "autoscaling", "version": "v1",
             "verbs": ["get"]},
        ]});
        let one = read(new.to_string().as_bytes(), &version()).expect("it can be read");
        let other = read_list(old.to_string().as_bytes(), &version()).expect("it can be read");
        assert_eq!(one, other);
        assert_eq!(one.resources.len(), 1);
        assert_eq!(one.resources[0].get("more"), None, "what is not known is not passed on");
        assert_eq!(one.resources[0]["subresources"][0]["responseKind"]["kind"], "Scale");
    }

    #[test]
    fn what_makes_no_sense_is_refused_or_offers_nothing() {
        assert!(read(b"<html>", &version()).is_err());
        assert!(read(br#"{"items":[{"metadata":7}]}"#, &version()).is_err());
        assert!(read_list(br#"{"resources":"all"}"#, &version()).is_err());
        assert_eq!(read(b"{}", &version()).expect("nothing"), Offered { resources: vec![], fresh: true });
        let below = br#"{"resources":[{"name":"a/status","namespaced":false,"kind":"A","verbs":["get"]}]}"#;
        let found = read_list(below, &version()).expect("one").resources;
        assert_eq!((&found[0]["resource"], &found[0]["scope"]), (&json!("a"), &json!("Cluster")));
    }

    #[test]
    fn the_new_form_is_known_by_its_type() {
        for (given, expected) in [
            (FORM, true),
            ("application/json; as=APIGroupDiscoveryList; v=v2; g=apidiscovery.k8s.io", true),
            ("application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList", false),
            ("application/json", false),
            ("text/html;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", false),
        ] {
            assert_eq!(is_new_form(given), expected, "{given}");
        }
    }
}
