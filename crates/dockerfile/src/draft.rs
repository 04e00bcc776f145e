//! A definition before it can be written down.
//!
//! What an instruction takes of the build context is known when all have been read, but operations that use the
//! context are made meanwhile. So operations refer to each other by place here, and get their digests at the end.

use llb::pb;
use oci::Platform;

use crate::syntax::Lines;

/// Operations, each after those that it comes from.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    made: Vec<Made>,
}

/// The result of an operation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Place(usize);

/// An operation.
#[derive(Debug)]
enum Made {
    Operation(Operation),
    /// What another definition comes to.
    Given(pb::Definition),
    /// A source that is made later.
    Later,
}

/// An operation with what it comes from.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) op: pb::op::Op,
    /// In the order of the numbers in `op`.
    pub(crate) inputs: Vec<Place>,
    /// For those that depend on it.
    pub(crate) platform: Option<Platform>,
    pub(crate) metadata: pb::OpMetadata,
    /// Where it stands in the Dockerfile.
    pub(crate) lines: Option<Lines>,
}

impl Draft {
    /// Adds an operation, and gives its first output.
    pub(crate) fn add(&mut self, operation: Operation) -> Place {
        self.push(Made::Operation(operation))
    }

    /// Adds a source.
    pub(crate) fn add_source(&mut self, source: Source) -> Place {
        self.add(source.operation())
    }

    /// Adds what another definition comes to; none if that is an empty directory.
    pub(crate) fn add_given(&mut self, definition: &pb::Definition) -> Option<Place> {
        llb::Builder::new().add_definition(definition)?;
        Some(self.push(Made::Given(definition.clone())))
    }

    /// A place for a source that is not known yet.
    pub(crate) fn add_later(&mut self) -> Place {
        self.push(Made::Later)
    }

    /// Makes the source that was not known.
    pub(crate) fn fill(&mut self, place: Place, source: Source) {
        if matches!(self.made[place.0], Made::Later) {
            self.made[place.0] = Made::Operation(source.operation());
        }
    }

    fn push(&mut self, made: Made) -> Place {
        self.made.push(made);
        Place(self.made.len() - 1)
    }

    /// The definition of `result`. `info` is the text that the operations' lines are of.
    pub(crate) fn finish(&self, result: Option<Place>, info: Option<pb::SourceInfo>) -> pb::Definition {
        let Some(result) = result else { return pb::Definition::default() };
        let mut builder = llb::Builder::new();
        let text = info.map(|info| builder.add_source(info));
        let mut outputs: Vec<Option<llb::Output>> = vec![None; self.made.len()];
        let used = self.used(result);
        for (at, made) in self.made.iter().enumerate().filter(|(at, _)| used[*at]) {
            outputs[at] = match made {
                Made::Later => None,
                Made::Given(definition) => builder.add_definition(definition),
                Made::Operation(operation) => {
                    let inputs: Vec<llb::Output> =
                        operation.inputs.iter().filter_map(|place| outputs[place.0].clone()).collect();
                    let platform = operation.platform.as_ref().map(platform);
                    let metadata = operation.metadata.clone();
                    let output = builder.add(operation.op.clone(), &inputs, platform, metadata);
                    if let (Some(text), Some(lines)) = (text, operation.lines) {
                        builder.locate(&output, text, ranges(lines));
                    }
                    Some(output)
                }
            };
        }
        builder.finish(outputs[result.0].as_ref())
    }

    /// Which operations a result comes from.
    fn used(&self, result: Place) -> Vec<bool> {
        let mut used = vec![false; self.made.len()];
        used[result.0] = true;
        for at in (0..=result.0).rev() {
            if let (true, Made::Operation(operation)) = (used[at], &self.made[at]) {
                for input in &operation.inputs {
                    used[input.0] = true;
                }
            }
        }
        used
    }
}

/// A platform as definitions have it.
pub(crate) fn platform(platform: &Platform) -> pb::Platform {
    pb::Platform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        os_version: platform.os_version.clone(),
        os_features: platform.os_features.clone(),
    }
}

/// Lines as definitions have them: a range for each.
pub fn ranges(lines: Lines) -> Vec<pb::Range> {
    let position =
        |line: u32| Some(pb::Position { line: i32::try_from(line).unwrap_or(i32::MAX), character: 0 });
    let range = |line| pb::Range { start: position(line), end: position(line) };
    (lines.first..=lines.last.max(lines.first)).map(range).collect()
}

/// Where files come from: an address with attributes.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    identifier: String,
    attributes: Vec<(String, String)>,
    capabilities: Vec<&'static str>,
    platform: Option<Platform>,
    description: Vec<(&'static str, String)>,
    lines: Option<Lines>,
}

impl Source {
    /// One of its kind: `kind` is what a builder has to be able to.
    pub(crate) fn new(identifier: String, kind: &'static str) -> Self {
        Self {
            identifier,
            attributes: Vec::new(),
            capabilities: vec![kind],
            platform: None,
            description: Vec::new(),
            lines: None,
        }
    }

    /// An image. `mode` says whether one of this machine will do.
    pub(crate) fn image(reference: &str, platform: &Platform, mode: &str) -> Self {
        let mut source = Self::new(format!("docker-image://{reference}"), "source.image");
        if mode != "default" {
            source = source.attribute("image.resolvemode", mode, None);
        }
        if mode == "pull" {
            source.capabilities.push("source.image.resolvemode");
        }
        source.platform = Some(platform.clone());
        source
    }

    /// A directory of the client.
    pub(crate) fn local(name: &str, session: &str, shared_key: &str) -> Self {
        let source = Self::new(format!("local://{name}"), "source.local");
        let source = match session {
            "" => source,
            session => source.attribute("local.session", session, Some("source.local.sessionid")),
        };
        source.attribute("local.sharedkeyhint", shared_key, Some("source.local.sharedkeyhint"))
    }

    /// Those files of a directory that these paths lead to.
    pub(crate) fn follow(self, paths: &[String]) -> Self {
        match paths.is_empty() {
            true => self,
            false => self.attribute("local.followpaths", &json(paths), Some("source.local.followpaths")),
        }
    }

    /// All files of a directory but these.
    pub(crate) fn exclude(self, patterns: &[String]) -> Self {
        match patterns.is_empty() {
            true => self,
            false => {
                self.attribute("local.excludepatterns", &json(patterns), Some("source.local.excludepatterns"))
            }
        }
    }

    /// A directory whose files are sent anew each time.
    pub(crate) fn anew(self) -> Self {
        self.attribute("local.differ", "none", None)
    }

    /// An attribute, and what a builder has to be able to for it.
    pub(crate) fn attribute(mut self, name: &str, value: &str, capability: Option<&'static str>) -> Self {
        self.attributes.push((name.to_owned(), value.to_owned()));
        self.capabilities.extend(capability);
        self
    }

    pub(crate) fn platform(mut self, platform: &Platform) -> Self {
        self.platform = Some(platform.clone());
        self
    }

    pub(crate) fn named(mut self, name: &str) -> Self {
        self.description.push((llb::CUSTOM_NAME, name.to_owned()));
        self
    }

    /// The instruction that it is of.
    pub(crate) fn command(mut self, code: &str) -> Self {
        self.description.push((COMMAND, code.to_owned()));
        self
    }

    pub(crate) fn at(mut self, lines: Lines) -> Self {
        self.lines = Some(lines);
        self
    }

    fn operation(self) -> Operation {
        let mut metadata = pb::OpMetadata::default();
        metadata.description.extend(self.description.into_iter().map(|(key, text)| (key.to_owned(), text)));
        metadata.caps.extend(self.capabilities.into_iter().map(|capability| (capability.to_owned(), true)));
        let attrs = self.attributes.into_iter().collect();
        let op = pb::op::Op::Source(pb::SourceOp { identifier: self.identifier, attrs });
        Operation { op, inputs: Vec::new(), platform: self.platform, metadata, lines: self.lines }
    }
}

/// The key of a description that has the instruction.
pub(crate) const COMMAND: &str = "com.docker.dockerfile.v1.command";

/// What is said of an operation: its name, and what a builder has to be able to.
pub(crate) fn metadata(name: &str, capabilities: &[&str]) -> pb::OpMetadata {
    let mut metadata = pb::OpMetadata::default();
    metadata.description.insert(llb::CUSTOM_NAME.to_owned(), name.to_owned());
    metadata.caps.extend(capabilities.iter().map(|capability| ((*capability).to_owned(), true)));
    metadata
}

fn json(texts: &[String]) -> String {
    serde_json::to_string(texts).expect("texts always print")
}
