//! What a decision costs: who may do what, with many roles and bindings.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use apiserver::{Attributes, Changed, Collection, Identity, News, Objects, ResourceAttributes};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use model::{Encoded, GroupResource, Object};
use serde_json::{Value, json};

use crate::load;

const GROUP: &str = "rbac.authorization.k8s.io";
const NAMESPACES: usize = 1_000;
const ROUNDS: usize = 20;
const DECISIONS: usize = 10_000;

/// Objects that do not change.
#[derive(Default)]
struct Given(HashMap<&'static str, Arc<Unchanged>>);

#[derive(Default)]
struct Unchanged(Vec<Changed>);

impl Given {
    fn add(&mut self, plural: &'static str, object: Value) -> anyhow::Result<()> {
        let object = Object::from_value(object).context("make an object")?;
        let text = Some(Encoded::stored(Encoded::encode(&object), 1));
        let namespace = object.namespace().unwrap_or_default().to_owned();
        let all = self.0.entry(plural).or_default();
        let all = Arc::get_mut(all).context("nobody looks yet")?;
        all.0.push(Changed { namespace, name: object.name().to_owned(), text });
        Ok(())
    }
}

impl Objects for Given {
    fn collection(&self, resource: &GroupResource) -> Arc<dyn Collection> {
        self.0.get(resource.resource.as_str()).cloned().unwrap_or_default()
    }
}

impl Collection for Unchanged {
    fn version(&self) -> u64 {
        self.0.len() as u64
    }

    fn count(&self) -> usize {
        self.0.len()
    }

    fn since(&self, _: u64) -> News {
        News { version: self.version(), everything: true, changes: self.0.clone() }
    }

    fn changed(&self, _: u64) -> BoxFuture<'_, ()> {
        futures::future::pending().boxed()
    }
}

/// Measures a decision with so many bindings: of one user each, and all of the same group.
pub(crate) fn measure(bindings: &str) -> anyhow::Result<()> {
    let bindings: usize = bindings.parse().context("how many bindings is a number")?;
    let mut given = Given::default();
    let rules = json!([
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["pods", "services"], "verbs": ["get", "list", "watch", "create"]},
    ]);
    given.add("clusterroles", json!({"metadata": {"name": "role"}, "rules": rules}))?;
    for number in 0..bindings {
        let namespace = format!("n-{}", number % NAMESPACES);
        let subjects = json!([
            {"kind": "User", "name": format!("user-{number}")},
            {"kind": "Group", "name": "everybody"},
        ]);
        let binding = json!({
            "metadata": {"name": format!("b-{number}"), "namespace": namespace},
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "role"},
            "subjects": subjects,
        });
        given.add("rolebindings", binding)?;
    }
    let authorizer = kinds::authorization()(Arc::new(given));
    let ask = |user: usize, namespace: usize, verb: &str, groups: &[&str]| {
        let identity = Identity::new(format!("user-{user}"), groups.iter().copied());
        let namespace = format!("n-{namespace}");
        let began = Instant::now();
        for _ in 0..DECISIONS {
            let asked = ResourceAttributes {
                verb,
                resource: "pods",
                namespace: &namespace,
                name: "p",
                ..ResourceAttributes::default()
            };
            let decided = authorizer.decide(black_box(&identity), Attributes::Resource(asked));
            black_box(decided.now_or_never());
        }
        began.elapsed().as_secs_f64() * 1e6 / DECISIONS as f64
    };
    // What is there is read before.
    ask(0, 0, "get", &[]);
    let many = |verb: &str, groups: &[&str]| -> Vec<f64> {
        (0..ROUNDS)
            .map(|round| ask(round * 7 % bindings.max(1), round * 7 % NAMESPACES, verb, groups))
            .collect()
    };
    let five = ["everybody", "a", "b", "c", "d"];
    load::row("a decision that allows, by a binding of the user", "µs", &many("get", &[]));
    load::row("a decision that allows, by a group that all are for", "µs", &many("get", &five));
    load::row("a decision that nothing allows, in five groups", "µs", &many("delete", &five));
    Ok(())
}
