//! A definition that somebody sent, checked.

use std::collections::HashMap;

use bytes::Bytes;
use oci::Digest;
use prost::Message;

use crate::pb;
use crate::weigh::weigh;
use crate::{CUSTOM_NAME, check, name};

/// The operations that a definition's result comes from: acyclic, complete, and within limits.
#[derive(Clone, Debug)]
pub struct Graph {
    /// Inputs stand before what uses them.
    vertices: Vec<Vertex>,
    /// What the definition is for; an empty definition is for an empty directory.
    result: Option<Edge>,
    source: Option<pb::Source>,
}

/// One operation.
#[derive(Clone, Debug)]
pub struct Vertex {
    /// Of its bytes: what clients know it by.
    pub digest: Digest,
    /// What is to be done.
    pub op: pb::Op,
    /// The operation as it was sent.
    pub bytes: Bytes,
    /// What is known of it besides.
    pub metadata: pb::OpMetadata,
    /// Where each of the operation's inputs comes from, in its order.
    pub inputs: Vec<Edge>,
    /// What to show for it.
    pub name: String,
}

/// One output of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Edge {
    /// Its place in [`Graph::vertices`].
    pub vertex: usize,
    /// Which of its outputs.
    pub index: usize,
}

/// How large a definition may be.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Operations.
    pub operations: usize,
    /// Inputs of all operations.
    pub edges: usize,
    /// Bytes of all operations.
    pub bytes: usize,
    /// Operations on the longest way from a source to the result.
    pub depth: usize,
}

/// Why a definition is none.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is larger than it may be.
    #[error("the definition has more than {limit} {what}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much there may be.
        limit: usize,
    },
    /// Its bytes are no operation.
    #[error("operation {digest} cannot be read")]
    Decode {
        /// Of the bytes.
        digest: Digest,
        /// Why not.
        source: prost::DecodeError,
    },
    /// An operation is not as operations are.
    #[error("operation {digest} is wrong: {why}")]
    Wrong {
        /// Which.
        digest: Digest,
        /// In which way.
        why: &'static str,
    },
    /// An operation is not there.
    #[error("operation {0}, which others use, is not in the definition")]
    Missing(String),
    /// An operation would have to be done before itself.
    #[error("operation {0} is among its own inputs")]
    Cycle(Digest),
    /// The last operation, which names the result, names nothing.
    #[error("the definition does not say what it is for")]
    NoResult,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { operations: 20_000, edges: 200_000, bytes: 64 << 20, depth: 5_000 }
    }
}

/// An operation that was read and has no place yet.
struct Loose {
    digest: Digest,
    op: pb::Op,
    bytes: Bytes,
    place: Place,
}

enum Place {
    None,
    /// Its inputs are being placed.
    Begun,
    At {
        /// Among the vertices.
        vertex: usize,
        /// How many outputs it has, counted once: many may use them.
        outputs: usize,
    },
}

impl Graph {
    /// Checks `definition`. Operations that its result does not come from are left out.
    pub fn read(definition: &pb::Definition, limits: Limits) -> Result<Self, ReadError> {
        let Some((last, operations)) = definition.def.split_last() else {
            return Ok(Graph { vertices: Vec::new(), result: None, source: source_of(definition) });
        };
        if operations.len() > limits.operations {
            return Err(ReadError::TooLarge { what: "operations", limit: limits.operations });
        }
        if definition.def.iter().map(Bytes::len).sum::<usize>() > limits.bytes {
            return Err(ReadError::TooLarge { what: "bytes", limit: limits.bytes });
        }
        let mut loose = Vec::with_capacity(operations.len());
        let mut known = HashMap::with_capacity(operations.len());
        let mut edges = 0;
        for bytes in operations {
            // Of its own: what is kept of a graph is not as large as the message that it came in.
            let bytes = Bytes::copy_from_slice(bytes);
            let (digest, op) = decode(&bytes, limits.edges)?;
            edges += op.inputs.len();
            if edges > limits.edges {
                return Err(ReadError::TooLarge { what: "inputs", limit: limits.edges });
            }
            // The same operation twice is one.
            known.entry(digest.to_string()).or_insert_with(|| {
                loose.push(Loose { digest, op, bytes, place: Place::None });
                loose.len() - 1
            });
        }
        let (digest, end) = decode(last, limits.edges)?;
        let Some(end) = end.inputs.first() else { return Err(ReadError::NoResult) };
        let index = index_of(end, &digest)?;
        let root = *known.get(&end.digest).ok_or_else(|| ReadError::Missing(end.digest.clone()))?;
        let mut graph = Graph { vertices: Vec::new(), result: None, source: source_of(definition) };
        let vertex = graph.place(root, &mut loose, &known, &definition.metadata, limits)?;
        graph.result = Some(Edge { vertex, index });
        Ok(graph)
    }

    /// All operations; inputs stand before what uses them.
    pub fn vertices(&self) -> &[Vertex] {
        &self.vertices
    }

    /// The operation at `place`, which an [`Edge`] of this graph named.
    pub fn vertex(&self, place: usize) -> &Vertex {
        &self.vertices[place]
    }

    /// What the definition is for; nothing is an empty directory.
    pub fn result(&self) -> Option<Edge> {
        self.result
    }

    /// The definition that this is of, without what its result does not come from.
    pub fn definition(&self) -> pb::Definition {
        let Some(result) = self.result else { return pb::Definition::default() };
        let mut definition = pb::Definition { source: self.source.clone(), ..Default::default() };
        for vertex in &self.vertices {
            definition.def.push(vertex.bytes.clone());
            definition.metadata.insert(vertex.digest.to_string(), vertex.metadata.clone());
        }
        let digest = self.vertices[result.vertex].digest.to_string();
        let index = i64::try_from(result.index).unwrap_or(i64::MAX);
        let end = pb::Op { inputs: vec![pb::Input { digest, index }], ..Default::default() };
        definition.def.push(Bytes::from(end.encode_to_vec()));
        definition
    }

    /// The sources, by their places, with what each is for.
    pub fn sources(&self) -> impl Iterator<Item = (usize, &pb::SourceOp, Option<&pb::Platform>)> {
        self.vertices.iter().enumerate().filter_map(|(at, vertex)| match &vertex.op.op {
            Some(pb::op::Op::Source(source)) => Some((at, source, vertex.op.platform.as_ref())),
            _ => None,
        })
    }

    /// Puts other sources in the place of some, by their places. What stands on one is another operation then, too;
    /// what is known of it stays known.
    pub fn replace_sources(&mut self, mut sources: HashMap<usize, pb::SourceOp>) {
        let mut changed: HashMap<String, String> = HashMap::new();
        for at in 0..self.vertices.len() {
            let mut op = self.vertices[at].op.clone();
            let is_other = match (&mut op.op, sources.remove(&at)) {
                (Some(pb::op::Op::Source(source)), Some(other)) => {
                    *source = other;
                    true
                }
                _ => op.inputs.iter().any(|input| changed.contains_key(&input.digest)),
            };
            if !is_other {
                continue;
            }
            for input in &mut op.inputs {
                if let Some(digest) = changed.get(&input.digest) {
                    input.digest.clone_from(digest);
                }
            }
            let bytes = Bytes::from(op.encode_to_vec());
            let digest = Digest::sha256_of(&bytes);
            changed.insert(self.vertices[at].digest.to_string(), digest.to_string());
            let name = match self.vertices[at].metadata.description.contains_key(CUSTOM_NAME) {
                true => None,
                false => Some(name::of(&op, &self.vertices[at].inputs, &self.vertices[..at])),
            };
            let vertex = &mut self.vertices[at];
            (vertex.op, vertex.bytes, vertex.digest) = (op, bytes, digest);
            if let Some(mut name) = name {
                cut(&mut name, 4 << 10);
                vertex.name = name;
            }
        }
        if let Some(source) = &mut self.source {
            for (was, is) in changed {
                if let Some(locations) = source.locations.remove(&was) {
                    source.locations.insert(is, locations);
                }
            }
        }
    }

    /// Where operations were written down, if the definition says so.
    pub fn source(&self) -> Option<&pb::Source> {
        self.source.as_ref()
    }

    /// Places `root` after all that it comes from, and says where.
    fn place(
        &mut self,
        root: usize,
        loose: &mut [Loose],
        known: &HashMap<String, usize>,
        metadata: &std::collections::BTreeMap<String, pb::OpMetadata>,
        limits: Limits,
    ) -> Result<usize, ReadError> {
        // Which operation, and how many of its inputs have a place. The stack is the way from the root.
        let mut way = vec![(root, 0_usize)];
        loose[root].place = Place::Begun;
        let mut placed = 0;
        while let Some((at, done)) = way.last_mut() {
            let at = *at;
            if let Some(input) = loose[at].op.inputs.get(*done) {
                *done += 1;
                let next =
                    *known.get(&input.digest).ok_or_else(|| ReadError::Missing(input.digest.clone()))?;
                match loose[next].place {
                    Place::At { .. } => {}
                    Place::Begun => return Err(ReadError::Cycle(loose[next].digest.clone())),
                    Place::None => {
                        loose[next].place = Place::Begun;
                        way.push((next, 0));
                    }
                }
                continue;
            }
            way.pop();
            placed = self.settle(at, loose, known, metadata)?;
            let outputs = outputs_of(&self.vertices[placed].op);
            loose[at].place = Place::At { vertex: placed, outputs };
        }
        self.check_depth(limits.depth)?;
        Ok(placed)
    }

    /// Gives the operation `at` its place, after its inputs, which have theirs.
    fn settle(
        &mut self,
        at: usize,
        loose: &mut [Loose],
        known: &HashMap<String, usize>,
        metadata: &std::collections::BTreeMap<String, pb::OpMetadata>,
    ) -> Result<usize, ReadError> {
        let digest = loose[at].digest.clone();
        let op = std::mem::take(&mut loose[at].op);
        check::check(&op).map_err(|why| ReadError::Wrong { digest: digest.clone(), why })?;
        let mut inputs = Vec::with_capacity(op.inputs.len());
        for input in &op.inputs {
            let place = known.get(&input.digest).map(|at| &loose[*at].place);
            let Some(&Place::At { vertex, outputs }) = place else {
                return Err(ReadError::Missing(input.digest.clone()));
            };
            let index = index_of(input, &digest)?;
            if index >= outputs {
                return Err(ReadError::Wrong { digest, why: "it uses an output that there is not" });
            }
            inputs.push(Edge { vertex, index });
        }
        let metadata = metadata.get(&digest.to_string()).cloned().unwrap_or_default();
        let mut name = match metadata.description.get(CUSTOM_NAME) {
            Some(name) => name.clone(),
            None => name::of(&op, &inputs, &self.vertices),
        };
        // Names of operations on operations grow with the graph; a name is for people to read.
        cut(&mut name, 4 << 10);
        let bytes = loose[at].bytes.clone();
        self.vertices.push(Vertex { digest, op, bytes, metadata, inputs, name });
        Ok(self.vertices.len() - 1)
    }

    fn check_depth(&self, limit: usize) -> Result<(), ReadError> {
        let mut depths: Vec<usize> = Vec::with_capacity(self.vertices.len());
        for vertex in &self.vertices {
            let below = vertex.inputs.iter().map(|input| depths[input.vertex]).max().unwrap_or(0);
            if below + 1 > limit {
                return Err(ReadError::TooLarge { what: "operations that wait for each other", limit });
            }
            depths.push(below + 1);
        }
        Ok(())
    }
}

fn decode(bytes: &Bytes, edges: usize) -> Result<(Digest, pb::Op), ReadError> {
    let digest = Digest::sha256_of(bytes);
    weigh(bytes, edges).map_err(|why| ReadError::Wrong { digest: digest.clone(), why })?;
    match pb::Op::decode(bytes.clone()) {
        Ok(op) => Ok((digest, op)),
        Err(source) => Err(ReadError::Decode { digest, source }),
    }
}

/// Where operations were written down, in memory of its own.
fn source_of(definition: &pb::Definition) -> Option<pb::Source> {
    let source = definition.source.as_ref()?;
    pb::Source::decode(Bytes::from(source.encode_to_vec())).ok()
}

fn index_of(input: &pb::Input, of: &Digest) -> Result<usize, ReadError> {
    usize::try_from(input.index)
        .map_err(|_| ReadError::Wrong { digest: of.clone(), why: "an output's number is negative" })
}

impl Vertex {
    /// How many outputs its operation has; no number that anything has where that is not known before.
    pub fn output_count(&self) -> usize {
        outputs_of(&self.op)
    }
}

/// How many outputs the operation has.
fn outputs_of(op: &pb::Op) -> usize {
    match &op.op {
        Some(pb::op::Op::Exec(exec)) => {
            // As they are checked: what is said of the outputs of secrets means nothing.
            let files = exec.mounts.iter().filter(|mount| mount.mount_type == pb::MountType::Bind as i32);
            files.filter(|mount| mount.output != crate::SKIP_OUTPUT).count()
        }
        Some(pb::op::Op::File(file)) => file.actions.iter().filter(|action| action.output >= 0).count(),
        Some(pb::op::Op::Passthrough(pass)) => pass.outputs.len(),
        // What a build inside a build comes to is not known before.
        Some(pb::op::Op::Build(_)) => usize::MAX,
        _ => 1,
    }
}

fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
}

#[cfg(test)]
mod tests;
