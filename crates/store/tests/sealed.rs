//! The store in front of another that seals values: the suite that any store passes, and what is its own.
#![forbid(unsafe_code)]

mod suite;

use std::path::Path;
use std::sync::Arc;

use base::SystemClock;
use bytes::Bytes;
use store::{
    Embedded, Error, KeyRange, Opened, Options, Range, Seal, SealError, Sealed, Store, StoreExt, Watch,
    WatchMessage,
};

suite::run_suite!(empty_store);

async fn empty_store() -> (tempfile::TempDir, suite::Subject) {
    let dir = tempfile::tempdir().expect("temporary directory");
    // The suite asks for values that are as large as may be: nothing is added.
    let store = Sealed::new(Arc::new(open(dir.path())), Arc::new(Masked { mark: None }));
    (dir, Arc::new(store))
}

fn open(path: &Path) -> Embedded {
    Embedded::open(path, Options::default(), Arc::new(SystemClock::new())).expect("open the store")
}

/// Adds a number to each byte. With a mark, values of it begin with that; without, all are its own.
#[derive(Debug)]
struct Masked {
    mark: Option<u8>,
}

impl Masked {
    fn mask(&self, value: &[u8]) -> Vec<u8> {
        value.iter().map(|byte| byte ^ 0x55 ^ self.mark.unwrap_or_default()).collect()
    }
}

impl Seal for Masked {
    fn keys(&self) -> Vec<KeyRange> {
        vec![KeyRange::prefix(if self.mark.is_some() { "secret/" } else { "" })]
    }

    fn form(&self) -> Bytes {
        Bytes::from(format!("{:?}", self.mark))
    }

    fn covers(&self, key: &[u8]) -> bool {
        self.mark.is_none() || key.starts_with(b"secret/")
    }

    fn seal(&self, _key: &[u8], value: &[u8]) -> Bytes {
        let mark = self.mark.map(|mark| vec![0xff, mark]).unwrap_or_default();
        [mark, self.mask(value)].concat().into()
    }

    fn open(&self, _key: &[u8], kept: &Bytes) -> Result<Opened, SealError> {
        let opened = |value, is_current| Ok(Opened { value, is_current });
        match (self.mark, &kept[..]) {
            (None, all) => opened(self.mask(all).into(), true),
            (Some(mark), [0xff, found, rest @ ..]) if *found <= mark => {
                opened(Masked { mark: Some(*found) }.mask(rest).into(), *found == mark)
            }
            (Some(_), [0xff, found, ..]) => Err(SealError(format!("the mark {found} is unknown"))),
            (Some(_), _) => opened(kept.clone(), false),
        }
    }
}

/// Whether any file below `path` has `text` in it.
fn is_found(path: &Path, text: &str) -> bool {
    std::fs::read_dir(path).expect("read the directory").any(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            return is_found(&path, text);
        }
        let bytes = std::fs::read(&path).expect("read a file");
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

async fn value(store: &Sealed, key: &str) -> Bytes {
    store.get(key).await.expect("read").expect("it is there").value.clone()
}

#[tokio::test]
async fn nothing_is_left_on_disk_of_what_was_kept_in_another_form() {
    const WORD: &str = "once upon a time, in clear";
    let dir = tempfile::tempdir().expect("temporary directory");
    let plain = open(dir.path());
    for key in ["open/a", "secret/a", "secret/b", "secret/c"] {
        plain.put(key, format!("{WORD} {key}")).await.expect("put");
    }
    // Some of it is history, some in a snapshot, some was written over where space is kept.
    plain.purge().await.expect("purge");
    plain.put("secret/a", format!("{WORD} secret/a, again")).await.expect("put");
    plain.delete("secret/c").await.expect("delete");
    drop(plain);
    for name in ["secret/a", "secret/b"] {
        assert!(is_found(dir.path(), &format!("{WORD} {name}")), "{name} is looked for where it is");
    }

    let sealed = |mark| Sealed::new(Arc::new(open(dir.path())), Arc::new(Masked { mark: Some(mark) }));
    let store = sealed(1);
    let revision = store.revision().await.expect("revision");
    assert_eq!(store.renew().await.expect("renew"), 2);
    let then = store.revision().await.expect("revision");
    assert_eq!(store.renew().await.expect("renew"), 0, "what is in today's form is left alone");
    assert_eq!(store.revision().await.expect("revision"), then, "and so is the store");
    assert!(!is_found(dir.path(), &format!("{WORD} secret")), "nothing of it is left");
    assert!(is_found(dir.path(), &format!("{WORD} open/a")), "the others are not sealed");
    assert_eq!(value(&store, "secret/a").await, format!("{WORD} secret/a, again"));
    let then = store.range(Range::new(KeyRange::prefix("")).at(revision)).await;
    assert!(matches!(then, Err(Error::Compacted { .. })), "{then:?}");
    store.put("secret/d", format!("{WORD} secret/d")).await.expect("put");
    drop(store);

    // Another key: what there is is read, and brought under it.
    let store = sealed(2);
    assert_eq!(value(&store, "secret/d").await, format!("{WORD} secret/d"));
    assert_eq!(store.renew().await.expect("renew"), 3);
    assert_eq!(value(&store, "secret/b").await, format!("{WORD} secret/b"));
    drop(store);
    assert!(!is_found(dir.path(), &format!("{WORD} secret")), "nor after that");

    // Without the key nothing is given, and nothing is lost.
    let store = sealed(1);
    let error = store.renew().await.expect_err("the key is not there");
    let told = base::error::chain(&error).to_string();
    assert!(told.contains("secret/a") && told.contains("the mark 2 is unknown"), "{told}");
    assert!(store.get("secret/a").await.is_err());
    assert!(store.get("open/a").await.expect("read").is_some());
}

#[tokio::test]
async fn a_crash_between_writing_anew_and_wiping_is_made_up_for() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let plain = open(dir.path());
    plain.put("secret/a", "once upon a time").await.expect("put");
    let seal = Masked { mark: Some(1) };
    // As renewing leaves it half done, and what was deleted before anybody sealed anything.
    plain.put("secret/gone", "never to be found").await.expect("put");
    plain.delete("secret/gone").await.expect("delete");
    plain.put("secret/a", seal.seal(b"secret/a", b"once upon a time")).await.expect("put");
    assert!(is_found(dir.path(), "once upon a time"));
    let store = Sealed::new(Arc::new(plain), Arc::new(seal));
    assert_eq!(store.renew().await.expect("renew"), 0);
    assert!(!is_found(dir.path(), "once upon a time"));
    assert!(!is_found(dir.path(), "never to be found"));
}

#[tokio::test]
async fn a_watch_tells_what_was_set_and_what_was_there_before() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let store = Sealed::new(Arc::new(open(dir.path())), Arc::new(Masked { mark: Some(1) }));
    let mut watcher = store.watch(Watch::new(KeyRange::prefix(""))).await.expect("watch");
    store.put("secret/a", "one").await.expect("put");
    store.put("secret/a", "two").await.expect("put");
    store.delete("secret/a").await.expect("delete");
    let mut told = Vec::new();
    for _ in 0..3 {
        let WatchMessage::Event(event) = watcher.next().await.expect("an event") else { panic!("no event") };
        let before = event.previous.map(|kv| kv.value.clone()).unwrap_or_default();
        told.push((event.kv.value.clone(), before));
    }
    let bytes = Bytes::from_static;
    let expected = [("one", ""), ("two", "one"), ("", "two")];
    assert_eq!(told, expected.map(|(is, was)| (bytes(is.as_bytes()), bytes(was.as_bytes()))));
}

#[tokio::test]
async fn a_value_of_which_another_has_the_key_fails_nobody_but_who_asks_for_it_alone() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let inner = Arc::new(open(dir.path()));
    let of = |mark| Sealed::new(inner.clone(), Arc::new(Masked { mark: Some(mark) }));
    let (ours, others) = (of(1), of(2));
    let mut watcher = ours.watch(Watch::new(KeyRange::prefix(""))).await.expect("watch");
    for (store, key) in
        [(&ours, "secret/a"), (&others, "secret/b"), (&ours, "secret/c"), (&others, "secret/c")]
    {
        store.put(key, format!("of {key}")).await.expect("put");
    }
    let texts = |items: &[Arc<store::KeyValue>]| -> Vec<String> {
        let text = |value: &Bytes| String::from_utf8_lossy(value).into_owned();
        items.iter().map(|kv| format!("{}={}", kv.key_str(), text(&kv.value))).collect()
    };
    let all = Range::new(KeyRange::prefix("secret/"));
    let found = ours.range(all.clone()).await.expect("one value fails none of the others");
    assert_eq!(
        (texts(&found.items), found.count),
        (vec!["secret/a=of secret/a".into(), "secret/b=".into(), "secret/c=".into()], 3)
    );
    // Page by page, one of which has nothing that can be read.
    let page = ours.range(all.clone().limit(1)).await.expect("read");
    assert!(page.more);
    let rest = Range::new(KeyRange::prefix("secret/").after("secret/a")).limit(1);
    let page = ours.range(rest).await.expect("read");
    assert_eq!((texts(&page.items), page.more), (vec!["secret/b=".into()], true));
    let found = others.range(all).await.expect("read");
    assert_eq!(texts(&found.items)[1], "secret/b=of secret/b");
    let error = ours.get("secret/b").await.expect_err("this very one");
    assert!(base::error::chain(&error).to_string().contains("the mark 2 is unknown"), "{error}");
    ours.renew().await.expect_err("the start does not go on without the key");

    let mut told = Vec::new();
    for _ in 0..4 {
        let WatchMessage::Event(event) = watcher.next().await.expect("an event") else { panic!("no event") };
        told.extend(texts(&[event.kv]));
    }
    assert_eq!(told, ["secret/a=of secret/a", "secret/b=", "secret/c=of secret/c", "secret/c="]);
    let put = store::Put::new("secret/b", "ours");
    let done = ours.txn(
        store::Txn::new()
            .then(store::Op::Get(Range::new(KeyRange::key("secret/c"))))
            .then(store::Op::Put(put)),
    );
    let done = done.await.expect("done");
    assert!(
        matches!(&done.results[0], store::OpResult::Range(range) if texts(&range.items) == ["secret/c="])
    );
    assert!(
        matches!(&done.results[1], store::OpResult::Put { previous: Some(before), .. } if before.value.is_empty())
    );
}
