//! What steps of builds came to: kept as safely as names are, with the layers that it needs and no longer.

mod support;

use base::cancel::Cancel;
use image::{Layer, NewResult, Store};
use oci::Digest;
use support::{Archive, TestStore};

fn layer(test: &TestStore, parent: Option<&Layer>, name: &str) -> Layer {
    let archive = Archive::new().file(name, name.as_bytes()).finish();
    test.store.layer_unpack(parent.map(Layer::chain_id), &archive[..]).expect("unpack")
}

/// The names in a directory that is open.
fn listed(directory: &impl std::os::fd::AsRawFd) -> Vec<String> {
    let path = format!("/proc/self/fd/{}", directory.as_raw_fd());
    let entries = std::fs::read_dir(path).expect("list").flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn key(text: &str) -> Digest {
    Digest::sha256_of(text.as_bytes())
}

fn put(store: &Store, name: &str, layer: Option<&Layer>) {
    store.result_put(NewResult {
        key: key(name),
        outputs: &[layer],
        description: name,
        kind: "regular",
        size: 3,
        created: base::Timestamp::UNIX_EPOCH,
        parents: vec![key("parent")],
    });
}

fn names(test: &TestStore) -> Vec<String> {
    test.store.result_list().into_iter().map(|result| result.description).collect()
}

#[test]
fn a_result_and_its_layers_outlive_the_process() {
    let test = TestStore::new();
    let below = layer(&test, None, "below");
    let above = layer(&test, Some(&below), "above");
    put(&test.store, "one", Some(&above));
    put(&test.store, "empty", None);
    let used = "2026-01-02T03:04:05Z".parse().expect("a time");
    test.store.result_use(&key("one"), used).expect("it is there");
    let before = test.store.result_list();
    drop((below, above));
    test.store.result_keep().expect("keep");

    let test = test.reopen();
    assert_eq!(test.store.result_list(), before);
    let one = before.iter().find(|result| result.description == "one").expect("the one");
    assert_eq!(
        (one.uses, one.last_used, &one.parents, one.shared),
        (1, Some(used), &vec![key("parent")], false)
    );
    let held = test.store.result_use(&key("one"), used).expect("it is there");
    let chain = test.store.layer_chain(held[0].as_ref().expect("a layer"));
    assert_eq!(chain.len(), 2);
    assert!(test.store.result_use(&key("none"), used).is_none());
    assert!(matches!(test.store.result_use(&key("empty"), used).as_deref(), Some([None])));
}

#[test]
fn layers_that_only_a_result_keeps_go_with_it() {
    let test = TestStore::new();
    let below = layer(&test, None, "below");
    let above = layer(&test, Some(&below), "above");
    put(&test.store, "below", Some(&below));
    put(&test.store, "above", Some(&above));
    drop((below, above));
    assert_eq!(test.names("layers").len(), 2);
    assert_eq!(test.store.disk_usage().layers, 0, "they are told as the build cache's");
    test.store.result_remove(&[key("above"), key("none")]).expect("remove");
    assert_eq!((test.names("layers").len(), names(&test)), (1, vec!["below".to_owned()]));
    test.store.result_remove(&[key("below")]).expect("remove");
    test.wait_until_clean();
    assert_eq!((test.names("layers").len(), test.names("diffs").len()), (0, 0));
    let test = test.reopen();
    assert_eq!(names(&test), Vec::<String>::new());
}

/// An earlier program passes over results: what only they keep is gone after it was opened by that.
#[test]
fn a_result_whose_layers_are_gone_is_forgotten() {
    let test = TestStore::new();
    let only = layer(&test, None, "only");
    put(&test.store, "one", Some(&only));
    put(&test.store, "empty", None);
    let directory = test.root().join("layers").join(only.chain_id().hex());
    drop(only);
    test.store.result_keep().expect("keep");
    let TestStore { store, dir } = test;
    drop(store);
    std::fs::remove_dir_all(&directory).expect("remove");
    let store = Store::open(&dir.path().join("image")).expect("open");
    let test = TestStore { store, dir };
    assert_eq!(names(&test), ["empty"]);
    assert!(test.store.troubles().is_empty(), "{:?}", test.store.troubles());
}

#[test]
fn layers_are_put_on_others_and_looked_into_without_an_image() {
    let test = TestStore::new();
    let (one, two) = (layer(&test, None, "one"), layer(&test, None, "two"));
    let both = test.store.layer_stack_on(Some(&one), &two, &Cancel::default()).expect("stack");
    assert_eq!(test.names("diffs").len(), 2, "nothing was copied");
    let root = test.store.chain_mount(Some(both.chain_id())).expect("mount");
    let names = listed(&root);
    assert_eq!(names, ["one", "two"]);
    let nothing = test.store.chain_mount(None).expect("mount");
    assert_eq!(listed(&nothing), Vec::<String>::new());
    assert!(test.store.chain_mount(Some(&key("none"))).is_err());
}
