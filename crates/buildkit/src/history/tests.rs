use std::collections::BTreeMap;

use prost::Message as _;

use super::*;

fn record(id: &str, ended: bool) -> BuildHistoryRecord {
    let completed_at = ended.then(prost_types::Timestamp::default);
    BuildHistoryRecord { r#ref: id.to_owned(), completed_at, ..BuildHistoryRecord::default() }
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
    history.tell(&me, BuildHistoryRecord { frontend_attrs: secret.clone(), ..record("one", true) });
    assert!(known(&history, &other).await.is_empty());
    assert_eq!(history.pin(&other, "one", true), Err(HistoryError::None));
    assert_eq!(history.remove(&other, "one"), Err(HistoryError::None));
    // The same name is another build.
    history.tell(&other, record("one", true));
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
        history.tell(&me, record(&id, false));
        let pinned = history.pin(&me, &id, true);
        assert_eq!(pinned, if at < PINNED { Ok(()) } else { Err(HistoryError::Full) });
        history.tell(&me, record(&id, true));
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
    history.tell(
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
    history.tell(&me, BuildHistoryRecord { frontend_attrs: small.clone(), ..record("small", true) });
    let all = known(&history, &me).await;
    assert_eq!(all.last().map(|record| &record.frontend_attrs), Some(&small));
}
