//! Which requests are of which flow: the form of the rules, and how the first that matches is found.
//!
//! Source: Kubernetes API reference, `FlowSchemaSpec`.

use std::collections::HashMap;

use crate::authorisation::Attributes;
use crate::identity::Identity;

/// Requests that are treated alike, by who sends them and what for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// The object's name.
    pub name: String,
    /// Its uid, empty while there is no such object.
    pub uid: String,
    /// The level that its requests are of.
    pub level: String,
    /// By what its requests are told apart.
    pub distinguisher: Option<Distinguisher>,
    /// What it is for: any of these.
    pub rules: Vec<Rule>,
}

/// By what requests of one schema are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distinguisher {
    /// By who sends them.
    User,
    /// By the namespace that they are about.
    Namespace,
}

/// Some subjects, and what they ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Who asks: any of these.
    pub subjects: Vec<Subject>,
    /// What of resources: any of these.
    pub resources: Vec<ResourceRule>,
    /// What of other paths: any of these.
    pub paths: Vec<PathRule>,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A user, `*` for all.
    User(String),
    /// A group, `*` for everybody.
    Group(String),
    /// A service account.
    Account {
        /// Its namespace.
        namespace: String,
        /// Its name, `*` for all of the namespace.
        name: String,
    },
}

/// What is asked of resources. `*` alone stands for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceRule {
    /// Verbs.
    pub verbs: Vec<String>,
    /// API groups.
    pub groups: Vec<String>,
    /// Resources, `pods/log` for a subresource.
    pub resources: Vec<String>,
    /// Namespaces.
    pub namespaces: Vec<String>,
    /// Requests that are in no namespace are meant, too.
    pub cluster: bool,
}

/// What is asked of paths that are no resource's. `*` alone stands for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathRule {
    /// Methods, in lower case.
    pub verbs: Vec<String>,
    /// Paths, and all below them.
    pub paths: Vec<String>,
}

/// All rules by whom they are for, so that a request is compared with few of them.
#[derive(Debug, Default)]
pub(super) struct Index {
    rules: Vec<Rule>,
    users: HashMap<String, Vec<Entry>>,
    groups: HashMap<String, Vec<Entry>>,
    /// By namespace: for all accounts there.
    accounts: HashMap<String, Vec<Entry>>,
    everybody: Vec<Entry>,
}

/// A rule and the place of its schema, of which the first is asked for.
#[derive(Clone, Copy, Debug)]
struct Entry {
    place: usize,
    rule: usize,
}

const ALL: &str = "*";
const ACCOUNT: &str = "system:serviceaccount:";

impl Index {
    /// Of schemas in the order in which they are asked.
    pub(super) fn new<'a>(schemas: impl IntoIterator<Item = &'a Schema>) -> Self {
        let mut index = Self::default();
        for (place, schema) in schemas.into_iter().enumerate() {
            for rule in &schema.rules {
                let entry = Entry { place, rule: index.rules.len() };
                for subject in &rule.subjects {
                    index.of(subject).push(entry);
                }
                index.rules.push(Rule { subjects: Vec::new(), ..rule.clone() });
            }
        }
        index
    }

    fn of(&mut self, subject: &Subject) -> &mut Vec<Entry> {
        match subject {
            Subject::User(name) | Subject::Group(name) if name == ALL => &mut self.everybody,
            Subject::User(name) => self.users.entry(name.clone()).or_default(),
            Subject::Group(name) => self.groups.entry(name.clone()).or_default(),
            Subject::Account { namespace, name } if name == ALL => {
                self.accounts.entry(namespace.clone()).or_default()
            }
            Subject::Account { namespace, name } => {
                self.users.entry(format!("{ACCOUNT}{namespace}:{name}")).or_default()
            }
        }
    }

    /// The place of the first schema that is for a request.
    pub(super) fn first(&self, identity: &Identity, asked: &Attributes<'_>) -> Option<usize> {
        let account = identity.user.strip_prefix(ACCOUNT).and_then(|rest| rest.split_once(':'));
        let lists = [
            self.users.get(identity.user.as_str()),
            account.and_then(|(namespace, _)| self.accounts.get(namespace)),
            Some(&self.everybody),
        ];
        let groups = identity.groups.iter().map(|group| self.groups.get(group.as_str()));
        let mut first = None;
        for list in lists.into_iter().chain(groups).flatten() {
            let before = list.iter().take_while(|entry| first.is_none_or(|first| entry.place < first));
            let found = before.copied().find(|entry| self.rules[entry.rule].is_for(asked));
            first = found.map(|entry| entry.place).or(first);
        }
        first
    }
}

impl Rule {
    fn is_for(&self, asked: &Attributes<'_>) -> bool {
        match asked {
            Attributes::Resource(asked) => self.resources.iter().any(|rule| {
                has(&rule.verbs, asked.verb)
                    && has(&rule.groups, asked.group)
                    && rule.names(asked.resource, asked.subresource)
                    && if asked.namespace.is_empty() {
                        rule.cluster
                    } else {
                        has(&rule.namespaces, asked.namespace)
                    }
            }),
            Attributes::Path { verb, path } => self.paths.iter().any(|rule| {
                has(&rule.verbs, verb) && rule.paths.iter().any(|own| own == ALL || covers(own, path))
            }),
        }
    }
}

impl ResourceRule {
    fn names(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|own| {
            if own == ALL || subresource.is_empty() {
                return own == ALL || own == resource;
            }
            own.split_once('/') == Some((resource, subresource))
        })
    }
}

fn has(all: &[String], one: &str) -> bool {
    all.iter().any(|own| own == one || own == ALL)
}

/// Whether a path is another, or below it.
fn covers(own: &str, path: &str) -> bool {
    let above = own.strip_suffix('*').unwrap_or(own);
    own == path || path.strip_prefix(above).is_some_and(|rest| above.ends_with('/') || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authorisation::ResourceAttributes;

    fn texts(all: &str) -> Vec<String> {
        all.split(',').map(str::to_owned).collect()
    }

    /// A schema from `SUBJECT SUBJECT | VERBS GROUPS RESOURCES NAMESPACES | VERBS PATHS`, in which a namespace `-` is
    /// none.
    fn schema(text: &str) -> Schema {
        let subject = |word: &str| match word.split_once('=') {
            Some(("user", name)) => Subject::User(name.to_owned()),
            Some(("group", name)) => Subject::Group(name.to_owned()),
            Some(("account", name)) => {
                let (namespace, name) = name.split_once('/').expect("a namespace");
                Subject::Account { namespace: namespace.to_owned(), name: name.to_owned() }
            }
            _ => panic!("{word}"),
        };
        let mut parts = text.split('|');
        let mut rule = Rule {
            subjects: parts.next().expect("subjects").split_whitespace().map(subject).collect(),
            ..Rule::default()
        };
        for part in parts {
            match part.split_whitespace().collect::<Vec<_>>()[..] {
                [verbs, groups, resources, namespaces] => rule.resources.push(ResourceRule {
                    verbs: texts(verbs),
                    groups: texts(groups),
                    resources: texts(resources),
                    namespaces: texts(namespaces).into_iter().filter(|one| one != "-").collect(),
                    cluster: texts(namespaces).iter().any(|one| one == "-"),
                }),
                [verbs, paths] => rule.paths.push(PathRule { verbs: texts(verbs), paths: texts(paths) }),
                _ => panic!("{part}"),
            }
        }
        Schema { rules: vec![rule], ..Schema::default() }
    }

    fn check(schemas: &[&str], cases: &[(&str, &str, Option<usize>)]) {
        let schemas: Vec<Schema> = schemas.iter().map(|text| schema(text)).collect();
        let index = Index::new(&schemas);
        for (who, what, expected) in cases {
            let mut words = who.split_whitespace();
            let user = words.next().expect("a user");
            let identity = Identity::new(user, words);
            let found = match what.split_whitespace().collect::<Vec<_>>()[..] {
                [verb, path] => index.first(&identity, &Attributes::Path { verb, path }),
                [verb, group, resource, namespace] => {
                    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
                    let namespace = if namespace == "-" { "" } else { namespace };
                    let asked = ResourceAttributes {
                        verb,
                        group: if group == "core" { "" } else { group },
                        resource,
                        subresource,
                        namespace,
                        ..ResourceAttributes::default()
                    };
                    index.first(&identity, &Attributes::Resource(asked))
                }
                _ => panic!("{what}"),
            };
            assert_eq!(found, *expected, "{who}: {what}");
        }
    }

    #[test]
    fn the_first_schema_that_is_for_the_sender_and_the_request_counts() {
        check(
            &[
                "user=jane | get apps deployments a",
                "group=staff | get,list * pods,pods/log *",
                "account=ci/* account=kube-system/builder | * * * *",
                "user=* | list * nodes - | get /healthz,/api/*",
                "group=system:authenticated | * * * *,- | * *",
            ],
            &[
                ("jane", "get apps deployments a", Some(0)),
                ("jane staff", "get apps deployments a", Some(0)),
                ("john", "get apps deployments a", Some(4)),
                ("jane", "get apps deployments b", Some(4)),
                ("jane", "get apps deployments -", Some(4)),
                ("jane", "list apps deployments a", Some(4)),
                ("john staff", "get core pods x", Some(1)),
                ("john staff", "get core pods/log x", Some(1)),
                ("john staff", "get core pods/exec x", Some(4)),
                ("john staff", "list core pods -", Some(4)),
                ("system:serviceaccount:ci:any", "get core pods x", Some(2)),
                ("system:serviceaccount:ci2:any", "get core pods x", Some(4)),
                ("system:serviceaccount:kube-system:builder", "delete core secrets x", Some(2)),
                ("system:serviceaccount:kube-system:other", "delete core secrets x", Some(4)),
                ("anybody", "list core nodes -", Some(3)),
                ("anybody", "list core nodes x", Some(4)),
                ("anybody", "get /healthz", Some(3)),
                ("anybody", "get /healthz/ping", Some(3)),
                ("anybody", "get /healthzz", Some(4)),
                ("anybody", "get /api/v1", Some(3)),
                ("anybody", "get /api", Some(4)),
                ("anybody", "post /healthz", Some(4)),
            ],
        );
        check(&["user=jane | get * * *"], &[("john", "get core pods x", None), ("jane", "get /x", None)]);
    }

    #[test]
    fn ten_thousand_schemas_of_others_are_not_looked_at() {
        let others: Vec<String> =
            (0..10_000).map(|number| format!("user=u{number} | * * * *,- | * *")).collect();
        let mut all: Vec<&str> = others.iter().map(String::as_str).collect();
        all.push("group=system:authenticated | * * * *,- | * *");
        check(
            &all,
            &[
                ("u9999", "get core pods x", Some(9999)),
                ("u0", "get /x", Some(0)),
                ("jane", "get core pods x", Some(10_000)),
            ],
        );
    }
}
