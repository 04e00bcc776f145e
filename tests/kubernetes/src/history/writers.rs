//! What the writers do, each one step at a time.

use serde_json::{Value, json};

use super::{ADDRESSES, Api, FIGHT, Gone, Is, MARK, OWNERS, PORTS, QUOTAS};
use crate::load::Dice;

/// A step of a writer whose objects' names begin with a prefix. It ends with the daemon.
pub(super) type Step = fn(&mut Api, &str, &mut Dice) -> Result<(), Gone>;

/// Twelve writers.
pub(super) fn all() -> [Step; 12] {
    [
        |api, prefix, dice| counted(api, QUOTAS[0], prefix, dice),
        |api, prefix, dice| counted(api, QUOTAS[0], prefix, dice),
        |api, prefix, dice| counted(api, QUOTAS[1], prefix, dice),
        |api, prefix, dice| counted(api, QUOTAS[1], prefix, dice),
        fought_for,
        fought_for,
        fought_for,
        fought_for,
        held,
        owned,
        owned,
        spaces,
    ]
}

fn mark(dice: &mut Dice) -> String {
    format!("m{}", dice.below(1 << 40))
}

/// Makes and removes what quotas count.
fn counted(api: &mut Api, namespace: &str, prefix: &str, dice: &mut Dice) -> Result<(), Gone> {
    let plural = ["configmaps", "services", "pods"][dice.below(3) as usize];
    let path = format!("/api/v1/namespaces/{namespace}/{plural}/{prefix}-{}", dice.below(6));
    if api.history.is_there(&path) {
        return api.remove(&path).map(drop);
    }
    let object = match plural {
        "services" => json!({"spec": {"ports": [{"port": 80}]}}),
        // Nobody runs it.
        "pods" => json!({"spec": {
            "schedulingGates": [{"name": "example.com/never"}],
            "containers": [{"name": "main", "image": "x", "resources": {"requests": {"cpu": "100m"}}}],
        }}),
        _ => json!({}),
    };
    api.make(&path, object, &mark(dice), None).map(drop)
}

/// Fights for a few addresses and ports.
fn fought_for(api: &mut Api, prefix: &str, dice: &mut Dice) -> Result<(), Gone> {
    let path = format!("/api/v1/namespaces/{FIGHT}/services/{prefix}-{}", dice.below(3));
    if !api.history.is_there(&path) {
        let mut spec = json!({"type": "NodePort", "ports": [{"port": 80}]});
        if dice.below(3) > 0 {
            let count = u64::from(PORTS.end - PORTS.start);
            spec["ports"][0]["nodePort"] = (u64::from(PORTS.start) + dice.below(count)).into();
        }
        if dice.below(3) > 0 {
            let count = u64::from(ADDRESSES.end - ADDRESSES.start);
            spec["clusterIP"] = address(u64::from(ADDRESSES.start) + dice.below(count)).into();
        }
        return api.make(&path, json!({"spec": spec}), &mark(dice), None).map(drop);
    }
    if dice.below(2) == 0 {
        return api.remove(&path).map(drop);
    }
    // Lets go of a port, or takes one.
    let mark = mark(dice);
    let kind = if dice.below(2) == 0 { "ClusterIP" } else { "NodePort" };
    let change = json!({"metadata": {"annotations": {MARK: mark}}, "spec": {"type": kind}});
    api.write("PATCH", &path, &change, Is::There(mark), None).map(drop)
}

/// An address that is fought for, by its last part.
pub(super) fn address(last: u64) -> String {
    format!("10.43.9.{last}")
}

/// Makes what is held by a finalizer, and lets it go.
fn held(api: &mut Api, prefix: &str, dice: &mut Dice) -> Result<(), Gone> {
    let path = format!("/api/v1/namespaces/{OWNERS}/configmaps/{prefix}-held-{}", dice.below(4));
    match api.history.0.get(&path).map(|known| known.acknowledged.clone()) {
        Some(Is::There(_)) => api.write("DELETE", &path, &Value::Null, Is::Going, None).map(drop),
        Some(Is::Going) => {
            let change = json!({"metadata": {"finalizers": null}});
            api.write("PATCH", &path, &change, Is::Absent, None).map(drop)
        }
        _ => {
            let object = json!({"metadata": {"finalizers": ["example.com/hold"]}});
            api.make(&path, object, &mark(dice), None).map(drop)
        }
    }
}

/// Makes owners and what is theirs, and removes the owners.
fn owned(api: &mut Api, prefix: &str, dice: &mut Dice) -> Result<(), Gone> {
    let maps = format!("/api/v1/namespaces/{OWNERS}/configmaps");
    let owner = format!("{maps}/{prefix}-owner-{}", dice.below(u64::MAX) % 1_000_000);
    let Some(made) = api.make(&owner, json!({}), &mark(dice), None)? else { return Ok(()) };
    let metadata = &made["metadata"];
    let reference = json!([{
        "apiVersion": "v1", "kind": "ConfigMap", "name": metadata["name"], "uid": metadata["uid"],
    }]);
    for number in 0..2 {
        let object = json!({"metadata": {"ownerReferences": reference}});
        api.make(&format!("{owner}-{number}"), object, &mark(dice), Some(&owner))?;
    }
    if dice.below(4) > 0 {
        api.remove(&owner)?;
    }
    Ok(())
}

/// Makes namespaces with something in them, and removes them.
fn spaces(api: &mut Api, prefix: &str, dice: &mut Dice) -> Result<(), Gone> {
    let space = format!("/api/v1/namespaces/{prefix}-{}", dice.below(u64::MAX) % 1_000_000);
    if api.make(&space, json!({}), &mark(dice), None)?.is_none() {
        return Ok(());
    }
    for number in 0..2 {
        api.make(&format!("{space}/configmaps/{number}"), json!({}), &mark(dice), Some(&space))?;
        let service = json!({"spec": {"ports": [{"port": 80}]}});
        api.make(&format!("{space}/services/s{number}"), service, &mark(dice), Some(&space))?;
    }
    if dice.below(4) > 0 {
        api.write("DELETE", &space, &Value::Null, Is::Going, None)?;
    }
    Ok(())
}
