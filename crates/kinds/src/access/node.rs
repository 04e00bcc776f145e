//! What a node's agent may do: what all of them need, and to read what the pods on its node refer to.
//!
//! ```text
//! node ← pod ← secret, config map, service account (its tokens), resource claim
//! node ← pod ← claim ← volume ← secret
//! node ← volume attachment, resource slice
//! ```

use std::collections::{BTreeMap, HashMap};

use apiserver::{
    Attributes, Authorizer, Deciding, Decision, Identity, KnownRules, Objects, PolicyRule,
    ResourceAttributes, decided,
};
use model::Object;
use model::field::quote;
use model::validate::text;
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use serde_json::Value;

use super::bootstrap;
use super::graph::{Target, is_mirror, references};
use super::rules::allows;
use crate::followed::{Followed, Step};

/// The group of what storage is made of, and that of devices.
const STORAGE: &str = "storage.k8s.io";
const DEVICES: &str = "resource.k8s.io";
/// Where nodes tell that they are alive.
const LEASES: &str = "kube-node-lease";

/// Decides by what runs on the nodes.
pub(super) struct Nodes {
    graph: RwLock<Graph>,
    /// What all agents need.
    rules: Vec<PolicyRule>,
}

struct Graph {
    pods: Followed,
    volumes: Followed,
    attachments: Followed,
    slices: Followed,
    known: Known,
}

#[derive(Default)]
struct Known {
    /// By `NAMESPACE/NAME`.
    pods: HashMap<String, Pod>,
    /// How many pods of which nodes refer to something.
    referred: HashMap<(Target, String), BTreeMap<String, usize>>,
    /// By name: the claim that holds it, and the secrets that it needs.
    volumes: HashMap<String, Volume>,
    /// The volumes that need a secret.
    by_secret: HashMap<String, Vec<String>>,
    /// The node of each, by name.
    attachments: HashMap<String, String>,
    slices: HashMap<String, String>,
}

struct Pod {
    node: String,
    references: Vec<(Target, String)>,
}

struct Volume {
    claim: String,
    secrets: Vec<String>,
}

/// The reason why it is not allowed.
type Judged = Result<(), String>;

impl Nodes {
    pub(super) fn new(objects: &dyn Objects) -> Self {
        let followed = |group, plural| Followed::new(objects, group, plural);
        let graph = Graph {
            pods: followed("", "pods"),
            volumes: followed("", "persistentvolumes"),
            attachments: followed(STORAGE, "volumeattachments"),
            slices: followed(DEVICES, "resourceslices"),
            known: Known::default(),
        };
        Self { graph: RwLock::new(graph), rules: bootstrap::rules_of_nodes() }
    }

    /// The graph as all that has been acknowledged makes it.
    fn current(&self) -> RwLockReadGuard<'_, Graph> {
        let graph = self.graph.read();
        let followed = [&graph.pods, &graph.volumes, &graph.attachments, &graph.slices];
        if followed.into_iter().all(Followed::is_current) {
            return graph;
        }
        drop(graph);
        let mut graph = self.graph.write();
        graph.catch_up();
        RwLockWriteGuard::downgrade(graph)
    }

    fn judge(&self, node: &str, asked: &ResourceAttributes<'_>) -> Judged {
        let only = |verbs: &[&str], why: &str| {
            if verbs.contains(&asked.verb) { Ok(()) } else { Err(why.to_owned()) }
        };
        let whole = |why: &str| if asked.subresource.is_empty() { Ok(()) } else { Err(why.to_owned()) };
        let single = "can only get individual resources of this type";
        match (asked.group, asked.resource) {
            ("", "secrets" | "configmaps") => {
                only(&["get", "list", "watch"], "can only read resources of this type")?;
                whole("cannot read subresource")?;
                if asked.namespace.is_empty() {
                    return Err("can only read namespaced object of this type".to_owned());
                }
                let target = if asked.resource == "secrets" { Target::Secret } else { Target::ConfigMap };
                self.related(node, asked, |graph, key| graph.refers(node, target, key))
            }
            ("", "persistentvolumeclaims") => {
                if asked.subresource == "status" {
                    only(&["update", "patch"], "can only get/update/patch this type")?;
                } else {
                    only(&["get"], single)?;
                    whole("cannot get subresource")?;
                }
                self.related(node, asked, |graph, key| graph.refers(node, Target::Claim, key))
            }
            ("", "persistentvolumes") => {
                only(&["get"], single)?;
                whole("cannot get subresource")?;
                self.related(node, asked, |graph, key| graph.mounts(node, key))
            }
            (DEVICES, "resourceclaims") => {
                only(&["get"], single)?;
                whole("cannot get subresource")?;
                self.related(node, asked, |graph, key| graph.refers(node, Target::ResourceClaim, key))
            }
            (STORAGE, "volumeattachments") => {
                only(&["get"], single)?;
                whole("cannot get subresource")?;
                self.related(node, asked, |graph, key| {
                    graph.attachments.get(key).is_some_and(|own| own == node)
                })
            }
            ("", "serviceaccounts") => {
                if (asked.verb, asked.subresource) != ("get", "") {
                    if asked.verb != "create" || asked.name.is_empty() {
                        return Err("can only create tokens for individual service accounts".to_owned());
                    }
                    if asked.subresource != "token" {
                        return Err("can only create token subresource of serviceaccount".to_owned());
                    }
                }
                self.related(node, asked, |graph, key| graph.refers(node, Target::ServiceAccount, key))
            }
            ("coordination.k8s.io", "leases") => {
                only(
                    &["get", "create", "update", "patch", "delete"],
                    "can only get, create, update, patch, or delete a node lease",
                )?;
                if asked.namespace != LEASES {
                    return Err(format!("can only access leases in the {} system namespace", quote(LEASES)));
                }
                own_name(node, asked, "can only access node lease with the same name as the requesting node")
            }
            (STORAGE, "csinodes") => {
                only(
                    &["get", "create", "update", "patch", "delete"],
                    "can only get, create, update, patch, or delete a CSINode",
                )?;
                whole("cannot authorize CSINode subresources")?;
                own_name(node, asked, "can only access CSINode with the same name as the requesting node")
            }
            (DEVICES, "resourceslices") => self.judge_slice(node, asked),
            ("", "nodes") => judge_node(node, asked),
            ("", "pods") => self.judge_pod(node, asked),
            _ => {
                let attributes = Attributes::Resource(*asked);
                let path = asked.resource_path();
                let allowed = self.rules.iter().any(|rule| allows(rule, &attributes, &path));
                if allowed { Ok(()) } else { Err(String::new()) }
            }
        }
    }

    fn judge_slice(&self, node: &str, asked: &ResourceAttributes<'_>) -> Judged {
        if !asked.subresource.is_empty() {
            return Err("cannot authorize ResourceSlice subresources".to_owned());
        }
        match asked.verb {
            "create" => Ok(()),
            "get" | "update" | "patch" | "delete" => {
                self.related(node, asked, |graph, key| graph.slices.get(key).is_some_and(|own| own == node))
            }
            "watch" | "list" | "deletecollection" if selects(asked, "spec.nodeName", node) => Ok(()),
            "watch" | "list" | "deletecollection" => {
                Err("can only list/watch/deletecollection resourceslices with nodeName field selector"
                    .to_owned())
            }
            _ => Err("only the following verbs are allowed for a ResourceSlice: get, watch, list, create, \
                      update, patch, delete, deletecollection"
                .to_owned()),
        }
    }

    fn judge_pod(&self, node: &str, asked: &ResourceAttributes<'_>) -> Judged {
        let own = || {
            self.related(node, asked, |graph, key| graph.pods.get(key).is_some_and(|pod| pod.node == node))
        };
        match (asked.subresource, asked.verb) {
            ("", "get") => own(),
            ("", "list" | "watch") if selects(asked, "spec.nodeName", node) => Ok(()),
            ("", "list" | "watch") if !asked.name.is_empty() && !asked.namespace.is_empty() => own(),
            ("", "list" | "watch") => {
                Err("can only list/watch pods with spec.nodeName field selector".to_owned())
            }
            // Which pods, admission looks at.
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            _ => Err(String::new()),
        }
    }

    /// Whether the object that is asked for has to do with the node.
    fn related(
        &self,
        node: &str,
        asked: &ResourceAttributes<'_>,
        is: impl Fn(&Known, &str) -> bool,
    ) -> Judged {
        if asked.name.is_empty() {
            return Err("No Object name found".to_owned());
        }
        if is(&self.current().known, &key(asked.namespace, asked.name)) {
            return Ok(());
        }
        Err(format!("no relationship found between node '{node}' and this object"))
    }
}

impl Authorizer for Nodes {
    fn decide<'a>(&'a self, identity: &'a Identity, attributes: Attributes<'a>) -> Deciding<'a> {
        let Some(node) = identity.node_name() else { return decided(Decision::NoOpinion("".into())) };
        let judged = match &attributes {
            _ if node.is_empty() => Err(format!("unknown node for user {}", quote(&identity.user))),
            Attributes::Resource(asked) => self.judge(node, asked),
            Attributes::Path { .. } => Err(String::new()),
        };
        decided(match judged {
            Ok(()) => Decision::Allowed("".into()),
            Err(why) => Decision::NoOpinion(why.into()),
        })
    }

    fn rules(&self, identity: &Identity, _: &str) -> KnownRules {
        if identity.node_name().is_none() {
            return KnownRules::default();
        }
        let why = "node authorizer does not support user rule resolution".to_owned();
        KnownRules { rules: Vec::new(), incomplete: true, errors: vec![why] }
    }
}

fn judge_node(node: &str, asked: &ResourceAttributes<'_>) -> Judged {
    match (asked.subresource, asked.verb) {
        // Which node, admission looks at.
        ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
        ("", "get" | "list" | "watch") => match asked.name {
            "" => Err(format!("node '{node}' cannot read all nodes, only its own Node object")),
            own if own == node => Ok(()),
            other => Err(format!("node '{node}' cannot read '{other}', only its own Node object")),
        },
        _ => Err(String::new()),
    }
}

/// The name is not known yet of what is made: admission looks at it.
fn own_name(node: &str, asked: &ResourceAttributes<'_>, why: &str) -> Judged {
    if asked.verb == "create" || asked.name == node { Ok(()) } else { Err(why.to_owned()) }
}

fn selects(asked: &ResourceAttributes<'_>, field: &str, value: &str) -> bool {
    asked
        .fields
        .iter()
        .any(|condition| condition.equal && condition.field == field && condition.value == value)
}

fn key(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

impl Graph {
    fn catch_up(&mut self) {
        let Self { pods, volumes, attachments, slices, known } = self;
        pods.catch_up(|step| match step {
            Step::Forget => (known.pods, known.referred) = Default::default(),
            Step::Put(changed, pod) => {
                let key = key(&changed.namespace, &changed.name);
                let pod = Pod::read(&pod).filter(|pod| !pod.node.is_empty());
                known.replace_pod(&key, pod);
            }
            Step::Gone(changed) => known.replace_pod(&key(&changed.namespace, &changed.name), None),
        });
        volumes.catch_up(|step| match step {
            Step::Forget => (known.volumes, known.by_secret) = Default::default(),
            Step::Put(changed, volume) => known.replace_volume(&changed.name, Some(Volume::read(&volume))),
            Step::Gone(changed) => known.replace_volume(&changed.name, None),
        });
        let on_nodes = [(attachments, &mut known.attachments), (slices, &mut known.slices)];
        for (followed, all) in on_nodes {
            followed.catch_up(|step| match step {
                Step::Forget => all.clear(),
                Step::Put(changed, object) => {
                    let node = object.get_str(&["spec", "nodeName"]).unwrap_or_default();
                    all.insert(changed.name.clone(), node.to_owned());
                }
                Step::Gone(changed) => drop(all.remove(&changed.name)),
            });
        }
    }
}

impl Known {
    /// Whether a pod of the node refers to something; a secret also by a volume of such a pod.
    fn refers(&self, node: &str, target: Target, key: &str) -> bool {
        let direct = self.referred.get(&(target, key.to_owned()));
        direct.is_some_and(|nodes| nodes.contains_key(node))
            || (target == Target::Secret
                && self.by_secret.get(key).is_some_and(|all| all.iter().any(|one| self.mounts(node, one))))
    }

    /// Whether a pod of the node has a claim that holds a volume.
    fn mounts(&self, node: &str, volume: &str) -> bool {
        self.volumes.get(volume).is_some_and(|volume| self.refers(node, Target::Claim, &volume.claim))
    }

    fn replace_pod(&mut self, key: &str, pod: Option<Pod>) {
        let namespace = key.split_once('/').map_or("", |(namespace, _)| namespace);
        let of = |reference: &(Target, String)| (reference.0, self::key(namespace, &reference.1));
        if let Some(old) = self.pods.remove(key) {
            for reference in old.references.iter().map(of) {
                let Some(nodes) = self.referred.get_mut(&reference) else { continue };
                if let Some(count) = nodes.get_mut(&old.node) {
                    *count -= 1;
                    if *count == 0 {
                        nodes.remove(&old.node);
                    }
                }
                if nodes.is_empty() {
                    self.referred.remove(&reference);
                }
            }
        }
        if let Some(pod) = pod {
            for reference in pod.references.iter().map(of) {
                *self.referred.entry(reference).or_default().entry(pod.node.clone()).or_default() += 1;
            }
            self.pods.insert(key.to_owned(), pod);
        }
    }

    fn replace_volume(&mut self, name: &str, volume: Option<Volume>) {
        if let Some(old) = self.volumes.remove(name) {
            for secret in old.secrets {
                let Some(volumes) = self.by_secret.get_mut(&secret) else { continue };
                volumes.retain(|one| one != name);
                if volumes.is_empty() {
                    self.by_secret.remove(&secret);
                }
            }
        }
        if let Some(volume) = volume {
            for secret in &volume.secrets {
                self.by_secret.entry(secret.clone()).or_default().push(name.to_owned());
            }
            self.volumes.insert(name.to_owned(), volume);
        }
    }
}

impl Pod {
    /// None of one that says nothing of what its node needs.
    fn read(pod: &Object) -> Option<Self> {
        let node = pod.get_str(&["spec", "nodeName"])?.to_owned();
        // The node has said itself what is in the picture of a pod.
        let references = if is_mirror(pod) { Vec::new() } else { references(pod) };
        Some(Self { node, references })
    }
}

impl Volume {
    fn read(volume: &Object) -> Self {
        let spec = volume.get(&["spec"]).unwrap_or(&Value::Null);
        let claim = &spec["claimRef"];
        let namespace = text(claim, "namespace");
        let mut secrets = Vec::new();
        let mut add = |reference: &Value| {
            let own = Some(text(reference, "namespace")).filter(|own| !own.is_empty()).unwrap_or(namespace);
            if !text(reference, "name").is_empty() {
                secrets.push(key(own, text(reference, "name")));
            }
        };
        for kind in ["cephfs", "cinder", "flexVolume", "rbd", "scaleIO", "iscsi", "storageos"] {
            add(&spec[kind]["secretRef"]);
        }
        for reference in ["nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef"] {
            add(&spec["csi"][reference]);
        }
        let file = &spec["azureFile"];
        if !text(file, "secretName").is_empty() {
            let own = Some(text(file, "secretNamespace")).filter(|own| !own.is_empty()).unwrap_or(namespace);
            secrets.push(key(own, text(file, "secretName")));
        }
        secrets.sort();
        secrets.dedup();
        Self { claim: key(namespace, text(claim, "name")), secrets }
    }
}

#[cfg(test)]
mod tests;
