//! What a partition shows, tells and forgets.

use super::*;

fn put(partition: &Partition, revision: u64, size: usize, now: u64) {
    let value = format!("{{\"kind\":\"A\",\"metadata\":{{}},\"x\":\"{}\"}}", "x".repeat(size));
    partition.tell(&partition.apply(vec![("a", Some(value.into()))], revision, Duration::from_secs(now)));
}

fn pod(partition: &Partition, name: &str, node: &str, revision: u64) {
    let value = format!("{{\"kind\":\"Pod\",\"metadata\":{{}},\"spec\":{{\"nodeName\":\"{node}\"}}}}");
    partition.tell(&partition.apply(vec![(name, Some(value.into()))], revision, Duration::ZERO));
}

fn told(follower: &Follower, after: u64) -> Vec<u64> {
    let changes = follower.changes(after, 100).expect("the history reaches so far");
    changes.iter().map(|change| change.revision).collect()
}

#[test]
fn a_change_wakes_those_whom_it_can_concern_and_no_others() {
    let partition = Arc::new(Partition::new(Places::of([]), 0));
    let node = |name: &str| {
        let field = model::select::Selectable::text("spec.nodeName").indexed();
        partition.follow(Interest::Field(field, name.to_owned()))
    };
    let one = |name: &str| partition.follow(Interest::Name(name.to_owned()));
    let of = |name: &str| partition.follow(Interest::Namespace(name.to_owned()));
    pod(&partition, "a/p", "", 1);
    let mut nodes: Vec<Follower> = (0..1000).map(|number| node(&format!("n{number}"))).collect();
    let mut waiting = [node("n7"), node(""), one("a/p"), of("a"), partition.follow(Interest::All)];
    let mut others = [node("n"), one("a/q"), one("b/p"), of("b"), of("a/p"), of("")];
    let woken = |followers: &mut [Follower]| -> Vec<usize> {
        let news = followers.iter_mut().enumerate().filter_map(|(index, follower)| {
            let news = follower.reached.has_changed().expect("the partition is there");
            follower.mark_unchanged();
            news.then_some(index)
        });
        news.collect()
    };
    // Out of one selection and into another.
    pod(&partition, "a/p", "n7", 2);
    assert_eq!(woken(&mut nodes), [7]);
    assert_eq!(woken(&mut waiting), [0, 1, 2, 3, 4]);
    assert!(woken(&mut others).is_empty());
    for (number, follower) in nodes.iter().enumerate() {
        assert_eq!(told(follower, 1), if number == 7 { vec![2] } else { vec![] }, "n{number}");
    }
    assert_eq!(
        waiting.iter().map(|follower| told(follower, 0)).collect::<Vec<_>>(),
        [vec![2], vec![1, 2], vec![1, 2], vec![1, 2], vec![1, 2],]
    );
    // There is no lane that nobody reads from.
    let after = node("n7");
    drop((nodes, others));
    drop(waiting);
    assert_eq!(told(&after, 0), [2]);
    drop(after);
    assert_eq!(format!("{:?}", partition.state.read().lanes), format!("{:?}", Lanes::default()));
}

#[test]
fn who_follows_little_can_go_back_as_long_as_nothing_of_that_was_forgotten() {
    let partition = Arc::new(Partition::new(Places::of([]), 0));
    let quiet = partition.follow(Interest::Name("quiet".to_owned()));
    pod(&partition, "quiet", "", 1);
    for revision in 2..=30_000 {
        pod(&partition, "busy", "", revision);
    }
    assert!(partition.follow(Interest::All).changes(1, 10).is_err());
    assert!(partition.follow(Interest::Name("busy".to_owned())).changes(1, 10).is_err());
    assert!(quiet.changes(0, 10).is_err(), "its first change was forgotten");
    assert!(quiet.changes(1, 10).is_ok_and(|changes| changes.is_empty()), "and nothing after it");
    partition.replace(std::iter::empty(), 60_000);
    assert!(quiet.changes(1, 10).is_err(), "nobody knows what has been since");
}

#[test]
fn what_was_is_what_is_without_the_changes_since() {
    let partition = Partition::new(Places::of([]), version_at(1));
    let at = |revision: u64, place: u64| version_at(revision) + place;
    let delete = |name: &str, version| {
        partition.tell(&partition.apply(vec![(name, None)], version, Duration::ZERO));
    };
    pod(&partition, "a/p", "n1", at(2, 0));
    pod(&partition, "a/q", "n1", at(2, 1));
    pod(&partition, "a/p", "n2", at(2, 2));
    pod(&partition, "b/p", "n1", at(3, 0));
    delete("a/p", at(4, 0));
    pod(&partition, "a/p", "n3", at(5, 0));
    pod(&partition, "a/p", "n4", at(5, 1));
    let was = |version: u64, prefix: &str| -> Option<String> {
        let field = model::select::Selectable::text("spec.nodeName");
        let shown =
            |stored: &Arc<Stored>| format!("{}@{}:{}", stored.name, stored.revision(), stored.value(&field));
        let objects = partition.as_of(version, prefix).ok()?;
        Some(objects.iter().map(shown).collect::<Vec<_>>().join(" "))
    };
    let (p, q) = (format!("a/p@{}:n1", at(2, 0)), format!("a/q@{}:n1", at(2, 1)));
    assert_eq!(was(at(1, 0), ""), Some(String::new()));
    assert_eq!(was(at(2, 0), ""), Some(p.clone()));
    assert_eq!(was(at(2, 1), "a/"), Some(format!("{p} {q}")));
    assert_eq!(was(at(3, 0), "a/"), Some(format!("a/p@{}:n2 {q}", at(2, 2))));
    assert_eq!(was(at(4, 0), "a/"), Some(q.clone()));
    assert_eq!(was(at(5, 0), "a/p"), Some(format!("a/p@{}:n3", at(5, 0))));
    assert_eq!(was(at(5, 1), "a/p"), Some(format!("a/p@{}:n4", at(5, 1))));
    assert_eq!(was(at(5, 0), "b/"), Some(format!("b/p@{}:n1", at(3, 0))));
    // Given by nobody here.
    assert_eq!(was(at(2, 3), ""), None);
    let knows = |version| partition.state.read().knows(version);
    assert!(knows(at(2, 1)) && knows(at(9, 0)) && !knows(at(3, 1)));
    assert_eq!(partition.lost(), 0);
    // Forgotten.
    partition.trim(HISTORY_AGE);
    assert_eq!(partition.lost(), at(5, 1));
    assert_eq!(was(at(5, 0), ""), None);
    assert!(was(at(6, 0), "").is_some());
}

#[test]
fn changes_are_kept_by_size_and_for_a_time() {
    let partition = Arc::new(Partition::new(Places::of([]), 0));
    let all = partition.follow(Interest::All);
    let count = || partition.state.read().history.len();
    for revision in 1..=30_000 {
        put(&partition, revision, 10, 0);
    }
    assert!((HISTORY_BYTES / 400..HISTORY_BYTES / CHANGE).contains(&count()), "{}", count());
    for revision in 30_001..=30_020 {
        put(&partition, revision, 1 << 20, 10);
    }
    assert_eq!(count(), 7, "of a little more than a mebibyte each");
    assert!(all.changes(30_000, 10).is_err());
    assert_eq!(all.changes(30_014, 4).expect("they are there").len(), 4);
    partition.trim(Duration::from_secs(249));
    assert_eq!(count(), 7);
    partition.trim(Duration::from_secs(250));
    assert_eq!((count(), partition.state.read().history_bytes), (0, 0));
    // Whoever has seen the last change has missed nothing.
    assert!(all.changes(30_020, 10).is_ok_and(|changes| changes.is_empty()));
    assert_eq!(all.changes(30_019, 10).err().map(|e| e.oldest), Some(30_020));
}

#[test]
fn what_cannot_be_read_is_neither_there_nor_told_of() {
    let partition = Arc::new(Partition::new(Places::of([]), 0));
    let all = partition.follow(Interest::All);
    let put = |name: &str, text: &'static str, revision: u64| {
        let text = Some(Bytes::from_static(text.as_bytes()));
        partition.tell(&partition.apply(vec![(name, text)], revision, Duration::ZERO));
    };
    let shown = || {
        let names: Vec<String> =
            partition.snapshot(0, "").0.iter().map(|stored| stored.name.to_string()).collect();
        format!("{} {}", names.join(","), partition.is_unreadable("a"))
    };
    put("a", "k8s:enc:aesgcm:v1:b:", 1);
    assert_eq!((shown(), told(&all, 0)), (" true".to_owned(), vec![]));
    put("a", "{}", 2);
    assert_eq!(shown(), "a false");
    put("a", "", 3);
    assert_eq!((shown(), told(&all, 0)), (" true".to_owned(), vec![2, 3]));
    assert!(all.changes(2, 9).expect("it is remembered")[0].deleted);
    // What was known already comes again after a loading.
    put("a", "{}", 3);
    assert_eq!(shown(), " true");
    let found = [("a", ""), ("b", "{}")];
    let found = found.map(|(name, text)| partition.stored(name, Bytes::from_static(text.as_bytes()), 4));
    partition.replace(found.into_iter(), 4);
    assert_eq!(shown(), "b true");
    partition.tell(&partition.apply(vec![("a", None)], 5, Duration::ZERO));
    assert_eq!(shown(), "b false");

    // The same from the store's history.
    let kv = |text: &'static str, revision: u64| {
        let (key, value) = (Bytes::from_static(b"k"), Bytes::from_static(text.as_bytes()));
        Arc::new(KeyValue { key, value, create_revision: 1, mod_revision: revision, version: 1, lease: None })
    };
    let past = |kind: EventKind, is: &'static str, was: &'static str| {
        let event = Event { kind, kv: kv(is, 2), previous: Some(kv(was, 1)) };
        let read = |kv: &KeyValue| partition.stored("k", kv.value.clone(), version_at(kv.mod_revision));
        let change = Change::past(&event, read).expect("it says what was before");
        change.map(|change| (change.deleted, change.previous.is_some()))
    };
    assert_eq!(past(EventKind::Put, "{}", "{}"), Some((false, true)));
    assert_eq!(past(EventKind::Put, "{}", ""), Some((false, false)));
    assert_eq!(past(EventKind::Put, "", "{}"), Some((true, true)));
    assert_eq!(past(EventKind::Put, "", ""), None);
    assert_eq!(past(EventKind::Delete, "", "{}"), Some((true, true)));
    assert_eq!(past(EventKind::Delete, "", ""), None);
}
