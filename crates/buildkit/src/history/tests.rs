use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;

use super::*;

fn record(id: &str, ended: bool) -> BuildHistoryRecord {
    let completed_at = ended.then(prost_types::Timestamp::default);
    BuildHistoryRecord { r#ref: id.to_owned(), completed_at, ..BuildHistoryRecord::default() }
}

fn tell(history: &History, owner: &Owner, record: BuildHistoryRecord) {
    history.tell(owner, record, Left::new());
}

async fn known(history: &History, owner: &Owner) -> Vec<BuildHistoryRecord> {
    let asked = BuildHistoryRequest { early_exit: true, ..BuildHistoryRequest::default() };
    history.listen(owner, asked).filter_map(|event| async move { event.record }).collect().await
}

#[tokio::test]
async fn a_build_is_its_owner_s_to_hear_of_to_pin_and_to_remove() {
    let (history, me, other) = (History::new(), Owner::of("me"), Owner::of("another"));
    let mut theirs = history.listen(&other, BuildHistoryRequest::default());
    let secret = BTreeMap::from([("build-arg:TOKEN".to_owned(), "mine".to_owned())]);
    tell(&history, &me, BuildHistoryRecord { frontend_attrs: secret.clone(), ..record("one", true) });
    assert!(known(&history, &other).await.is_empty());
    assert_eq!(history.pin(&other, "one", true), Err(HistoryError::None));
    assert_eq!(history.remove(&other, "one"), Err(HistoryError::None));
    // The same name is another build.
    tell(&history, &other, record("one", true));
    let first = theirs.next().await.and_then(|event| event.record).expect("a record");
    assert!(first.frontend_attrs.is_empty(), "what is mine is not told to others");
    assert_eq!(known(&history, &me).await[0].frontend_attrs, secret);
    history.remove(&other, "one").expect("its own");
    history.pin(&me, "one", true).expect("mine");
    assert!(known(&history, &me).await[0].pinned);
    history.remove(&me, "one").expect("mine");
    assert!(known(&history, &me).await.is_empty());
}

#[tokio::test]
async fn what_is_remembered_has_an_end_whatever_is_pinned_and_said() {
    let (history, me) = (History::new(), Owner::of("me"));
    for at in 0..KEPT * 3 {
        let id = at.to_string();
        tell(&history, &me, record(&id, false));
        let pinned = history.pin(&me, &id, true);
        assert_eq!(pinned, if at < PINNED { Ok(()) } else { Err(HistoryError::Full(PINNED)) });
        tell(&history, &me, record(&id, true));
    }
    let all = known(&history, &me).await;
    assert_eq!(all.len(), KEPT);
    assert_eq!(all.iter().filter(|record| record.pinned).count(), PINNED);
    history.pin(&me, "0", false).expect("let go");
    history.pin(&me, &(KEPT * 3 - 1).to_string(), true).expect("there is room again");

    let long = || "x".repeat(40 << 10);
    let many = |name: &str| (0..3).map(|at| (format!("{name}{at}"), long())).collect::<BTreeMap<_, _>>();
    let exporter = crate::wire::moby::buildkit::v1::Exporter { r#type: long(), attrs: many("e") };
    let error = crate::wire::google::rpc::Status {
        code: 2,
        message: "\u{e9}".repeat(1 << 20),
        details: vec![prost_types::Any { type_url: long(), value: vec![0; 1 << 20] }],
    };
    tell(
        &history,
        &me,
        BuildHistoryRecord {
            frontend_attrs: many("f"),
            exporter_response: many("r"),
            exporters: vec![exporter; 3],
            error: Some(error),
            ..record("large", true)
        },
    );
    let all = known(&history, &me).await;
    let large = all.iter().find(|record| record.r#ref == "large").expect("it is known");
    assert!(large.encoded_len() <= SAID + (1 << 10), "{}", large.encoded_len());
    assert!(large.error.as_ref().is_some_and(|error| !error.message.is_empty()));
    let small = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    tell(&history, &me, BuildHistoryRecord { frontend_attrs: small.clone(), ..record("small", true) });
    let all = known(&history, &me).await;
    assert_eq!(all.last().map(|record| &record.frontend_attrs), Some(&small));
}

fn events(lines: usize) -> Vec<build::solve::Event> {
    use build::solve::{Event, LogEvent, VertexEvent};
    let (digest, at) = (Digest::sha256_of(b"step"), "2026-01-01T00:00:00Z".parse().expect("a time"));
    let vertex = VertexEvent {
        digest: digest.clone(),
        inputs: Vec::new(),
        name: "[1/1] RUN x".to_owned(),
        started: Some(at),
        completed: Some(at),
        cached: false,
        error: None,
        progress_group: None,
    };
    let log =
        |_| Event::Log(LogEvent { vertex: digest.clone(), stream: 1, bytes: vec![b'x'; 4096].into(), at });
    let mut events: Vec<Event> = (0..lines).map(log).collect();
    events.push(Event::Vertex(vertex));
    events
}

#[test]
fn what_a_build_told_is_read_again_by_its_owner_and_nobody_else() {
    let (history, me, other) = (History::new(), Owner::of("me"), Owner::of("another"));
    let error = crate::wire::google::rpc::Status {
        code: 2,
        message: "no".to_owned(),
        details: vec![prost_types::Any { type_url: "x".to_owned(), value: b"y".to_vec() }],
    };
    let mut ended = BuildHistoryRecord { error: Some(error.clone()), ..record("one", true) };
    let left = leave(&mut ended, events(2));
    let digest = Digest::parse(&ended.logs.as_ref().expect("logs").digest).expect("a digest");
    history.tell(&me, ended.clone(), left);
    let told = history.told(&me, "one").expect("it is there");
    assert_eq!(told.iter().map(|message| message.logs.len()).sum::<usize>(), 2);
    assert_eq!(told[0].vertexes[0].name, "[1/1] RUN x");
    assert!(history.content(&me, &digest).is_some() && history.contents(&me).len() == 2);
    assert_eq!(history.told(&other, "one"), None);
    assert!(history.content(&other, &digest).is_none() && history.contents(&other).is_empty());
    // The details are beside the record.
    assert!(ended.error.as_ref().is_some_and(|error| error.details.is_empty()));
    let whole = Digest::parse(&ended.external_error.expect("a failure").digest).expect("a digest");
    let whole = history.content(&me, &whole).expect("it is there");
    assert_eq!(crate::wire::google::rpc::Status::decode(whole), Ok(error));
    history.remove(&me, "one").expect("mine");
    assert!(history.told(&me, "one").is_none() && history.content(&me, &digest).is_none());
}

#[tokio::test]
async fn what_builds_left_has_an_end_and_what_is_pinned_stays_longest() {
    let (history, me) = (History::new(), Owner::of("me"));
    for at in 0..KEPT {
        let mut ended = record(&at.to_string(), true);
        // Of what steps wrote only so much is kept, and of steps all.
        let left = leave(&mut ended, events(1000));
        assert!(left.values().map(Bytes::len).sum::<usize>() <= 1 << 20);
        history.tell(&me, ended, left);
        if at == 0 {
            history.pin(&me, "0", true).expect("it is there");
        }
    }
    let all: u64 = history.contents(&me).iter().map(|(_, size)| size).sum();
    assert!(all <= LEFT as u64 && all > LEFT as u64 / 2, "{all}");
    let told = history.told(&me, "0").expect("it is pinned");
    assert_eq!(told.iter().map(|message| message.vertexes.len()).sum::<usize>(), 1);
    assert!(history.told(&me, "1").is_none() && history.told(&me, "99").is_some());
    let records = known(&history, &me).await;
    let lost = records.iter().find(|record| record.r#ref == "1").expect("it is known");
    assert_eq!(lost.logs, None, "what is not there is not named");
}

#[tokio::test]
async fn what_others_build_and_pin_takes_nothing_from_an_owner() {
    let (history, me) = (History::new(), Owner::of("me"));
    let mut ended = record("mine", true);
    let left = leave(&mut ended, events(1000));
    history.tell(&me, ended, left);
    let others: Vec<Owner> = (0..20).map(|at| Owner::of(format!("other {at}"))).collect();
    for owner in &others[..12] {
        let mut pinned = 0;
        for at in 0..KEPT * 2 {
            let id = at.to_string();
            let mut ended = record(&id, true);
            // Few leave so much that there is no room for all of it.
            let left = if at < 8 { leave(&mut ended, events(1000)) } else { Left::new() };
            history.tell(owner, ended, left);
            pinned += usize::from(history.pin(owner, &id, true).is_ok());
        }
        assert!(pinned <= PINNED, "{pinned}");
        assert!(known(&history, owner).await.len() <= KEPT);
    }
    assert!(history.inner.records.lock().len() <= KEPT_OF_ALL);
    let pins = history.inner.records.lock().iter().filter(|known| known.record.pinned).count();
    assert_eq!(pins, PINNED_OF_ALL, "all together have so many");
    // One who came before and one who comes last have their builds, and what those left.
    assert!(history.told(&me, "mine").is_some());
    assert_eq!(history.pin(&me, "mine", true), Err(HistoryError::Full(PINNED_OF_ALL)));
    let mut late = record("late", true);
    let left = leave(&mut late, events(1000));
    history.tell(&others[19], late, left);
    assert!(history.told(&others[19], "late").is_some() && history.told(&me, "mine").is_some());
    let all: usize = history.inner.records.lock().iter().map(Known::weight).sum();
    assert!(all <= LEFT, "{all}");

    // One owner alone pins no more than its share, and then another still pins.
    let history = History::new();
    for at in 0..KEPT {
        tell(&history, &others[0], record(&at.to_string(), true));
        let _ = history.pin(&others[0], &at.to_string(), true);
    }
    tell(&history, &me, record("mine", true));
    assert_eq!(history.pin(&me, "mine", true), Ok(()));
    for at in 0..KEPT * 2 {
        tell(&history, &others[0], record(&format!("more {at}"), true));
    }
    assert_eq!(known(&history, &others[0]).await.len(), KEPT);
    assert_eq!(known(&history, &me).await.len(), 1);
}

#[test]
fn what_exporters_tell_of_an_image_is_its_result() {
    let told = |text: &str| {
        let text = STANDARD.encode(text);
        BTreeMap::from([("containerimage.descriptor".to_owned(), text)])
    };
    let digest = Digest::sha256_of(b"x");
    let text = format!(r#"{{"mediaType":"m","digest":"{digest}","size":7,"annotations":{{"a":"b"}}}}"#);
    let result = result_of(&told(&text)).expect("a result");
    let descriptor = &result.results[&0];
    assert_eq!(
        (&*descriptor.media_type, &*descriptor.digest, descriptor.size),
        ("m", &*digest.to_string(), 7)
    );
    assert_eq!(descriptor.annotations["a"], "b");
    assert!(result_of(&told("x")).is_none() && result_of(&BTreeMap::new()).is_none());
}
