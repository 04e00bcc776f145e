use crate::pb::{self, op};
use crate::{Builder, Graph, Limits, Output, ReadError};
use bytes::Bytes;
use prost::Message;

fn source(name: &str) -> op::Op {
    op::Op::Source(pb::SourceOp { identifier: name.to_owned(), ..Default::default() })
}

fn exec(arguments: &[&str], inputs: usize) -> op::Op {
    let mounts = (0..inputs.max(1)).map(|at| pb::Mount {
        input: if inputs == 0 { crate::EMPTY } else { at as i64 },
        dest: if at == 0 { "/".to_owned() } else { format!("/mnt/{at}") },
        output: if at == 0 { 0 } else { crate::SKIP_OUTPUT },
        ..Default::default()
    });
    let args = arguments.iter().map(|text| (*text).to_owned()).collect();
    let meta = Some(pb::Meta { args, cwd: "/".to_owned(), ..Default::default() });
    op::Op::Exec(pb::ExecOp { meta, mounts: mounts.collect(), ..Default::default() })
}

fn add(builder: &mut Builder, op: op::Op, inputs: &[Output]) -> Output {
    builder.add(op, inputs, None, pb::OpMetadata::default())
}

/// A definition of the operations `ops`, as bytes, for the last of them.
fn raw(ops: &[pb::Op]) -> pb::Definition {
    let mut def: Vec<Bytes> = ops.iter().map(|op| op.encode_to_vec().into()).collect();
    let digest = oci::Digest::sha256_of(def.last().expect("an operation")).to_string();
    let end = pb::Op { inputs: vec![pb::Input { digest, index: 0 }], ..Default::default() };
    def.push(end.encode_to_vec().into());
    pb::Definition { def, ..Default::default() }
}

#[test]
fn inputs_stand_before_what_uses_them_and_the_unused_are_left_out() {
    let mut builder = Builder::new();
    let base = add(&mut builder, source("docker-image://a"), &[]);
    add(&mut builder, source("docker-image://unused"), &[]);
    let left = add(&mut builder, exec(&["left"], 1), std::slice::from_ref(&base));
    let right = add(&mut builder, exec(&["right"], 1), std::slice::from_ref(&base));
    let both = add(&mut builder, exec(&["both"], 2), &[left, right]);
    let mut definition = builder.finish(Some(&both));
    let end = definition.def.pop().expect("an end");
    definition.def.reverse();
    definition.def.push(end);

    let graph = Graph::read(&definition, Limits::default()).expect("a graph");
    assert_eq!(graph.vertices().len(), 4);
    for (at, vertex) in graph.vertices().iter().enumerate() {
        assert!(vertex.inputs.iter().all(|input| input.vertex < at), "{} stands too early", vertex.name);
    }
    let result = graph.result().expect("a result");
    assert_eq!(graph.vertex(result.vertex).name, "both");
    assert_eq!(graph.vertex(result.vertex).digest, both.digest);
    assert_eq!(graph.definition(), builder.finish(Some(&both)));
}

#[test]
fn what_is_said_of_the_outputs_of_secrets_means_nothing() {
    let op::Op::Exec(mut command) = exec(&["x"], 0) else { panic!("no command") };
    let secret = |kind: pb::MountType| pb::Mount {
        input: crate::EMPTY,
        dest: "/run/secrets/s".to_owned(),
        mount_type: kind.into(),
        ..Default::default()
    };
    command.mounts.extend([secret(pb::MountType::Secret), secret(pb::MountType::Ssh)]);
    let mut builder = Builder::new();
    let output = add(&mut builder, op::Op::Exec(command.clone()), &[]);
    assert!(Graph::read(&builder.finish(Some(&output)), Limits::default()).is_ok());
    command.mounts.push(secret(pb::MountType::Bind));
    let output = add(&mut builder, op::Op::Exec(command), &[]);
    assert!(Graph::read(&builder.finish(Some(&output)), Limits::default()).is_err());
}

#[test]
fn an_empty_definition_is_an_empty_directory() {
    let graph = Graph::read(&pb::Definition::default(), Limits::default()).expect("a graph");
    assert_eq!(graph.result(), None);
}

#[test]
fn what_is_wrong_is_refused() {
    let input = |digest: &str, index| pb::Input { digest: digest.to_owned(), index };
    let op = |op, inputs| pb::Op { op: Some(op), inputs, ..Default::default() };
    let image = op(source("docker-image://a"), vec![]);
    let digest = oci::Digest::sha256_of(&image.encode_to_vec()).to_string();
    let check = |ops: &[pb::Op], expected: &str| {
        let error = Graph::read(&raw(ops), Limits::default()).expect_err(expected).to_string();
        assert!(error.contains(expected), "`{error}` is not about `{expected}`");
    };
    check(&[op(exec(&["x"], 1), vec![input("sha256:ab", 0)])], "sha256:ab, which others use, is not");
    check(&[image.clone(), op(exec(&["x"], 1), vec![input(&digest, -1)])], "negative");
    check(&[image.clone(), op(exec(&["x"], 1), vec![input(&digest, 1)])], "an output that there is not");
    check(&[op(exec(&["x"], 1), vec![])], "an input that it has not");
    check(&[op(exec(&[], 0), vec![])], "no arguments");
    check(&[pb::Op::default()], "does nothing");
    check(&[op(op::Op::File(pb::FileOp::default()), vec![])], "no actions");
    let copy = |input, from| {
        let copied = pb::FileActionCopy { src: "/".into(), dest: "/".into(), ..Default::default() };
        let action = Some(pb::file_action::Action::Copy(copied));
        let action = pb::FileAction { input, secondary_input: from, output: 0, action };
        op::Op::File(pb::FileOp { actions: vec![action] })
    };
    check(&[op(copy(-1, 7), vec![])], "an input that it has not");
    let meta = Some(pb::Meta { args: vec!["x".into()], ..Default::default() });
    let rootless = pb::ExecOp { meta, ..Default::default() };
    check(&[op(op::Op::Exec(rootless), vec![])], "no root file system");
    let bytes = pb::Definition { def: vec![Bytes::from_static(&[0xff]); 2], ..Default::default() };
    assert!(matches!(Graph::read(&bytes, Limits::default()), Err(ReadError::Decode { .. })));
    let aimless = pb::Definition { def: vec![Bytes::new()], ..Default::default() };
    assert!(matches!(Graph::read(&aimless, Limits::default()), Err(ReadError::NoResult)));
}

#[test]
fn what_is_larger_than_its_limits_is_refused_and_does_not_fill_the_stack() {
    let mut builder = Builder::new();
    let mut last = add(&mut builder, source("docker-image://a"), &[]);
    for at in 0..30_000 {
        last = add(&mut builder, exec(&[&at.to_string()], 1), &[last]);
    }
    let definition = builder.finish(Some(&last));
    let wide = Limits { operations: usize::MAX, edges: usize::MAX, bytes: usize::MAX, depth: usize::MAX };
    let graph = Graph::read(&definition, wide).expect("without limits it is read");
    assert_eq!(graph.vertices().len(), 30_001);
    for (limits, what) in [
        (Limits { operations: 29_999, ..wide }, "operations"),
        (Limits { edges: 29_999, ..wide }, "inputs"),
        (Limits { bytes: 1 << 20, ..wide }, "bytes"),
        (Limits { depth: 29_999, ..wide }, "operations that wait for each other"),
    ] {
        match Graph::read(&definition, limits) {
            Err(ReadError::TooLarge { what: found, .. }) => assert_eq!(found, what),
            other => panic!("{what}: {:?}", other.map(|graph| graph.vertices().len())),
        }
    }
}

#[test]
fn outputs_are_counted_once_and_only_those_of_files() {
    let op::Op::Exec(mut command) = exec(&["x"], 0) else { panic!("no command") };
    let secret = pb::Mount {
        input: crate::EMPTY,
        dest: "/s".to_owned(),
        mount_type: pb::MountType::Secret.into(),
        ..Default::default()
    };
    command.mounts.extend(std::iter::repeat_n(secret, 9_000));
    let first = pb::Op { op: Some(op::Op::Exec(command)), ..Default::default() };
    let digest = oci::Digest::sha256_of(&first.encode_to_vec()).to_string();
    let uses = |index, edges| {
        let inputs = vec![pb::Input { digest: digest.clone(), index }; edges];
        let merged = (0..edges as i64).map(|input| pb::MergeInput { input }).collect();
        let op = Some(op::Op::Merge(pb::MergeOp { inputs: merged }));
        pb::Op { inputs, op, ..Default::default() }
    };
    let read = |ops: &[pb::Op]| Graph::read(&raw(ops), Limits::default());
    // Looked at once for each edge that is a hundred million mounts, and again for each of what uses them.
    let mut ops = vec![first.clone()];
    ops.push(uses(0, 10_000));
    assert!(read(&ops).is_ok());
    // A secret is no output.
    let error = read(&[first, uses(1, 1)]).expect_err("an output of a secret");
    assert!(error.to_string().contains("an output that there is not"), "{error}");
}

#[test]
fn what_is_small_on_the_wire_and_large_when_read_is_refused_before() {
    let field = |number: u8, inner: &[u8]| {
        let mut bytes = vec![number << 3 | 2];
        prost::encoding::encode_varint(inner.len() as u64, &mut bytes);
        bytes.extend_from_slice(inner);
        bytes
    };
    let check = |op: Vec<u8>, expected: &str| {
        let definition = pb::Definition { def: vec![op.into(), Bytes::new()], ..Default::default() };
        let error = Graph::read(&definition, Limits::default()).expect_err(expected).to_string();
        assert!(error.contains(expected), "`{error}` is not about `{expected}`");
    };
    let empty = |number: u8, count: usize| field(number, &[]).repeat(count);
    // Mounts, actions and inputs of nothing, in one piece and in many.
    check(field(2, &empty(2, 20_000)), "too many parts");
    check(field(4, &empty(2, 20_000)), "too many parts");
    check(field(2, &empty(2, 2)).repeat(5_000), "too many parts");
    check(empty(1, 200_001), "too many inputs");
    check(field(6, &empty(1, 200_001)), "too many inputs");
    check(field(3, &field(1, &vec![b'a'; 1 << 20])), "too large");
    // A file among the rest makes room for nothing else.
    check([field(4, &[]), field(3, &field(1, &vec![b'a'; 1 << 20]))].concat(), "too large");
    check(field(4, &field(2, &vec![b'a'; 4 << 20])), "too large");
    let mkfile = |size: usize| {
        let file =
            pb::FileActionMkFile { path: "/a".into(), data: vec![1; size].into(), ..Default::default() };
        let action = Some(pb::file_action::Action::Mkfile(file));
        let action = pb::FileAction { input: -1, secondary_input: -1, output: 0, action };
        pb::Op { op: Some(op::Op::File(pb::FileOp { actions: vec![action] })), ..Default::default() }
    };
    assert!(Graph::read(&raw(&[mkfile(3 << 20)]), Limits::default()).is_ok());
}

#[test]
fn names_that_grow_with_the_graph_are_cut() {
    let mut builder = Builder::new();
    let mut last = add(&mut builder, source("docker-image://a"), &[]);
    for _ in 0..64 {
        let inputs = (0..2).map(|input| pb::MergeInput { input }).collect();
        last = add(&mut builder, op::Op::Merge(pb::MergeOp { inputs }), &[last.clone(), last]);
    }
    let graph = Graph::read(&builder.finish(Some(&last)), Limits::default()).expect("a graph");
    assert!(graph.vertices().iter().all(|vertex| vertex.name.len() <= 4 << 10));
}

#[test]
fn what_is_kept_of_a_graph_is_not_the_message_that_it_came_in() {
    let sent = raw(&[pb::Op { op: Some(source("docker-image://a")), ..Default::default() }]);
    let mut message = pb::Definition {
        source: Some(pb::Source {
            infos: vec![pb::SourceInfo { data: Bytes::from_static(b"FROM a"), ..Default::default() }],
            ..Default::default()
        }),
        ..sent
    };
    // What the result does not come from.
    message.def.insert(
        0,
        pb::Op { op: Some(source(&"x".repeat(1 << 16))), ..Default::default() }.encode_to_vec().into(),
    );
    let message = Bytes::from(message.encode_to_vec());
    let definition = pb::Definition::decode(message.clone()).expect("a definition");
    let within = |bytes: &Bytes| message.as_ptr_range().contains(&bytes.as_ptr());
    assert!(definition.def.iter().any(within), "what is read lies in its message");
    let graph = Graph::read(&definition, Limits::default()).expect("a graph");
    assert_eq!(graph.vertices().len(), 1);
    assert!(!within(&graph.vertex(0).bytes));
    assert!(!within(&graph.source().expect("a source").infos[0].data));
}

#[test]
fn what_stands_on_a_source_that_is_replaced_is_another_operation() {
    let mut builder = Builder::new();
    let (one, two) = (source("docker-image://a"), source("docker-image://b"));
    let (one, two) = (add(&mut builder, one, &[]), add(&mut builder, two, &[]));
    let on_one = add(&mut builder, exec(&["on one"], 1), std::slice::from_ref(&one));
    let both = add(&mut builder, exec(&["both"], 2), &[on_one.clone(), two.clone()]);
    let info = builder.add_source(pb::SourceInfo { filename: "Dockerfile".to_owned(), ..Default::default() });
    builder.locate(&on_one, info, vec![pb::Range::default()]);
    let before = Graph::read(&builder.finish(Some(&both)), Limits::default()).expect("a graph");
    let mut graph = before.clone();
    let sources = graph.sources().filter(|(_, source, _)| source.identifier == "docker-image://a");
    let changed = sources.map(|(at, source, _)| {
        (at, pb::SourceOp { identifier: "docker-image://c".to_owned(), ..source.clone() })
    });
    let changed = changed.collect();
    graph.replace_sources(changed);
    // It is the graph of a definition that says so from the beginning.
    let again = Graph::read(&graph.definition(), Limits::default()).expect("a graph");
    let names = |graph: &Graph| graph.vertices().iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&again), names(&graph));
    assert!(names(&graph).contains(&"docker-image://c".to_owned()));
    for (was, is) in before.vertices().iter().zip(graph.vertices()) {
        let stays = was.digest == two.digest;
        assert_eq!(was.digest == is.digest, stays, "{}", was.name);
        assert_eq!(is.digest, oci::Digest::sha256_of(&is.bytes));
    }
    let on_one = graph.vertices().iter().find(|vertex| vertex.name == "on one").expect("it is there");
    let locations = &graph.source().expect("where it was written").locations;
    assert!(locations.contains_key(&on_one.digest.to_string()) && locations.len() == 1);
}
