//! Front ends: from a request to definitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use dockerfile::{
    Answer, Built, Client, ClientError, DockerfileSource, FrontError, FrontRequest, ResolveOptions,
    ResolvedImage, Warning,
};
use llb::pb;
use oci::Digest;

use super::error::Location;
use super::event::{Event, VertexEvent, WarningEvent, WarningSource};
use super::job::{Job, ResolveMode};
use super::reference::Outcome;
use super::{SolveError, now};

/// Images that are front ends for what is spoken here.
const DOCKERFILE: [&str; 2] = ["docker.io/docker/dockerfile", "docker.io/docker/dockerfile-upstream"];

/// Runs the front end `name`.
pub(super) async fn run(
    job: &Job,
    name: &str,
    options: BTreeMap<String, String>,
    inputs: BTreeMap<String, llb::Definition>,
) -> Result<Outcome, SolveError> {
    match name {
        "dockerfile.v0" => dockerfile(job, options, inputs).await,
        "gateway.v0" => {
            let source = options.get("source").map(String::as_str).unwrap_or_default();
            let is_known = oci::Reference::parse(source)
                .is_ok_and(|reference| DOCKERFILE.contains(&reference.name().as_str()));
            match is_known {
                true => dockerfile(job, options, inputs).await,
                false => Err(unsupported(source)),
            }
        }
        _ => Err(SolveError::NotFound(format!("frontend {name} not found"))),
    }
}

async fn dockerfile(
    job: &Job,
    options: BTreeMap<String, String>,
    inputs: BTreeMap<String, llb::Definition>,
) -> Result<Outcome, SolveError> {
    let request = FrontRequest { options, inputs, platform: job.platform() };
    let built = dockerfile::build(request, &Asked { job }).await.map_err(of_front)?;
    let (images, is_multi_platform, metadata) = match built {
        Built::Images { images, is_multi_platform, metadata } => (images, is_multi_platform, metadata),
        Built::Answer(metadata) => return Ok(Outcome { metadata, ..Outcome::default() }),
        Built::Forward { source, .. } => return Err(unsupported(&source)),
    };
    let mut outcome = Outcome { metadata, ..Outcome::default() };
    for image in images {
        let result = job.solve(&image.definition).await?;
        match is_multi_platform {
            true => drop(outcome.refs.insert(image.id, result)),
            false => outcome.single = Some(result),
        }
    }
    Ok(outcome)
}

fn unsupported(source: &str) -> SolveError {
    SolveError::Unsupported(format!(
        "the frontend {source:?} is an image, which is not run here: Dockerfiles are read by this builder itself"
    ))
}

/// What a front end asks of the job that it is for.
struct Asked<'a> {
    job: &'a Job,
}

impl Client for Asked<'_> {
    fn resolve_image<'a>(&'a self, name: &'a str, options: ResolveOptions<'a>) -> Answer<'a, ResolvedImage> {
        Box::pin(async move {
            if options.store.is_some() {
                return Err(SolveError::Unsupported("images of oci-layout:// are not supported".to_owned()).into());
            }
            let mode = ResolveMode::parse(options.mode)?;
            let resolved = shown(self.job, options.name, self.job.resolve_image(name, options.platform, mode));
            let resolved = resolved.await?;
            // An image that no registry has is not known by what it is here.
            let digest = resolved.is_manifest.then_some(resolved.digest);
            Ok(ResolvedImage { name: resolved.name, digest, config: resolved.config.to_vec() })
        })
    }

    fn read_files<'a>(
        &'a self,
        definition: &'a pb::Definition,
        paths: &'a [String],
        limit: u64,
    ) -> Answer<'a, Vec<Option<Vec<u8>>>> {
        Box::pin(async move {
            let result = self.job.solve(definition).await?;
            result.evaluate().await?;
            let mut contents = Vec::new();
            for path in paths {
                contents.push(match result.read_file(path, Some((0, limit))).await {
                    Ok(content) => Some(content.to_vec()),
                    Err(SolveError::NotFound(_)) => None,
                    Err(error) => return Err(ClientError::from(error)),
                });
            }
            Ok(contents)
        })
    }

    fn warn(&self, source: &DockerfileSource, warning: &Warning) {
        let lines = warning.lines;
        self.job.warn(WarningEvent {
            vertex: vertex_of(&source.definition),
            level: 1,
            short: format!("{}: {}", warning.rule.name, warning.message),
            detail: vec![warning.rule.description.to_owned()],
            url: warning.rule.url.to_owned(),
            source: Some(WarningSource {
                filename: source.filename.clone(),
                data: source.data.clone(),
                language: "Dockerfile".to_owned(),
                lines: if lines.first == 0 { Vec::new() } else { vec![(lines.first, lines.last)] },
            }),
        });
    }

    fn session(&self) -> &str {
        self.job.options().session.as_ref().map(|session| session.id()).unwrap_or_default()
    }
}

/// Shows what is done under a name of its own.
pub(super) async fn shown<T>(
    job: &Job,
    name: &str,
    work: impl Future<Output = Result<T, SolveError>>,
) -> Result<T, SolveError> {
    if name.is_empty() {
        return work.await;
    }
    let mut event = VertexEvent {
        digest: Digest::sha256_of(name.as_bytes()),
        inputs: Vec::new(),
        name: name.to_owned(),
        started: Some(now()),
        completed: None,
        cached: false,
        error: None,
        progress_group: None,
    };
    job.tell(Event::Vertex(event.clone()));
    let done = work.await;
    event.completed = Some(now());
    event.error = done.as_ref().err().map(ToString::to_string);
    job.tell(Event::Vertex(event));
    done
}

/// The last operation of a definition.
fn vertex_of(definition: &pb::Definition) -> Option<Digest> {
    let graph = llb::Graph::read(definition, llb::Limits::default()).ok()?;
    graph.result().map(|edge| graph.vertex(edge.vertex).digest.clone())
}

fn of_front(error: FrontError) -> SolveError {
    let (problem, cause, location, digest) = match error {
        FrontError::Read { problem, cause } => (problem, cause, None, None),
        FrontError::Dockerfile { problem, file, lines, cause } => {
            let ranges = lines.first().map(|lines| dockerfile::ranges(*lines)).unwrap_or_default();
            let digest = vertex_of(&file.definition);
            (problem, cause, Some(Arc::new(Location { info: file.info(), ranges })), digest)
        }
        other => return SolveError::Invalid(other.to_string()),
    };
    let told = match cause.map(|cause| cause.downcast::<SolveError>()) {
        Some(Ok(cause)) => match *cause {
            // Nothing is wrong with what was asked.
            SolveError::Cancelled => return SolveError::Cancelled,
            ref cause if cause.kind() == engine::Kind::NotFound => SolveError::NotFound(problem),
            ref cause if cause.kind() == engine::Kind::Unavailable => SolveError::Failed(problem),
            _ => SolveError::Invalid(problem),
        },
        _ => SolveError::Invalid(problem),
    };
    match location {
        Some(location) => SolveError::Vertex {
            digest: digest.unwrap_or_else(|| Digest::sha256_of(b"")),
            name: String::new(),
            location: Some(location),
            source: Arc::new(told),
        },
        None => told,
    }
}
