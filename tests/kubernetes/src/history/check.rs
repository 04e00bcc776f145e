//! What must be so when the daemon is there again and nobody writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use docker_tests::Daemon;
use serde_json::{Value, json};

use super::writers::address;
use super::{ADDRESSES, Api, FIGHT, History, Is, MARK, OWNERS, PORTS, QUOTAS, connect};

/// A daemon whose state was found to agree with itself and with what was acknowledged.
pub struct Checked;

impl Checked {
    /// Proves it; what a request under way left behind is taken as settled.
    pub fn all(daemon: &Daemon, history: &mut History) -> Self {
        let connect = connect(daemon, &Arc::default());
        std::thread::scope(|scope| {
            // A thread of its own, which enters the daemon's network.
            let checking = scope.spawn(move || {
                let api = connect();
                acknowledged(&api, history);
                allocations(&api);
                owners(&api);
                QUOTAS.iter().for_each(|namespace| quota(&api, namespace));
            });
            if let Err(panic) = checking.join() {
                std::panic::resume_unwind(panic);
            }
        });
        Self
    }
}

fn get(api: &Api, path: &str) -> Option<Value> {
    match api.send("GET", path, &Value::Null) {
        Ok((200, found)) => Some(found),
        Ok((404, _)) => None,
        Ok((code, answer)) => panic!("GET {path}: {code} {answer}"),
        Err(super::Gone) => panic!("GET {path}: the daemon is gone"),
    }
}

fn items(api: &Api, path: &str) -> Vec<Value> {
    let list = get(api, path).expect("there is such a list");
    list["items"].as_array().cloned().unwrap_or_default()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn seen(object: Option<&Value>) -> Is {
    match object {
        None => Is::Absent,
        Some(object) if !object["metadata"]["deletionTimestamp"].is_null() => Is::Going,
        Some(object) => Is::There(text(&object["metadata"]["annotations"][MARK])),
    }
}

/// Every acknowledged write is there.
fn acknowledged(api: &Api, history: &mut History) {
    let mut wrong = Vec::new();
    let paths: Vec<String> = history.0.keys().cloned().collect();
    for path in paths {
        let known = history.0[&path].clone();
        let is = seen(get(api, &path).as_ref());
        // What goes with another that is gone, or goes, goes in its time.
        let with = known.with.as_ref().map(|with| seen(get(api, with).as_ref()));
        let is_namespace = path.matches('/').count() == 4;
        let goes = |of: &Is| matches!(of, Is::Absent | Is::Going);
        // A namespace that is to go goes when what is in it has gone.
        let has_gone = is_namespace
            && is == Is::Absent
            && (known.acknowledged == Is::Going || known.under_way == Some(Is::Going));
        if with.as_ref().is_some_and(goes) || has_gone {
            let last = if is_namespace { Is::Absent } else { wait_until_absent(api, &path) };
            settle(history, &path, last);
            continue;
        }
        if is != known.acknowledged && known.under_way.as_ref() != Some(&is) {
            wrong.push(format!(
                "{path}: is {is:?}, was acknowledged as {:?}, then {:?}",
                known.acknowledged, known.under_way
            ));
        }
        settle(history, &path, is);
    }
    assert!(
        wrong.is_empty(),
        "of {} objects {} are wrong:\n{}",
        history.len(),
        wrong.len(),
        wrong.join("\n")
    );
}

fn settle(history: &mut History, path: &str, is: Is) {
    let known = history.0.get_mut(path).expect("it is known");
    (known.acknowledged, known.under_way) = (is, None);
}

fn wait_until_absent(api: &Api, path: &str) -> Is {
    testkit::wait_until(&format!("{path} to go"), || match get(api, path) {
        None => Ok(()),
        Some(found) => Err(found.to_string()),
    });
    Is::Absent
}

/// Each address and each port is one service's, is told of, and is taken; what no service has is free.
fn allocations(api: &Api) {
    testkit::wait_until("the addresses to be those of the services", || {
        let services = items(api, "/api/v1/services");
        let mut of_services = BTreeMap::new();
        for service in &services {
            let name =
                format!("{}/{}", text(&service["metadata"]["namespace"]), text(&service["metadata"]["name"]));
            if let Some(address) = service["spec"]["clusterIP"].as_str().filter(|address| *address != "None")
            {
                let other = of_services.insert(address.to_owned(), name.clone());
                assert_eq!(other, None, "{address} is also of {name}");
            }
        }
        let told: BTreeMap<String, String> = items(api, "/apis/networking.k8s.io/v1/ipaddresses")
            .iter()
            .map(|entry| {
                let parent = &entry["spec"]["parentRef"];
                let name = format!("{}/{}", text(&parent["namespace"]), text(&parent["name"]));
                (text(&entry["metadata"]["name"]), name)
            })
            .collect();
        if told == of_services { Ok(()) } else { Err(format!("{told:?} {of_services:?}")) }
    });
    let services = items(api, "/api/v1/services");
    let (mut ports, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for service in &services {
        addresses.insert(text(&service["spec"]["clusterIP"]));
        for port in service["spec"]["ports"].as_array().into_iter().flatten() {
            if let Some(port) = port["nodePort"].as_u64() {
                assert!(ports.insert(port), "two have the port {port}");
            }
        }
    }
    let probe = |spec: Value, is_taken: bool| {
        let service = json!({"metadata": {"name": "probe"}, "spec": spec});
        let path = format!("/api/v1/namespaces/{FIGHT}/services?dryRun=All");
        testkit::wait_until("what is free to be free", || {
            let Ok((code, answer)) = api.send("POST", &path, &service) else { panic!("the daemon is gone") };
            match (code, is_taken) {
                (201, false) | (422, true) => Ok(()),
                (201, true) => panic!("what is taken is given: {service}"),
                _ => Err(format!("{code} {answer}")),
            }
        });
    };
    for port in PORTS.map(u64::from) {
        let spec = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]});
        probe(spec, ports.contains(&port));
    }
    for last in ADDRESSES.map(u64::from) {
        let spec = json!({"clusterIP": address(last), "ports": [{"port": 80}]});
        probe(spec, addresses.contains(&address(last)));
    }
}

/// Nothing is there whose owner is not.
fn owners(api: &Api) {
    testkit::wait_until("what nobody owns any more to go", || {
        let maps = items(api, &format!("/api/v1/namespaces/{OWNERS}/configmaps"));
        let uids: BTreeSet<String> = maps.iter().map(|map| text(&map["metadata"]["uid"])).collect();
        let left: Vec<String> = maps
            .iter()
            .filter(|map| {
                let owners = map["metadata"]["ownerReferences"].as_array();
                owners.is_some_and(|owners| !owners.iter().any(|owner| uids.contains(&text(&owner["uid"]))))
            })
            .map(|map| text(&map["metadata"]["name"]))
            .collect();
        if left.is_empty() { Ok(()) } else { Err(left) }
    });
}

/// A quota counts what there is: at once no less, and soon no more.
fn quota(api: &Api, namespace: &str) {
    let path = |plural: &str| format!("/api/v1/namespaces/{namespace}/{plural}");
    let used = || -> BTreeMap<String, u64> {
        let quota = get(api, &format!("{}/all", path("resourcequotas"))).expect("the quota is there");
        let used = quota["status"]["used"].as_object().cloned().unwrap_or_default();
        used.into_iter()
            .map(|(name, amount)| (name, thousandths(amount.as_str().expect("an amount"))))
            .collect()
    };
    let count = |plural: &str| items(api, &path(plural)).len() as u64 * 1000;
    let pods = count("pods");
    let there = BTreeMap::from([
        ("count/configmaps".to_owned(), count("configmaps")),
        ("pods".to_owned(), pods),
        ("requests.cpu".to_owned(), pods / 10),
        ("services".to_owned(), count("services")),
    ]);
    let first = used();
    for (name, amount) in &there {
        assert!(first.get(name) >= Some(amount), "{namespace}: {name}: {first:?} counts less than {there:?}");
    }
    testkit::wait_until("a quota to count what there is", || {
        let used = used();
        if used == there { Ok(()) } else { Err(format!("{namespace}: counts {used:?} of {there:?}")) }
    });
}

/// An amount in thousandths.
fn thousandths(amount: &str) -> u64 {
    match amount.strip_suffix('m') {
        Some(thousandths) => thousandths.parse().expect("a number"),
        None => amount.parse::<u64>().expect("a number") * 1000,
    }
}
