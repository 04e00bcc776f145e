//! Which requests are noted, and how much of them: `audit.k8s.io/v1` `Policy`.
//!
//! The first rule that fits a request says its level; where none fits, nothing is noted of it.
//! Source: Kubernetes documentation, "Auditing", "kube-apiserver Audit Configuration (v1)".

use model::field::{FieldError, Path, aggregate};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Stage;
use crate::authorisation::Attributes;
use crate::identity::Identity;
use crate::request::NAMESPACES;

/// How much is noted of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    #[default]
    None,
    /// Who asked for what, when, and what the answer was.
    Metadata,
    /// What was sent besides.
    Request,
    /// What was answered besides.
    RequestResponse,
}

/// The rules, in the order in which they are looked at.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Vec<Rule>,
    omit_stages: Stages,
}

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It is no policy at all.
    #[error("failed decoding: {why}")]
    Malformed {
        /// What was met.
        why: String,
    },
    /// It is something else.
    #[error("unknown group version field {group_version}, Kind={kind} in policy")]
    Unknown {
        /// What it says it is.
        group_version: String,
        /// Of that, what.
        kind: String,
    },
    /// Rules break what must hold of them.
    #[error("{0}")]
    Invalid(String),
    /// It says nothing.
    #[error("loaded illegal policy with 0 rules")]
    Empty,
}

/// What is to be noted of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ruling {
    pub(crate) level: Level,
    pub(crate) omit_stages: Stages,
    pub(crate) omit_managed_fields: bool,
}

/// A set of stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stages(u8);

#[derive(Clone, Debug)]
struct Rule {
    ruling: Ruling,
    users: Vec<String>,
    groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<Resources>,
    namespaces: Vec<String>,
    paths: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Document {
    api_version: String,
    kind: String,
    rules: Vec<Written>,
    omit_stages: Vec<String>,
    omit_managed_fields: bool,
}

/// A rule as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Written {
    level: String,
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<Resources>,
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    omit_stages: Vec<String>,
    omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Resources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

/// The fields that each part has: others are told, and do nothing.
const FIELDS: [&str; 6] = ["apiVersion", "kind", "metadata", "rules", "omitStages", "omitManagedFields"];
const RULE_FIELDS: [&str; 9] = [
    "level",
    "users",
    "userGroups",
    "verbs",
    "resources",
    NAMESPACES,
    "nonResourceURLs",
    "omitStages",
    "omitManagedFields",
];
const RESOURCE_FIELDS: [&str; 3] = ["group", "resources", "resourceNames"];

impl Level {
    const ALL: [Self; 4] = [Self::None, Self::Metadata, Self::Request, Self::RequestResponse];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }
}

impl Stages {
    fn of(names: &[String]) -> Self {
        let known = |name: &String| Stage::ALL.into_iter().find(|stage| stage.as_str() == name);
        Self(names.iter().filter_map(known).fold(0, |all, stage| all | 1 << stage as u8))
    }

    fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    pub(crate) fn contain(self, stage: Stage) -> bool {
        self.0 & 1 << stage as u8 != 0
    }
}

impl Policy {
    /// Reads one, as YAML or JSON. What is odd about it comes with it, in words.
    pub fn parse(text: &str) -> Result<(Self, Vec<String>), PolicyError> {
        let malformed = |why: String| PolicyError::Malformed { why };
        let value: Value = serde_saphyr::from_str(text).map_err(|error| malformed(error.to_string()))?;
        let odd = unknown_fields(&value);
        let document: Document =
            serde_json::from_value(value).map_err(|error| malformed(error.to_string()))?;
        if document.api_version != "audit.k8s.io/v1" || document.kind != "Policy" {
            let (group_version, kind) = (document.api_version, document.kind);
            return Err(PolicyError::Unknown { group_version, kind });
        }
        let root = Path::root("rules");
        let errors: Vec<FieldError> =
            document.rules.iter().enumerate().flat_map(|(at, rule)| rule.check(&root.index(at))).collect();
        if !errors.is_empty() {
            return Err(PolicyError::Invalid(aggregate(&errors)));
        }
        if document.rules.is_empty() {
            return Err(PolicyError::Empty);
        }
        let omit_stages = Stages::of(&document.omit_stages);
        let rules = document.rules.into_iter();
        let rules = rules.map(|rule| rule.into_rule(omit_stages, document.omit_managed_fields)).collect();
        Ok((Self { rules, omit_stages }, odd))
    }

    /// What is to be noted of what `identity` asks for.
    pub(crate) fn rule_on(&self, identity: Option<&Identity>, attributes: Attributes<'_>) -> Ruling {
        match self.rules.iter().find(|rule| rule.fits(identity, attributes)) {
            Some(rule) => rule.ruling,
            None => Ruling { omit_stages: self.omit_stages, ..Ruling::default() },
        }
    }
}

fn unknown_fields(document: &Value) -> Vec<String> {
    let mut odd = Vec::new();
    let mut look = |value: &Value, known: &[&str], at: &str| {
        for key in value.as_object().into_iter().flat_map(Map::keys) {
            if !known.contains(&key.as_str()) {
                odd.push(format!("unknown field {}", model::field::quote(&format!("{at}{key}"))));
            }
        }
    };
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    look(document, &FIELDS, "");
    for (at, rule) in list(document, "rules").iter().enumerate() {
        look(rule, &RULE_FIELDS, &format!("rules[{at}]."));
        for (inner, resources) in list(rule, "resources").iter().enumerate() {
            look(resources, &RESOURCE_FIELDS, &format!("rules[{at}].resources[{inner}]."));
        }
    }
    odd
}

impl Written {
    fn check(&self, path: &Path<'_>) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let levels = Level::ALL.map(Level::as_str);
        if self.level.is_empty() {
            errors.push(FieldError::required(&path.child("level"), ""));
        } else if !levels.contains(&self.level.as_str()) {
            errors.push(FieldError::not_supported(&path.child("level"), self.level.as_str(), &levels));
        }
        let urls = path.child("nonResourceURLs");
        for (at, url) in self.non_resource_urls.iter().enumerate().filter(|(_, url)| *url != "*") {
            let mut wrong = |why: &str| errors.push(FieldError::invalid(&urls.index(at), url.as_str(), why));
            if !url.starts_with('/') {
                wrong("non-resource URL rules must begin with a '/' character");
            }
            if url.find('*').is_some_and(|star| star + 1 < url.len()) {
                wrong("non-resource URL wildcards '*' must be the final character of the rule");
            }
        }
        let resources = path.child("resources");
        for one in &self.resources {
            if !one.group.is_empty() {
                let why = model::names::dns1123_subdomain(&one.group);
                if !why.is_empty() {
                    let why = why.join(",");
                    errors.push(FieldError::invalid(&resources.child("group"), one.group.as_str(), why));
                }
            }
            if !one.resource_names.is_empty() && one.resources.is_empty() {
                let why = "using resourceNames requires at least one resource";
                let names = one.resource_names.clone();
                errors.push(FieldError::invalid(&resources.child("resourceNames"), names, why));
            }
        }
        let omitted = path.child("omitStages");
        let stages = Stage::ALL.map(Stage::as_str);
        for (at, stage) in self.omit_stages.iter().enumerate() {
            if !stages.contains(&stage.as_str()) {
                let why = format!("allowed stages are {}", stages.join(","));
                errors.push(FieldError::invalid(&omitted.index(at), stage.as_str(), why));
            }
        }
        let concerns_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        if !self.non_resource_urls.is_empty() && concerns_resources {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            errors.push(FieldError::invalid(&urls, self.non_resource_urls.clone(), why));
        }
        errors
    }

    fn into_rule(self, omit_stages: Stages, omit_managed_fields: bool) -> Rule {
        let level = Level::ALL.into_iter().find(|level| level.as_str() == self.level).unwrap_or_default();
        Rule {
            ruling: Ruling {
                level,
                omit_stages: omit_stages.and(Stages::of(&self.omit_stages)),
                omit_managed_fields: self.omit_managed_fields.unwrap_or(omit_managed_fields),
            },
            users: self.users,
            groups: self.user_groups,
            verbs: self.verbs,
            resources: self.resources,
            namespaces: self.namespaces,
            paths: self.non_resource_urls,
        }
    }
}

impl Rule {
    fn fits(&self, identity: Option<&Identity>, attributes: Attributes<'_>) -> bool {
        let among = |list: &[String], one: &str| list.iter().any(|known| known == one);
        if !self.users.is_empty() && !identity.is_some_and(|who| among(&self.users, &who.user)) {
            return false;
        }
        let in_group = |who: &Identity| who.groups.iter().any(|group| among(&self.groups, group));
        if !self.groups.is_empty() && !identity.is_some_and(in_group) {
            return false;
        }
        let verb = match attributes {
            Attributes::Resource(asked) => asked.verb,
            Attributes::Path { verb, .. } => verb,
        };
        if !self.verbs.is_empty() && !among(&self.verbs, verb) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            let Attributes::Resource(asked) = attributes else { return false };
            return (self.namespaces.is_empty() || among(&self.namespaces, asked.namespace))
                && (self.resources.is_empty()
                    || self.resources.iter().any(|some| {
                        some.group == asked.group
                            && some.name_it(asked.resource, asked.subresource, asked.name)
                    }));
        }
        if !self.paths.is_empty() {
            let Attributes::Path { path, .. } = attributes else { return false };
            return self.paths.iter().any(|spec| path_fits(path, spec));
        }
        true
    }
}

impl Resources {
    fn name_it(&self, resource: &str, subresource: &str, name: &str) -> bool {
        if self.resources.is_empty() {
            return true;
        }
        if !self.resource_names.is_empty() && !self.resource_names.iter().any(|known| known == name) {
            return false;
        }
        self.resources.iter().any(|known| match known.split_once('/') {
            None => known == "*" || (subresource.is_empty() && known == resource),
            Some(("*", of_any)) => !subresource.is_empty() && of_any == subresource,
            Some((of, "*")) => of == resource,
            Some((of, part)) => of == resource && part == subresource,
        })
    }
}

fn path_fits(path: &str, spec: &str) -> bool {
    spec == "*" || spec == path || spec.strip_suffix('*').is_some_and(|start| path.starts_with(start))
}

#[cfg(test)]
mod tests;
