//! Who calls gets what is its own, and nothing by crafted calls: over a connection, before a real engine.

mod support;

use std::time::Duration;

use prost::Message as _;
use support::wire::containerd::services::content::v1 as content;
use support::wire::google::rpc;
use support::wire::moby::buildkit::v1::frontend as bridge;
use support::wire::moby::buildkit::v1::frontend::exec_message::Input;
use support::wire::moby::buildkit::v1::sourcepolicy::{Policy, PolicyAction, Rule, Selector, Update};
use support::wire::moby::buildkit::v1::{
    BuildHistoryRequest, BytesMessage, Exporter, InfoRequest, ListWorkersRequest, SolveRequest, StatusRequest,
};
use support::{Caller, about, with_services};
use tonic::{Code, Request, Status};

use buildkit::Owner;
use futures::StreamExt as _;

/// A call about the build `id`.
fn about_build<T>(id: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("buildkit-controlapi-buildid", id.parse().expect("a value"));
    request
}

/// A build that its client drives.
fn driven(id: &str) -> SolveRequest {
    SolveRequest { r#ref: id.to_owned(), ..SolveRequest::default() }
}

fn of<T>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.err().expect("a failure");
    (status.code(), status.message().to_owned())
}

#[test]
fn a_client_drives_its_build_and_nobody_else_finds_it() {
    with_services(async |services| {
        let mine = Caller::connect(&services, Owner::of("me")).await;
        let again = Caller::connect(&services, Owner::of("me")).await;
        let other = Caller::connect(&services, Owner::of("another")).await;
        let mut control = mine.control();
        let solving = control.solve(driven("mine"));
        let driving = async {
            let mut bridge_of_mine = again.bridge();
            let pong =
                bridge_of_mine.ping(about_build("mine", bridge::PingRequest {})).await.expect("a pong");
            let pong = pong.into_inner();
            let has = |caps: &[support::wire::moby::buildkit::v1::apicaps::ApiCap], id: &str| {
                caps.iter().any(|cap| cap.id == id && cap.enabled)
            };
            assert!(has(&pong.frontend_api_caps, "proto.refarray") && has(&pong.llb_caps, "source.local"));
            let not_there = "source.metaresolver.image.attestations";
            assert!(!has(&pong.frontend_api_caps, not_there), "what there is not is not offered");
            let mut theirs = other.bridge();
            let missed = of(theirs.ping(about_build("mine", bridge::PingRequest {})).await);
            assert_eq!(missed, (Code::NotFound, "no such job mine".to_owned()));
            let missed = of(other.control().status(StatusRequest { r#ref: "mine".to_owned() }).await);
            assert_eq!(missed, (Code::NotFound, "no such job mine".to_owned()));
            let same = of(again.control().solve(driven("mine")).await);
            assert_eq!(same, (Code::AlreadyExists, "job ID mine exists".to_owned()));
            let error = rpc::Status {
                code: 2,
                message: "it did not work".to_owned(),
                details: vec![prost_types::Any { type_url: "x".to_owned(), value: b"y".to_vec() }],
            };
            let back = bridge::ReturnRequest { result: None, error: Some(error) };
            bridge_of_mine.r#return(about_build("mine", back)).await.expect("taken");
        };
        let (solved, ()) = tokio::join!(solving, driving);
        let status = solved.expect_err("the client returned an error");
        assert_eq!((status.code(), status.message()), (Code::Unknown, "it did not work"));
        let whole = rpc::Status::decode(status.details()).expect("details");
        assert_eq!(whole.details[0].type_url, "x");

        let asked = BuildHistoryRequest { early_exit: true, ..BuildHistoryRequest::default() };
        let history = mine.control().listen_build_history(asked).await.expect("history").into_inner();
        let records: Vec<_> =
            history.map(|event| event.expect("an event").record.expect("a record")).collect().await;
        assert_eq!(records.len(), 1);
        let asked = BuildHistoryRequest { early_exit: true, ..BuildHistoryRequest::default() };
        let theirs = other.control().listen_build_history(asked).await.expect("history").into_inner();
        assert_eq!(theirs.count().await, 0, "what others build is nobody's business");
        assert_eq!(records[0].error.as_ref().expect("an error").message, "it did not work");
    });
}

#[test]
fn what_a_build_left_is_read_by_its_digest_by_its_owner_alone_and_never_written() {
    with_services(async |services| {
        let mine = Caller::connect(&services, Owner::of("me")).await;
        let other = Caller::connect(&services, Owner::of("another")).await;
        let failing = SolveRequest {
            r#ref: "one".to_owned(),
            frontend: "none.v0".to_owned(),
            ..SolveRequest::default()
        };
        mine.control().solve(failing).await.expect_err("there is no such front end");
        let asked = BuildHistoryRequest { early_exit: true, ..BuildHistoryRequest::default() };
        let mut history = mine.control().listen_build_history(asked).await.expect("history").into_inner();
        let record = history.next().await.expect("one").expect("an event").record.expect("a record");
        let failure = record.external_error.expect("a failure");
        let digest = failure.digest.clone();

        let info = content::InfoRequest { digest: digest.clone() };
        let found = mine.content().info(info.clone()).await.expect("it is there").into_inner().info;
        assert_eq!(found.map(|info| info.size), Some(failure.size));
        let missed = of(other.content().info(info).await);
        assert_eq!(missed, (Code::NotFound, format!("content {digest}: not found")));
        let read = async |offset, size| {
            let request = content::ReadContentRequest { digest: digest.clone(), offset, size };
            let pieces = mine.content().read(request).await?.into_inner();
            let pieces: Vec<_> = pieces.map(|piece| piece.expect("a piece").data).collect().await;
            Ok::<_, Status>(pieces.concat())
        };
        let whole = read(0, 0).await.expect("read");
        let status = rpc::Status::decode(&*whole).expect("a status");
        assert_eq!(status.message, "frontend none.v0 not found");
        assert_eq!(read(2, 3).await.expect("read"), whole[2..5]);
        assert_eq!(read(2, i64::MAX).await.expect("read"), whole[2..]);
        assert_eq!(read(failure.size, 0).await.expect("read"), b"");
        assert_eq!(read(failure.size + 1, 0).await.err().map(|error| error.code()), Some(Code::OutOfRange));
        let list = content::ListContentRequest::default();
        let list = mine.content().list(list).await.expect("a list").into_inner();
        let listed: Vec<_> = list.map(|part| part.expect("a part").info).collect().await;
        assert!(listed.concat().iter().any(|info| info.digest == digest));
        let wrong = content::InfoRequest { digest: "../state.json".to_owned() };
        assert_eq!(of(mine.content().info(wrong).await).0, Code::InvalidArgument);
        let gone = content::DeleteContentRequest { digest: digest.clone() };
        let read_only = (Code::Unimplemented, "the content store is read-only".to_owned());
        assert_eq!(of(mine.content().delete(gone).await), read_only);
    });
}

#[test]
fn a_definition_is_solved_and_looked_into_by_its_own_build_only() {
    with_services(async |services| {
        let caller = Caller::connect(&services, Owner::of("me")).await;
        let mut control = caller.control();
        let mut builder = llb::Builder::new();
        let file = llb::pb::FileActionMkFile {
            path: "/a".to_owned(),
            mode: 0o640,
            data: "text".into(),
            ..Default::default()
        };
        let action = llb::pb::FileAction {
            input: llb::EMPTY,
            secondary_input: llb::EMPTY,
            output: 0,
            action: Some(llb::pb::file_action::Action::Mkfile(file)),
        };
        let op = llb::pb::op::Op::File(llb::pb::FileOp { actions: vec![action] });
        let output = builder.add(op, &[], None, llb::pb::OpMetadata::default());
        let definition = builder.finish(Some(&output));
        let solving = control.solve(driven("one"));
        let driving = async {
            let mut bridge = caller.bridge();
            let solve = bridge::SolveRequest {
                definition: Some(definition.clone()),
                allow_result_return: true,
                allow_result_array_ref: true,
                evaluate: true,
                ..Default::default()
            };
            let answer = bridge.solve(about_build("one", solve)).await.expect("solved").into_inner();
            let result = answer.result.expect("a result");
            let Some(bridge::result::Result::Ref(kept)) = result.result.clone() else { panic!("{result:?}") };
            assert_eq!(kept.def.as_ref(), Some(&definition));
            let range = Some(bridge::FileRange { offset: 1, length: 2 });
            let read = bridge::ReadFileRequest {
                r#ref: kept.id.clone(),
                file_path: "a".to_owned(),
                range,
                ..Default::default()
            };
            let read = bridge.read_file(about_build("one", read)).await.expect("read").into_inner();
            assert_eq!(&*read.data, b"ex");
            let stat = bridge::StatFileRequest {
                r#ref: kept.id.clone(),
                path: "a".to_owned(),
                ..Default::default()
            };
            let stat = bridge.stat_file(about_build("one", stat)).await.expect("found").into_inner().stat;
            let stat = stat.expect("attributes");
            assert_eq!((&*stat.path, stat.mode, stat.size), (&b"a"[..], 0o640, 4));
            let list = bridge::ReadDirRequest {
                r#ref: kept.id.clone(),
                dir_path: "/".to_owned(),
                ..Default::default()
            };
            let list = bridge.read_dir(about_build("one", list)).await.expect("listed").into_inner();
            assert_eq!(list.entries.len(), 1);
            let strange = bridge::EvaluateRequest { r#ref: "result-99".to_owned() };
            let missed = of(bridge.evaluate(about_build("one", strange)).await);
            assert_eq!(missed.1, "no such ref: result-99");
            let back = bridge::ReturnRequest { result: Some(result), error: None };
            bridge.r#return(about_build("one", back.clone())).await.expect("taken");
        };
        let (solved, ()) = tokio::join!(solving, driving);
        solved.expect("solved");

        // Another build of the same client's does not have the first one's results.
        let solving = control.solve(driven("two"));
        let driving = async {
            let mut bridge = caller.bridge();
            let read = bridge::ReadFileRequest {
                r#ref: "result-0".to_owned(),
                file_path: "a".to_owned(),
                ..Default::default()
            };
            let missed = of(bridge.read_file(about_build("two", read)).await);
            assert_eq!(missed.1, "no such ref: result-0");
            let result = Some(bridge::Result::default());
            let back = bridge::ReturnRequest { result, error: None };
            bridge.r#return(about_build("two", back)).await.expect("taken");
        };
        tokio::join!(solving, driving).0.expect("nothing is something too");
    });
}

#[test]
fn what_a_build_may_not_have_is_refused_and_crafted_calls_harm_nobody() {
    with_services(async |services| {
        let caller = Caller::connect(&services, Owner::of("me")).await;
        let mut control = caller.control();
        let wants = |entitlement: &str| SolveRequest {
            entitlements: vec![entitlement.to_owned()],
            ..driven("wants")
        };
        for wanted in ["security.insecure", "device=/dev/sda", "everything"] {
            let refused = of(control.solve(wants(wanted)).await);
            assert!(refused.1.contains(wanted), "{refused:?}");
        }
        let nameless = of(control.solve(SolveRequest::default()).await);
        assert_eq!(nameless.0, Code::InvalidArgument);
        let session = SolveRequest { session: "not mine".to_owned(), ..driven("s") };
        assert_eq!(of(control.solve(session).await).1, "no active session for not mine");
        // What a policy is to prevent is not done because it is not understood.
        let rules = vec![support::wire::moby::buildkit::v1::sourcepolicy::Rule::default()];
        let policy = support::wire::moby::buildkit::v1::sourcepolicy::Policy { rules, ..Default::default() };
        let ruled = SolveRequest { source_policy: Some(policy.clone()), ..driven("ruled") };
        let unruled = (Code::InvalidArgument, "invalid nil selector in policy".to_owned());
        assert_eq!(of(control.solve(ruled).await), unruled);
        let elsewhere = SolveRequest { source_policy_session: "s".to_owned(), ..driven("ruled") };
        let by_session = "source policies of a session are not supported".to_owned();
        assert_eq!(of(control.solve(elsewhere).await), (Code::Unimplemented, by_session));
        let long = driven(&"a".repeat(2_000));
        assert_eq!(of(control.solve(long).await).0, Code::InvalidArgument);
        let exporter = Exporter { r#type: "nowhere".to_owned(), ..Exporter::default() };
        let nowhere = SolveRequest {
            definition: Some(llb::pb::Definition { def: vec!["x".into(); 3], ..Default::default() }),
            exporters: vec![exporter],
            ..driven("broken")
        };
        assert!(of(control.solve(nowhere).await).1.contains("LLB"));

        let solving = control.solve(driven("crafted"));
        let crafting = async {
            let mut bridge = caller.bridge();
            macro_rules! refused {
                ($($call:ident($message:expr),)*) => {
                    $(
                        let (code, message) = of(bridge.$call(about_build("crafted", $message)).await);
                        assert!(code != Code::Internal && !message.contains("panic"), "{}: {message}", stringify!($call));
                    )*
                };
            }
            refused! {
                resolve_image_config(bridge::ResolveImageConfigRequest::default()),
                resolve_source_meta(bridge::ResolveSourceMetaRequest::default()),
                read_file(bridge::ReadFileRequest::default()),
                read_dir(bridge::ReadDirRequest::default()),
                stat_file(bridge::StatFileRequest::default()),
                evaluate(bridge::EvaluateRequest::default()),
                new_container(bridge::NewContainerRequest {
                    container_id: "x".to_owned(),
                    network: llb::pb::NetMode::Host.into(),
                    ..Default::default()
                }),
                release_container(bridge::ReleaseContainerRequest::default()),
                read_file_container(bridge::ReadFileRequest::default()),
                r#return(bridge::ReturnRequest::default()),
                solve(bridge::SolveRequest {
                    definition: Some(llb::pb::Definition { def: vec![Default::default(); 2], ..Default::default() }),
                    ..Default::default()
                }),
                solve(bridge::SolveRequest { frontend: "nothing.v0".to_owned(), ..Default::default() }),
            }
            let ruled = bridge::SolveRequest { source_policies: vec![policy.clone()], ..Default::default() };
            assert_eq!(of(bridge.solve(about_build("crafted", ruled)).await), unruled);
            let ruled = bridge::ResolveSourceMetaRequest {
                source_policies: vec![policy.clone()],
                ..Default::default()
            };
            assert_eq!(of(bridge.resolve_source_meta(about_build("crafted", ruled)).await), unruled);
            let large = bridge::WarnRequest { short: vec![0; 9 << 20].into(), ..Default::default() };
            bridge.warn(about_build("crafted", large.clone())).await.expect("warned");
            let full = of(bridge.warn(about_build("crafted", large)).await);
            assert_eq!(full.0, Code::ResourceExhausted);
            let warn = bridge::WarnRequest { ranges: vec![Default::default()], ..Default::default() };
            bridge.warn(about_build("crafted", warn)).await.expect("warned");
            let nameless = of(bridge.ping(Request::new(bridge::PingRequest {})).await);
            assert_eq!(nameless.1, "no buildid found in context");
            let attestation = vec![bridge::Attestation::default(); 600];
            let many = bridge::Attestations { attestation };
            let attestations = [("a".to_owned(), many.clone()), ("b".to_owned(), many)].into();
            let result = Some(bridge::Result { attestations, ..Default::default() });
            let many = bridge::ReturnRequest { result, error: None };
            let full = of(bridge.r#return(about_build("crafted", many)).await);
            assert_eq!(full, (Code::ResourceExhausted, "a result may have 1000 attestations".to_owned()));
            let back = bridge::ReturnRequest { result: Some(bridge::Result::default()), error: None };
            bridge.r#return(about_build("crafted", back.clone())).await.expect("taken");
        };
        tokio::join!(solving, crafting).0.expect("the build has its result");
        let unknown = caller.call_unknown().await;
        assert_eq!(unknown.code(), Code::Unimplemented);
        control.info(InfoRequest {}).await.expect("still there");
    });
}

#[test]
fn a_call_that_is_given_up_ends_its_build() {
    with_services(async |services| {
        let caller = Caller::connect(&services, Owner::of("me")).await;
        let mut control = caller.control();
        let mut bridge = caller.bridge();
        {
            let solving = control.solve(driven("given up"));
            tokio::pin!(solving);
            tokio::select! {
                ended = &mut solving => panic!("{ended:?}"),
                pong = bridge.ping(about_build("given up", bridge::PingRequest {})) => drop(pong.expect("a pong")),
            }
        }
        let asked = BuildHistoryRequest { r#ref: "given up".to_owned(), ..BuildHistoryRequest::default() };
        let mut history = caller.control().listen_build_history(asked).await.expect("history").into_inner();
        let ended = async {
            while let Some(event) = history.next().await {
                let record = event.expect("an event").record.expect("a record");
                if record.completed_at.is_some() {
                    return record.error.expect("an error").message;
                }
            }
            panic!("the history ends");
        };
        let message = tokio::time::timeout(Duration::from_secs(60), ended).await.expect("the build ends");
        assert_eq!(message, "context canceled");
    });
}

#[test]
fn a_session_comes_over_a_call_too() {
    with_services(async |services| {
        let caller = Caller::connect(&services, Owner::of("me")).await;
        let (mut near, messages) = futures::channel::mpsc::channel::<BytesMessage>(16);
        let mut request = Request::new(messages);
        request.metadata_mut().insert("x-docker-expose-session-uuid", "over".parse().expect("a value"));
        let mut control = caller.control();
        let mut heard = control.session(request).await.expect("a session").into_inner();
        // What speaks first is the side that calls: its connection begins so.
        let first = heard.next().await.expect("a message").expect("bytes");
        assert!(first.data.starts_with(b"PRI * HTTP/2.0"), "{:?}", first.data);
        let solve = SolveRequest {
            session: "over".to_owned(),
            definition: Some(llb::pb::Definition::default()),
            frontend: "nothing.v0".to_owned(),
            ..driven("with it")
        };
        let found = of(caller.control().solve(solve.clone()).await);
        assert!(found.1.contains("nothing.v0"), "the session is there: {found:?}");
        let other = Caller::connect(&services, Owner::of("another")).await;
        assert_eq!(of(other.control().solve(solve).await).1, "no active session for over");
        near.close_channel();
    });
}

#[test]
fn workers_say_what_clients_may_send() {
    with_services(async |services| {
        let caller = Caller::connect(&services, Owner::of("me")).await;
        let workers = caller.control().list_workers(ListWorkersRequest::default()).await.expect("workers");
        let workers = workers.into_inner().record;
        assert_eq!(workers.len(), 1);
        let labels = &workers[0].labels;
        assert_eq!(labels["org.mobyproject.buildkit.worker.moby.host-gateway-ip"], about().host_gateway);
        assert_eq!(labels["org.mobyproject.buildkit.worker.snapshotter"], "overlayfs");
        assert_eq!(workers[0].platforms[0].os, "linux");
    });
}

/// A rule for all sources that a pattern fits.
fn rule(action: PolicyAction, pattern: &str, to: Option<&str>) -> Policy {
    let selector = Selector { identifier: pattern.to_owned(), ..Selector::default() };
    let updates = to.map(|to| Update { identifier: to.to_owned(), ..Update::default() });
    let rule = Rule { action: action.into(), selector: Some(selector), updates };
    Policy { version: 1, rules: vec![rule] }
}

#[test]
fn sources_are_those_that_policies_say() {
    with_services(async |services| {
        let caller = Caller::connect(&services, Owner::of("me")).await;
        let source =
            llb::pb::SourceOp { identifier: "http://127.0.0.1:1/a".to_owned(), ..Default::default() };
        let mut builder = llb::Builder::new();
        let op = llb::pb::op::Op::Source(source.clone());
        let output = builder.add(op, &[], None, llb::pb::OpMetadata::default());
        let definition = builder.finish(Some(&output));
        let whole = |id: &str, policy: Option<Policy>| SolveRequest {
            r#ref: id.to_owned(),
            definition: Some(definition.clone()),
            source_policy: policy,
            ..SolveRequest::default()
        };
        let mut control = caller.control();
        let denied = of(control.solve(whole("denied", Some(rule(PolicyAction::Deny, "http:*", None)))).await);
        assert!(denied.1.contains("denied by policy"), "{denied:?}");
        let other = rule(PolicyAction::Convert, "http://127.0.0.1:1/*", Some("local://${1}"));
        let converted = of(control.solve(whole("converted", Some(other))).await);
        assert!(converted.1.contains("no active sessions"), "another source is asked for: {converted:?}");
        let mut asks = whole("asks", None);
        asks.source_policy_session = "session".to_owned();
        assert_eq!(of(control.solve(asks).await).0, Code::Unimplemented);

        let solving = control.solve(driven("mine"));
        let driving = async {
            let mut bridge = caller.bridge();
            let policies = vec![rule(PolicyAction::Deny, "*", None)];
            let solve = bridge::SolveRequest {
                definition: Some(definition.clone()),
                source_policies: policies.clone(),
                ..Default::default()
            };
            let denied = of(bridge.solve(about_build("mine", solve)).await);
            assert!(denied.1.contains("denied by policy"), "{denied:?}");
            let ask = bridge::ResolveSourceMetaRequest {
                source: Some(source.clone()),
                source_policies: policies,
                ..Default::default()
            };
            let denied = of(bridge.resolve_source_meta(about_build("mine", ask)).await);
            assert!(denied.1.starts_with("could not resolve image due to policy"), "{denied:?}");
            let nothing = bridge::SolveRequest {
                frontend: "dockerfile.v0".to_owned(),
                frontend_inputs: [("context".to_owned(), llb::pb::Definition::default())].into(),
                ..Default::default()
            };
            let refused = of(bridge.solve(about_build("mine", nothing)).await);
            assert_eq!(refused.1, "invalid nil input definition to definition op");
            let back = bridge::ReturnRequest { result: Some(bridge::Result::default()), error: None };
            bridge.r#return(about_build("mine", back)).await.expect("taken");
        };
        let (solved, ()) = tokio::join!(solving, driving);
        solved.expect("solved");
    });
}

#[test]
fn containers_are_of_their_build_and_messages_of_their_processes() {
    with_services(async |services| {
        let caller = Caller::connect(&services, Owner::of("me")).await;
        let other = Caller::connect(&services, Owner::of("another")).await;
        let mut control = caller.control();
        let solving = control.solve(driven("mine"));
        let driving = async {
            let mut bridge = caller.bridge();
            let root = llb::pb::Mount { dest: "/".to_owned(), ..Default::default() };
            let ask = |id: &str| bridge::NewContainerRequest {
                container_id: id.to_owned(),
                mounts: vec![root.clone()],
                ..Default::default()
            };
            let theirs = of(other.bridge().new_container(about_build("mine", ask("x"))).await);
            assert_eq!(theirs.0, Code::NotFound);
            let mut host = ask("host");
            host.network = llb::pb::NetMode::Host.into();
            let refused = of(bridge.new_container(about_build("mine", host)).await);
            assert_eq!(refused.1, "network.host is not allowed");
            let rootless = bridge::NewContainerRequest { mounts: Vec::new(), ..ask("rootless") };
            assert!(bridge.new_container(about_build("mine", rootless)).await.is_err());
            for id in ["", &"x".repeat(2 << 10)] {
                let refused = of(bridge.new_container(about_build("mine", ask(id))).await);
                assert_eq!(refused.0, Code::InvalidArgument);
            }
            bridge.new_container(about_build("mine", ask("one"))).await.expect("a container");
            let twice = of(bridge.new_container(about_build("mine", ask("one"))).await);
            assert_eq!(twice.0, Code::AlreadyExists);
            let mut made = 1;
            let full = loop {
                match bridge.new_container(about_build("mine", ask(&format!("more {made}")))).await {
                    Ok(_) => made += 1,
                    Err(status) => break status,
                }
            };
            assert_eq!((full.code(), made), (Code::ResourceExhausted, 32));

            let say = |process: &str, input| bridge::ExecMessage {
                process_id: process.to_owned(),
                input: Some(input),
            };
            let begin = |container: &str, fds: Vec<u32>| {
                let meta = llb::pb::Meta { args: vec!["/nothing".to_owned()], ..Default::default() };
                Input::Init(bridge::InitMessage {
                    container_id: container.to_owned(),
                    meta: Some(meta),
                    fds,
                    ..Default::default()
                })
            };
            for (messages, code) in [
                (vec![say("p", begin("none", vec![1]))], Code::NotFound),
                (vec![say("", begin("one", vec![1]))], Code::InvalidArgument),
                (vec![say("p", begin("one", vec![3]))], Code::Unimplemented),
                (vec![say("p", Input::Exit(bridge::ExitMessage::default()))], Code::InvalidArgument),
            ] {
                let call = about_build("mine", futures::stream::iter(messages));
                let mut told = bridge.exec_process(call).await.expect("a call").into_inner();
                let ended = loop {
                    match told.next().await.expect("it does not end well") {
                        Ok(_) => {}
                        Err(status) => break status,
                    }
                };
                assert_eq!(ended.code(), code, "{}", ended.message());
            }
            // What cannot be started is told like what ends badly, and others go on.
            let call = about_build("mine", futures::stream::iter(vec![say("p", begin("one", vec![1, 2]))]));
            let told = bridge.exec_process(call).await.expect("a call").into_inner();
            let told: Vec<bridge::ExecMessage> =
                told.map(|message| message.expect("a message")).collect().await;
            assert!(told.iter().all(|message| message.process_id == "p"));
            let told: Vec<Input> =
                told.into_iter().map(|message| message.input.expect("something")).collect();
            assert!(matches!(told[0], Input::Started(_)) && matches!(told.last(), Some(Input::Done(_))));
            let ended = told.iter().filter(|input| matches!(input, Input::File(file) if file.eof)).count();
            assert_eq!(ended, 2, "both outputs have an end: {told:?}");
            let exit = told.iter().find_map(|input| match input {
                Input::Exit(exit) => Some(exit),
                _ => None,
            });
            let exit = exit.expect("an end");
            assert!(exit.code != 0 && exit.error.is_some(), "{exit:?}");

            let release = |id: &str| bridge::ReleaseContainerRequest { container_id: id.to_owned() };
            bridge.release_container(about_build("mine", release("one"))).await.expect("released");
            assert!(bridge.release_container(about_build("mine", release("one"))).await.is_err());
            bridge.new_container(about_build("mine", ask("one"))).await.expect("there is room again");
            let back = bridge::ReturnRequest { result: Some(bridge::Result::default()), error: None };
            bridge.r#return(about_build("mine", back)).await.expect("taken");
        };
        let (solved, ()) = tokio::join!(solving, driving);
        solved.expect("solved");
        let mounts = services.solver().engine().config().root.join("builder/mounts");
        for _ in 0..100 {
            if std::fs::read_dir(&mounts).map_or(0, Iterator::count) == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("what containers had mounted stays after their build");
    });
}

/// What a client says to a process.
fn say(process: &str, input: Input) -> bridge::ExecMessage {
    bridge::ExecMessage { process_id: process.to_owned(), input: Some(input) }
}

/// Starts a process with all of its streams.
fn begin(container: &str, line: &[&str]) -> Input {
    let meta =
        llb::pb::Meta { args: line.iter().map(|word| (*word).to_owned()).collect(), ..Default::default() };
    Input::Init(bridge::InitMessage {
        container_id: container.to_owned(),
        meta: Some(meta),
        fds: vec![0, 1, 2],
        ..Default::default()
    })
}

/// A client asks for processes without end, and hears of none.
#[test]
fn processes_whose_client_hears_nothing_have_an_end() {
    with_services(async |services| {
        let caller = Caller::connect(&services, Owner::of("me")).await;
        let mut control = caller.control();
        let solving = control.solve(driven("mine"));
        let driving = async {
            let mut bridge = caller.bridge();
            let root = llb::pb::Mount { dest: "/".to_owned(), ..Default::default() };
            let container = bridge::NewContainerRequest {
                container_id: "one".to_owned(),
                mounts: vec![root],
                ..Default::default()
            };
            bridge.new_container(about_build("mine", container)).await.expect("a container");
            // Each says its name again and again: soon nothing more of what is told has room anywhere.
            let name = "x".repeat(1000);
            let (sending, sent) = futures::channel::oneshot::channel::<()>();
            let messages = futures::stream::iter(0..5000).map(move |at| {
                let _ = &sending;
                say(&format!("{name}{at}"), begin("one", &["/nothing"]))
            });
            let call = about_build("mine", messages);
            let mut told = bridge.exec_process(call).await.expect("a call").into_inner();
            // All is sent, or is not wanted any more.
            let _ = sent.await;
            let ended = loop {
                match told.next().await {
                    Some(Ok(_)) => {}
                    Some(Err(status)) => break status,
                    None => panic!("so many processes at a time"),
                }
            };
            let full = (Code::ResourceExhausted, "a build may have 128 processes at a time");
            assert_eq!((ended.code(), ended.message()), full);
            drop(told);
            // There is room again.
            let messages = futures::stream::iter([say("p", begin("one", &["/nothing"]))]);
            let told = bridge.exec_process(about_build("mine", messages)).await.expect("a call").into_inner();
            let told: Vec<_> = told.map(|message| message.expect("a message").input).collect().await;
            assert!(matches!(told.last(), Some(Some(Input::Done(_)))), "{told:?}");
            let back = bridge::ReturnRequest { result: Some(bridge::Result::default()), error: None };
            bridge.r#return(about_build("mine", back)).await.expect("taken");
        };
        tokio::join!(solving, driving).0.expect("solved");
    });
}

/// What a process does not read keeps no signal from it, and nothing from others.
#[test]
fn a_process_that_reads_nothing_is_ended_by_its_client_all_the_same() {
    with_services(async |services| {
        support::import_busybox(&services).await;
        let caller = Caller::connect(&services, Owner::of("me")).await;
        let mut builder = llb::Builder::new();
        let source = llb::pb::SourceOp {
            identifier: "docker-image://docker.io/library/busybox:latest".to_owned(),
            ..Default::default()
        };
        let base = llb::pb::op::Op::Source(source);
        let base = builder.add(base, &[], None, llb::pb::OpMetadata::default());
        let definition = Some(builder.finish(Some(&base)));
        let mut control = caller.control();
        let solving = control.solve(driven("mine"));
        let driving = async {
            let mut bridge = caller.bridge();
            let solve = bridge::SolveRequest { definition, allow_result_return: true, ..Default::default() };
            let solved = bridge.solve(about_build("mine", solve)).await.expect("solved").into_inner();
            let Some(bridge::result::Result::RefDeprecated(base)) = solved.result.and_then(|it| it.result)
            else {
                panic!("a result has a name");
            };
            let root = llb::pb::Mount { dest: "/".to_owned(), result_id: base, ..Default::default() };
            let container = bridge::NewContainerRequest {
                container_id: "one".to_owned(),
                mounts: vec![root],
                network: llb::pb::NetMode::None.into(),
                ..Default::default()
            };
            bridge.new_container(about_build("mine", container)).await.expect("a container");
            let (mut said, messages) = futures::channel::mpsc::unbounded();
            let call = about_build("mine", messages);
            let mut say_to = |process: &str, input| said.start_send(say(process, input)).expect("said");
            say_to("deaf", begin("one", &["/bin/sh", "-c", "echo here; exec sleep 98763"]));
            let mut told = bridge.exec_process(call).await.expect("a call").into_inner();
            let mut next = async || told.next().await.expect("the call goes on").expect("a message");
            while !matches!(next().await.input, Some(Input::File(file)) if &*file.data == b"here\n") {}
            say_to("other", begin("one", &["/bin/cat"]));
            let file = |data: Vec<u8>, eof| Input::File(bridge::FdMessage { fd: 0, eof, data: data.into() });
            // Far more than it takes that is on the way.
            (0..36).for_each(|_| say_to("deaf", file(vec![b'x'; 32 << 10], false)));
            say_to("other", file(b"to the other".to_vec(), false));
            let heard = loop {
                match next().await {
                    bridge::ExecMessage { process_id, input: Some(Input::File(file)) }
                        if process_id == "other" =>
                    {
                        break file.data;
                    }
                    _ => {}
                }
            };
            assert_eq!(&*heard, b"to the other");
            say_to("deaf", Input::Signal(bridge::SignalMessage { name: "KILL".to_owned() }));
            let ended = async {
                loop {
                    let message = next().await;
                    if message.process_id == "deaf"
                        && let Some(Input::Exit(exit)) = message.input
                    {
                        break exit.code;
                    }
                }
            };
            let ended = tokio::time::timeout(Duration::from_secs(60), ended).await;
            assert_eq!(ended.expect("it hears of the signal"), 137);
            let back = bridge::ReturnRequest { result: Some(bridge::Result::default()), error: None };
            bridge.r#return(about_build("mine", back)).await.expect("taken");
        };
        tokio::join!(solving, driving).0.expect("solved");
    });
}

#[test]
fn a_result_may_be_empty_for_one_of_several_platforms() {
    with_services(async |services| {
        let caller = Caller::connect(&services, Owner::of("me")).await;
        let mut control = caller.control();
        let solving = control.solve(driven("mine"));
        let driving = async {
            let mut bridge = caller.bridge();
            let empty = |platform: &str| (platform.to_owned(), bridge::Ref::default());
            let refs = bridge::RefMap { refs: ["linux/amd64", "linux/arm64"].map(empty).into() };
            let result = bridge::result::Result::Refs(refs);
            let result = Some(bridge::Result { result: Some(result), ..Default::default() });
            let back = bridge::ReturnRequest { result, error: None };
            bridge.r#return(about_build("mine", back)).await.expect("taken");
        };
        tokio::join!(solving, driving).0.expect("solved");
    });
}
