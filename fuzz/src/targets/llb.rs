//! Build definitions.

use bytes::Bytes;
use llb::pb;
use prost::Message;

use crate::{Shape, Target};

pub(super) const TARGET: Target = Target {
    name: "llb",
    shape: Shape::Protobuf(0),
    examples,
    words: &["docker-image://", "local://", "git://", "https://", "sha256:", "/../", "llb.customname"],
    read,
    turns: 2000,
};

/// In the definition that is fed, an input names an operation by its place among them: nobody finds digests.
fn read(message: &[u8]) -> bool {
    let Ok(mut definition) = pb::Definition::decode(message) else { return false };
    let mut digests: Vec<String> = Vec::new();
    for bytes in &mut definition.def {
        let Ok(mut op) = pb::Op::decode(&bytes[..]) else { continue };
        for input in &mut op.inputs {
            let place = input.digest.parse().ok().and_then(|place: usize| digests.get(place));
            if let Some(digest) = place {
                input.digest.clone_from(digest);
            }
        }
        *bytes = Bytes::from(op.encode_to_vec());
        digests.push(oci::Digest::sha256_of(bytes).to_string());
    }
    let Ok(graph) = llb::Graph::read(&definition, llb::Limits::default()) else { return false };
    let again =
        llb::Graph::read(&graph.definition(), llb::Limits::default()).expect("what was read can be read");
    assert_eq!(again.vertices().len(), graph.vertices().len());
    assert_eq!(again.result(), graph.result());
    for (place, vertex) in graph.vertices().iter().enumerate() {
        assert_eq!(again.vertex(place).digest, vertex.digest);
        assert!(vertex.inputs.iter().all(|edge| edge.vertex < place), "an input stands before what uses it");
    }
    true
}

fn examples() -> Vec<Vec<u8>> {
    use pb::op::Op as Kind;
    let input = |place: usize| pb::Input { digest: place.to_string(), index: 0 };
    let source = |identifier: &str| pb::SourceOp { identifier: identifier.to_owned(), ..Default::default() };
    let op = |inputs: Vec<pb::Input>, kind: Kind| pb::Op { inputs, op: Some(kind), ..Default::default() };
    let mount =
        |input, dest: &str, output| pb::Mount { input, dest: dest.to_owned(), output, ..Default::default() };
    let meta = pb::Meta { args: vec!["make".to_owned()], cwd: "/".to_owned(), ..Default::default() };
    let exec = pb::ExecOp {
        meta: Some(meta),
        mounts: vec![mount(0, "/", 0), mount(1, "/src", llb::SKIP_OUTPUT), mount(llb::EMPTY, "/cache", 1)],
        ..Default::default()
    };
    let copy = pb::FileActionCopy { src: "/a*".to_owned(), dest: "/b".to_owned(), ..Default::default() };
    let action = pb::FileAction {
        input: 0,
        secondary_input: 1,
        output: 0,
        action: Some(pb::file_action::Action::Copy(copy)),
    };
    let file = pb::FileOp { actions: vec![action] };
    let merge = pb::MergeOp { inputs: vec![pb::MergeInput { input: 0 }, pb::MergeInput { input: 1 }] };
    let ops = [
        op(Vec::new(), Kind::Source(source("docker-image://docker.io/library/alpine:latest"))),
        op(Vec::new(), Kind::Source(source("local://context"))),
        op(vec![input(0), input(1)], Kind::Exec(exec)),
        op(vec![input(2), input(1)], Kind::File(file)),
        op(vec![input(2), input(3)], Kind::Merge(merge)),
    ];
    // Every beginning of it is a definition of its own.
    (1..=ops.len())
        .map(|count| {
            let end = pb::Op { inputs: vec![input(count - 1)], ..Default::default() };
            let def = ops[..count].iter().chain([&end]).map(|op| Bytes::from(op.encode_to_vec())).collect();
            pb::Definition { def, ..Default::default() }.encode_to_vec()
        })
        .collect()
}
