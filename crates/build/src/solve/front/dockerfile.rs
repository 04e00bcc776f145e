//! `dockerfile.v0`: what the crate `dockerfile` asks is answered by a job.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ::dockerfile::{
    Answer, Built, Client, ClientError, DockerfileSource, FrontError, FrontRequest, Lines, ResolveOptions,
    ResolvedImage, Warning, ranges,
};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::foreign;
use crate::solve::SolveError;
use crate::solve::error::Location;
use crate::solve::event::{WarningEvent, WarningSource};
use crate::solve::job::{Job, ResolveMode};
use crate::solve::reference::Outcome;
use crate::solve::shown::Shown;

/// Makes definitions of a Dockerfile, or answers what is asked about it.
pub(super) async fn run(
    job: &Job,
    options: BTreeMap<String, String>,
    inputs: BTreeMap<String, llb::Definition>,
) -> Result<Outcome, SolveError> {
    let desk = Desk::new(job);
    let request = FrontRequest { options, inputs, platform: job.platform() };
    let built = ::dockerfile::build(request, &desk).await.map_err(refused)?;
    let mut outcome = Outcome::default();
    match built {
        Built::Answer(metadata) => outcome.metadata = metadata,
        Built::Forward { source, file, lines, .. } => {
            return Err(located(&file, lines, foreign(&source)));
        }
        Built::Images { images, is_multi_platform, metadata } => {
            outcome.metadata = metadata;
            for image in images {
                let of_scanned = |(name, definition)| Ok((name, job.solve_aside(&definition)?));
                let scanned = image.scanned.into_iter().map(of_scanned).collect::<Result<_, SolveError>>()?;
                let result = job.solve(&image.definition).await?.scanned_with(scanned);
                match is_multi_platform {
                    true => drop(outcome.refs.insert(image.id, result)),
                    false => outcome.single = Some(result),
                }
            }
        }
    }
    Ok(outcome)
}

type Resolved = Arc<OnceCell<Result<ResolvedImage, SolveError>>>;

/// Answers with what a job can do.
struct Desk<'a> {
    job: &'a Job,
    session: String,
    /// Images that were asked for, by what is shown meanwhile: each is looked for once.
    images: Mutex<HashMap<String, Resolved>>,
}

impl<'a> Desk<'a> {
    fn new(job: &'a Job) -> Self {
        let session = job.options().session.as_ref().map(|session| session.id().to_owned());
        Self { job, session: session.unwrap_or_default(), images: Mutex::default() }
    }

    async fn look_for(&self, name: &str, options: ResolveOptions<'_>) -> Result<ResolvedImage, SolveError> {
        let found = match options.store {
            Some(store) => self.job.resolve_layout(name, &self.session, store, options.platform).await?,
            None => {
                let mode = ResolveMode::parse(options.mode)?;
                self.job.resolve_image(name, options.platform, mode).await?
            }
        };
        // What no registry has is not pinned by what it is here.
        Ok(ResolvedImage {
            name: found.name,
            digest: found.is_manifest.then_some(found.digest),
            config: found.config.to_vec(),
        })
    }

    /// Shows something that is no operation as if it were one, while it goes on.
    async fn shown<T>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T, SolveError>>,
    ) -> Result<T, SolveError> {
        let mut shown = Shown::begin(self.job, name, name);
        let done = work.await;
        shown.end(&done);
        done
    }
}

impl Client for Desk<'_> {
    fn resolve_image<'a>(&'a self, name: &'a str, options: ResolveOptions<'a>) -> Answer<'a, ResolvedImage> {
        Box::pin(async move {
            let cell = Arc::clone(self.images.lock().entry(options.name.to_owned()).or_default());
            let look = || self.shown(options.name, self.look_for(name, options));
            match cell.get_or_init(look).await.clone() {
                Err(SolveError::Replaced(replaced)) => Err(ClientError::from(replaced)),
                other => Ok(other?),
            }
        })
    }

    fn read_files<'a>(
        &'a self,
        definition: &'a llb::Definition,
        paths: &'a [String],
        limit: u64,
    ) -> Answer<'a, Vec<Option<Vec<u8>>>> {
        Box::pin(async move {
            let result = self.job.solve(definition).await?;
            result.evaluate().await?;
            let mut files = Vec::new();
            for path in paths {
                files.push(match result.read_file(path, Some((0, limit))).await {
                    Ok(file) => Some(file.to_vec()),
                    Err(error) if matches!(error.cause(), SolveError::NotFound(_)) => None,
                    Err(error) => return Err(ClientError::from(error)),
                });
            }
            Ok(files)
        })
    }

    fn warn(&self, source: &DockerfileSource, warning: &Warning) {
        let vertex = llb::Graph::read(&source.definition, llb::Limits::default()).ok();
        let vertex = vertex.and_then(|graph| Some(graph.vertex(graph.result()?.vertex).digest.clone()));
        self.job.warn(WarningEvent {
            vertex,
            level: 1,
            short: warning.short(),
            detail: vec![warning.rule.description.to_owned()],
            url: warning.rule.url.to_owned(),
            source: Some(WarningSource {
                filename: source.filename.clone(),
                data: source.data.clone(),
                language: "Dockerfile".to_owned(),
                lines: Vec::from_iter(
                    (warning.lines.first > 0).then_some((warning.lines.first, warning.lines.last)),
                ),
            }),
        });
    }

    fn session(&self) -> &str {
        &self.session
    }
}

/// The refusal of a front end, as the solver's.
fn refused(error: FrontError) -> SolveError {
    let problem = error.to_string();
    match error {
        FrontError::Options(_) => SolveError::Invalid(problem),
        FrontError::UnsupportedRequest(name) => SolveError::UnsupportedRequest(name),
        FrontError::UnsupportedCapability(name) => SolveError::UnsupportedCapability(name),
        FrontError::Read { cause, .. } => of_cause(cause, problem),
        FrontError::Dockerfile { file, lines, cause, .. } => located(&file, lines, of_cause(cause, problem)),
    }
}

/// A failure with the lines of the Dockerfile that it is about.
fn located(file: &DockerfileSource, lines: Vec<Lines>, source: SolveError) -> SolveError {
    if matches!(source, SolveError::Cancelled) || lines.is_empty() {
        return source;
    }
    let info = file.info();
    let locations = lines.into_iter().map(|lines| Location { info: info.clone(), ranges: ranges(lines) });
    SolveError::Located { locations: locations.collect(), source: Arc::new(source) }
}

/// A failure of the kind of its cause, if that is one of the solver's.
fn of_cause(cause: Option<ClientError>, problem: String) -> SolveError {
    let Some(cause) = cause.and_then(|cause| cause.downcast::<SolveError>().ok()) else {
        return SolveError::Invalid(problem);
    };
    match cause.cause() {
        SolveError::Cancelled => SolveError::Cancelled,
        SolveError::NotFound(_) => SolveError::NotFound(problem),
        SolveError::NoSpace(_) => SolveError::NoSpace(problem),
        SolveError::Unsupported(_) => SolveError::Unsupported(problem),
        SolveError::Failed(_) => SolveError::Failed(problem),
        SolveError::Engine(error) => SolveError::Engine(Arc::new(engine::Error::new(error.kind(), problem))),
        _ => SolveError::Invalid(problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_keep_their_place_and_their_kind() {
        let file = DockerfileSource {
            filename: "Dockerfile".to_owned(),
            data: b"FROM x\n".to_vec(),
            ..DockerfileSource::default()
        };
        let error = |cause: SolveError| FrontError::Dockerfile {
            problem: "x: why".to_owned(),
            file: Box::new(file.clone()),
            lines: vec![Lines::at(1)],
            cause: Some(Box::new(cause)),
        };
        let found = refused(error(SolveError::NotFound("why".to_owned())));
        assert_eq!((found.to_string().as_str(), found.kind()), ("x: why", engine::Kind::NotFound));
        let SolveError::Located { locations, .. } = found else { panic!("{found:?}") };
        assert_eq!(locations[0].info, file.info());
        assert_eq!(locations[0].ranges, ranges(Lines::at(1)));
        assert!(matches!(refused(error(SolveError::Cancelled)), SolveError::Cancelled));
        let unsupported = refused(FrontError::UnsupportedRequest("frontend.x".to_owned()));
        assert_eq!(unsupported.kind(), engine::Kind::Unsupported);
    }

    #[test]
    fn images_that_are_front_ends_are_known_by_name() {
        for (source, expected) in [
            ("docker/dockerfile:1", true),
            ("docker.io/docker/dockerfile-upstream:master-labs", true),
            ("dockerfile.v0", true),
            ("docker/dockerfilex", false),
            ("example.org/docker/dockerfile", false),
            ("", false),
        ] {
            assert_eq!(::dockerfile::is_same_language(source), expected, "{source}");
        }
    }
}
