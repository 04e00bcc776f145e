//! Every pod runs as a service account and gets its token mounted.

use apiserver::{Admission, Admitting, Context, Result, Write, at_once};
use model::{GroupResource, Object, Status};
use serde_json::{Map, Value, json};

/// Where the token is mounted.
const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Tokens are asked for so long; an odd number, by which Kubernetes' own are known.
const TOKEN_SECONDS: i64 = 3607;
/// Pods that a node runs without being told by the server.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Gives every pod its account and the token of it.
pub(super) struct ServiceAccount;

impl Admission for ServiceAccount {
    fn mutate<'a>(&'a self, write: &'a Write<'a>, object: &'a mut Object) -> Admitting<'a> {
        at_once(if write.makes("", "pods") { admit(&write.context, object) } else { Ok(()) })
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

/// Sets the account and mounts its token.
fn admit(context: &Context<'_>, pod: &mut Object) -> Result<()> {
    if pod.annotation(MIRROR).is_some() {
        return Ok(());
    }
    let name = name(pod).to_owned();
    let Some(account) = context.find(&accounts(), context.namespace(), &name) else {
        // Admission speaks of one.
        let one = GroupResource { resource: "serviceaccount".to_owned(), ..accounts() };
        let missing = Status::not_found(&one, &name);
        let why =
            format!("error looking up service account {}/{name}: {}", context.namespace(), missing.message);
        return Err(context.forbidden(pod, why));
    };
    pod.set(&["spec", "serviceAccountName"], name.as_str());
    pod.set(&["spec", "serviceAccount"], name.as_str());
    if pod.get_list(&["spec", "imagePullSecrets"]).is_empty() {
        let secrets = account.get_list(&["imagePullSecrets"]);
        if !secrets.is_empty() {
            pod.set(&["spec", "imagePullSecrets"], secrets.to_vec());
        }
    }
    let wanted = pod
        .get(&["spec", "automountServiceAccountToken"])
        .or_else(|| account.get(&["automountServiceAccountToken"]))
        .and_then(Value::as_bool)
        .unwrap_or(true);
    if wanted {
        mount(context, pod);
    }
    Ok(())
}

/// The default account of a new namespace is about to be made: worth waiting for.
pub(crate) fn awaits(context: &Context<'_>, pod: &Object) -> Option<GroupResource> {
    let missing = name(pod) == "default"
        && pod.annotation(MIRROR).is_none()
        && !context.exists(&accounts(), context.namespace(), "default");
    missing.then(accounts)
}

fn accounts() -> GroupResource {
    GroupResource::new("", "serviceaccounts")
}

fn name(pod: &Object) -> &str {
    ["serviceAccountName", "serviceAccount"]
        .iter()
        .filter_map(|field| pod.get_str(&["spec", field]))
        .find(|name| !name.is_empty())
        .unwrap_or("default")
}

fn mount(context: &Context<'_>, pod: &mut Object) {
    let volumes = pod.get_list(&["spec", "volumes"]).to_vec();
    let own = volumes.iter().filter_map(|v| v["name"].as_str()).find(|n| n.starts_with("kube-api-access-"));
    let volume = match own {
        Some(name) => name.to_owned(),
        None => model::names::generate("kube-api-access-", context.random()),
    };
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        let Some(Value::Array(containers)) = pod.fields_mut().get_mut("spec").and_then(|s| s.get_mut(list))
        else {
            continue;
        };
        for container in containers.iter_mut().filter_map(Value::as_object_mut) {
            mounted |= mount_into(container, &volume);
        }
    }
    if mounted && own.is_none() {
        let mut volumes = volumes;
        volumes.push(json!({"name": volume, "projected": {"defaultMode": 0o644, "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [
                {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
            ]}},
        ]}}));
        pod.set(&["spec", "volumes"], volumes);
    }
}

/// Mounts the volume unless the container has something of its own at that place.
fn mount_into(container: &mut Map<String, Value>, volume: &str) -> bool {
    let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
    if mounts.is_null() {
        *mounts = json!([]);
    }
    let Some(mounts) = mounts.as_array_mut() else { return false };
    if mounts.iter().any(|m| m["mountPath"] == MOUNT) {
        return false;
    }
    mounts.push(json!({"name": volume, "readOnly": true, "mountPath": MOUNT}));
    true
}
