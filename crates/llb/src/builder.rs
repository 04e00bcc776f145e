//! Makes a definition, operation by operation.

use std::collections::BTreeMap;

use bytes::Bytes;
use oci::Digest;
use prost::Message;

use crate::pb;

/// A definition under way. The same operation added twice is one.
///
/// ```
/// use llb::pb::{Op, SourceOp, op};
///
/// let mut builder = llb::Builder::new();
/// let source = SourceOp { identifier: "docker-image://docker.io/library/alpine:latest".to_owned(), ..Default::default() };
/// let image = builder.add(op::Op::Source(source), &[], None, Default::default());
/// let definition = builder.finish(Some(&image));
/// let graph = llb::Graph::read(&definition, llb::Limits::default()).expect("what was built can be read");
/// assert_eq!(graph.vertices().len(), 1);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Builder {
    operations: Vec<(Digest, Bytes)>,
    metadata: BTreeMap<String, pb::OpMetadata>,
    locations: BTreeMap<String, pb::Locations>,
    infos: Vec<pb::SourceInfo>,
}

/// One output of an operation that a [`Builder`] has.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Output {
    /// Of the operation's bytes.
    pub digest: Digest,
    /// Which of its outputs.
    pub index: usize,
}

impl Builder {
    /// Nothing yet.
    pub fn new() -> Self {
        Builder::default()
    }

    /// Adds the operation `op` on `inputs`, and returns its first output. Where the operation is there
    /// already, what `metadata` says is added to what is known of it.
    pub fn add(
        &mut self,
        op: pb::op::Op,
        inputs: &[Output],
        platform: Option<pb::Platform>,
        metadata: pb::OpMetadata,
    ) -> Output {
        let inputs = inputs.iter().map(Output::input).collect();
        let constraints = Some(pb::WorkerConstraints::default());
        let bytes = Bytes::from(pb::Op { inputs, op: Some(op), platform, constraints }.encode_to_vec());
        let digest = Digest::sha256_of(&bytes);
        match self.metadata.get_mut(&digest.to_string()) {
            None => {
                self.metadata.insert(digest.to_string(), metadata);
                self.operations.push((digest.clone(), bytes));
            }
            Some(known) => {
                known.ignore_cache |= metadata.ignore_cache;
                known.description.extend(metadata.description);
                known.caps.extend(metadata.caps);
                known.export_cache = metadata.export_cache.or(known.export_cache);
                known.progress_group = metadata.progress_group.or(known.progress_group.take());
                known.linux_resources = metadata.linux_resources.or(known.linux_resources.take());
            }
        }
        Output { digest, index: 0 }
    }

    /// Adds the operations of `definition`, and returns its result: nothing, if that is an empty
    /// directory or if `definition` cannot be read.
    pub fn add_definition(&mut self, definition: &pb::Definition) -> Option<Output> {
        let (last, operations) = definition.def.split_last()?;
        let end = pb::Op::decode(last.clone()).ok()?.inputs.into_iter().next()?;
        let result = Output { digest: end.digest.parse().ok()?, index: usize::try_from(end.index).ok()? };
        for bytes in operations {
            let digest = Digest::sha256_of(bytes);
            let name = digest.to_string();
            if !self.metadata.contains_key(&name) {
                self.metadata
                    .insert(name.clone(), definition.metadata.get(&name).cloned().unwrap_or_default());
                self.operations.push((digest, bytes.clone()));
            }
        }
        if let Some(source) = &definition.source {
            let first = i32::try_from(self.infos.len()).unwrap_or(i32::MAX);
            self.infos.extend(source.infos.iter().cloned());
            for (name, locations) in &source.locations {
                let moved = locations.locations.iter().cloned().map(|mut location| {
                    location.source_index = location.source_index.saturating_add(first);
                    location
                });
                self.locations.entry(name.clone()).or_default().locations.extend(moved);
            }
        }
        Some(result)
    }

    /// What is known of the operation that `output` is of, to be added to.
    pub fn metadata(&mut self, output: &Output) -> &mut pb::OpMetadata {
        self.metadata.entry(output.digest.to_string()).or_default()
    }

    /// Adds a text that operations are written down in, and returns its number for [`Builder::locate`].
    pub fn add_source(&mut self, info: pb::SourceInfo) -> usize {
        self.infos.push(info);
        self.infos.len() - 1
    }

    /// Says that the operation of `output` stands at `ranges` of the text number `source`.
    pub fn locate(&mut self, output: &Output, source: usize, ranges: Vec<pb::Range>) {
        let source_index = i32::try_from(source).unwrap_or(i32::MAX);
        let known = self.locations.entry(output.digest.to_string()).or_default();
        let location = pb::Location { source_index, ranges };
        if !known.locations.contains(&location) {
            known.locations.push(location);
        }
    }

    /// The definition of `result`, with what it comes from and nothing else. Without a result it is that
    /// of an empty directory.
    pub fn finish(&self, result: Option<&Output>) -> pb::Definition {
        let Some(result) = result else { return pb::Definition::default() };
        let used = self.used(result);
        let mut definition = pb::Definition::default();
        for (digest, bytes) in self.operations.iter().filter(|(digest, _)| used.contains(digest)) {
            definition.def.push(bytes.clone());
            let name = digest.to_string();
            if let Some(metadata) = self.metadata.get(&name) {
                definition.metadata.insert(name, metadata.clone());
            }
        }
        let end = pb::Op { inputs: vec![result.input()], ..Default::default() };
        definition.def.push(Bytes::from(end.encode_to_vec()));
        let locations: BTreeMap<_, _> = definition
            .metadata
            .keys()
            .filter_map(|name| Some((name.clone(), self.locations.get(name)?.clone())))
            .collect();
        if !self.infos.is_empty() {
            definition.source = Some(pb::Source { locations, infos: self.infos.clone() });
        }
        definition
    }

    /// The operations that `result` comes from.
    fn used(&self, result: &Output) -> std::collections::HashSet<Digest> {
        let mut used = std::collections::HashSet::from([result.digest.clone()]);
        let mut waiting = vec![result.digest.clone()];
        let known: BTreeMap<&Digest, &Bytes> =
            self.operations.iter().map(|(digest, bytes)| (digest, bytes)).collect();
        while let Some(digest) = waiting.pop() {
            let Some(op) = known.get(&digest).and_then(|bytes| pb::Op::decode((*bytes).clone()).ok()) else {
                continue;
            };
            for input in op.inputs {
                let Ok(digest) = input.digest.parse::<Digest>() else { continue };
                if used.insert(digest.clone()) {
                    waiting.push(digest);
                }
            }
        }
        used
    }
}

impl Output {
    /// Another output of the same operation.
    pub fn at(&self, index: usize) -> Output {
        Output { digest: self.digest.clone(), index }
    }

    /// This output as an operation's input.
    pub fn input(&self) -> pb::Input {
        let index = i64::try_from(self.index).unwrap_or(i64::MAX);
        pb::Input { digest: self.digest.to_string(), index }
    }
}
