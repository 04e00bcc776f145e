//! What is looked at, counted: with how many others there are it must not grow.

use base::{SystemRandom, Timestamp};

use super::*;
use crate::container::{ContainerRecord, ContainerSpec, ResolvedSpec};
use crate::sandbox::SandboxSpec;

const UID: &str = "io.kubernetes.pod.uid";

fn labels(pod: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(UID.to_owned(), pod.to_owned()), ("app".to_owned(), "web".to_owned())])
}

fn container(registry: &Registry, name: &str, sandbox: AnySandbox, pod: &str) -> ContainerId {
    let id = ContainerId::random(&SystemRandom);
    let record = ContainerRecord {
        id: id.clone(),
        name: name.to_owned(),
        created: Timestamp::UNIX_EPOCH,
        sandbox: sandbox.id.clone(),
        spec: ContainerSpec::default(),
        kept: false,
        resolved: ResolvedSpec { labels: labels(pod), ..ResolvedSpec::default() },
        life: Default::default(),
        health: None,
        mounts: Vec::new(),
        anonymous_volumes: Vec::new(),
        networks: Vec::new(),
        layers: Default::default(),
        project: None,
        made_in: String::new(),
        boot: String::new(),
    };
    registry.add(Arc::new(ContainerCell::new(record, sandbox))).expect("its name is free");
    id
}

/// A pod of three containers.
fn pod(registry: &Registry, pod: &str) -> (SandboxId, Vec<ContainerId>) {
    let spec = SandboxSpec { labels: labels(pod), ..SandboxSpec::default() };
    let sandbox = SharedSandbox::new(SandboxId::random(&SystemRandom), Timestamp::UNIX_EPOCH, spec);
    registry.sandbox_add(Arc::clone(&sandbox));
    let named = |name: &str| {
        container(registry, &format!("{name}-{pod}"), AnySandbox::Shared(Arc::clone(&sandbox)), pod)
    };
    let mut containers = ["a", "b", "c"].map(named).to_vec();
    containers.sort();
    (sandbox.id.clone(), containers)
}

fn ids(cells: &[Arc<ContainerCell>]) -> Vec<ContainerId> {
    cells.iter().map(|cell| cell.id.clone()).collect()
}

#[test]
fn who_looks_for_one_pod_looks_at_that_alone_however_many_there_are() {
    let registry = Registry::default();
    let (sandbox, containers) = pod(&registry, "mine");
    for number in 0..1000 {
        pod(&registry, &format!("other-{number}"));
    }
    let of_pod = [format!("{UID}=mine"), "app=web".to_owned()];
    let sandboxes = registry.sandboxes_among(&of_pod);
    assert_eq!(
        sandboxes.iter().map(|cell| cell.id.clone()).collect::<Vec<_>>(),
        std::slice::from_ref(&sandbox)
    );
    let among = |sandbox, labels| ids(&registry.among(Among { sandbox, labels }));
    assert_eq!(among(None, &of_pod), containers);
    assert_eq!(among(Some(&sandbox), &[]), containers);
    assert_eq!(ids(&registry.of_sandbox(&sandbox)), containers);
    assert_eq!(registry.among(Among { sandbox: None, labels: &["app=web".to_owned()] }).len(), 3003);
    assert_eq!((registry.all().len(), registry.sandboxes().len()), (3003, 1001));
    let of_none = [format!("{UID}=none")];
    assert!(registry.among(Among { sandbox: None, labels: &of_none }).is_empty());

    registry.forget(&containers[1]);
    assert_eq!(among(None, &of_pod), [containers[0].clone(), containers[2].clone()]);
    assert_eq!(ids(&registry.of_sandbox(&sandbox)), [containers[0].clone(), containers[2].clone()]);
    registry.forget(&containers[0]);
    registry.forget(&containers[2]);
    registry.sandbox_forget(&sandbox);
    assert!(among(None, &of_pod).is_empty() && registry.of_sandbox(&sandbox).is_empty());
    assert!(registry.sandboxes_among(&of_pod).is_empty());
    assert_eq!((registry.all().len(), registry.sandboxes().len()), (3000, 1000));
}

#[test]
fn a_container_goes_with_all_its_names() {
    let registry = Registry::default();
    let (_, containers) = pod(&registry, "mine");
    let taken = registry.get(&containers[0]).expect("it is known").record().name.clone();
    registry.take_name(&containers[0], "new").expect("the name is free");
    assert_eq!(registry.find("new").expect("found"), containers[0]);
    assert_eq!(registry.find(&taken).expect("found"), containers[0]);
    registry.give_up_name(&containers[0], &taken);
    registry.find(&taken).expect_err("given up");
    registry.take_name(&containers[0], "newer").expect("the name is free");
    registry.forget(&containers[0]);
    for name in ["new", "newer"] {
        registry.find(name).expect_err("it went with its container");
        registry.take_name(&containers[1], name).expect("the name is free");
    }
    registry.take_name(&containers[0], "late").expect_err("there is no such container");
}
