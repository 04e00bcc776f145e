//! What a client that drives its own build asks of it.
//!
//! buildx begins every build by a request without a front end and without a definition, and then does
//! what a front end would, call by call; what it returns in the end is the build's result. Calls name the
//! build in their head; results are known by names that are good for this one build.

mod containers;
mod processes;
mod sources;

use std::collections::{BTreeMap, HashMap};

use build::solve::{
    Attestation, Container, FileStat, Job, Outcome, Ref, RemoteCache, SolveError, WarningEvent, WarningSource,
};
use futures::stream::BoxStream;
use llb::pb;
use parking_lot::Mutex;
use prost::Message as _;
use tokio::sync::oneshot;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::caps;
use crate::failure::{of_command, of_wire, status};
use crate::policy;
use crate::service::Caller;
use crate::wire::fsutil::types::Stat;
use crate::wire::moby::buildkit::v1::frontend::llb_bridge_server::LlbBridge;
use crate::wire::moby::buildkit::v1::frontend::{
    self as wire, AttestationKind, EvaluateRequest, EvaluateResponse, ExecMessage, InTotoSubjectKind,
    InputsRequest, InputsResponse, NewContainerRequest, NewContainerResponse, PingRequest, PongResponse,
    ReadDirRequest, ReadDirResponse, ReadFileRequest, ReadFileResponse, ReleaseContainerRequest,
    ReleaseContainerResponse, ResolveImageConfigRequest, ResolveImageConfigResponse,
    ResolveSourceMetaRequest, ResolveSourceMetaResponse, ReturnRequest, ReturnResponse, SolveRequest,
    SolveResponse, StatFileRequest, StatFileResponse, WarnRequest, WarnResponse,
};
use crate::worker;

/// The key of a call's head that names the build.
const BUILD: &str = "buildkit-controlapi-buildid";
/// How many results one build may have at a time…
const RESULTS: usize = 10_000;
/// …and bytes of the definitions that they are of.
const DEFINITIONS: usize = 64 << 20;
/// How much may be said of what a build came to: each may be statements in a directory.
const ATTESTATIONS: usize = 1_000;
/// How many warnings one build may have, and bytes of them.
const WARNINGS: usize = 1_000;
const WARNED: usize = 16 << 20;

/// A build's side of what its client asks.
pub(crate) struct Bridge {
    job: Job,
    inputs: BTreeMap<String, pb::Definition>,
    results: Mutex<Results<Ref>>,
    warned: Mutex<Warned>,
    containers: containers::Containers,
    processes: std::sync::Arc<processes::Processes>,
    /// Where the result goes, until there is one.
    returned: Mutex<Option<oneshot::Sender<Result<Outcome, Status>>>>,
}

impl Bridge {
    /// The bridge of `job`, whose client gave it `inputs`; and what the client returns.
    pub(crate) fn new(
        job: Job,
        inputs: BTreeMap<String, pb::Definition>,
    ) -> (Self, oneshot::Receiver<Result<Outcome, Status>>) {
        let (sender, returned) = oneshot::channel();
        let bridge = Bridge {
            job,
            inputs,
            results: Mutex::default(),
            warned: Mutex::default(),
            containers: containers::Containers::default(),
            processes: std::sync::Arc::default(),
            returned: Mutex::new(Some(sender)),
        };
        (bridge, returned)
    }

    /// The build has ended: what its client has in it does.
    pub(crate) fn end(&self) {
        self.containers.end();
    }

    fn keep(&self, result: &Ref) -> Result<wire::Ref, Status> {
        let definition = result.graph().definition();
        let id = self.results.lock().keep(result, &definition)?;
        Ok(wire::Ref { id, def: Some(definition) })
    }

    /// The result of this name. The empty name is that of an empty directory.
    fn result(&self, id: &str) -> Result<Option<Ref>, Status> {
        if id.is_empty() {
            return Ok(None);
        }
        let found = self.results.lock().named.get(id).cloned();
        found.map(Some).ok_or_else(|| Status::unknown(format!("no such ref: {id}")))
    }

    /// The result of this name, of which something is asked.
    fn looked_at(&self, id: &str) -> Result<Ref, Status> {
        self.result(id)?.ok_or_else(|| Status::unknown(format!("empty ref: {id}")))
    }

    fn outcome(&self, result: wire::Result) -> Result<Outcome, Status> {
        use wire::result::Result as Kind;
        let mut outcome = Outcome::default();
        let mut several = |refs: BTreeMap<String, String>| -> Result<(), Status> {
            for (platform, id) in refs {
                let result = match self.result(&id)? {
                    Some(result) => result,
                    None => self.job.nothing().map_err(|error| status(&error))?,
                };
                outcome.refs.insert(platform, result);
            }
            Ok(())
        };
        match result.result {
            None => {}
            Some(Kind::RefDeprecated(id)) => outcome.single = self.result(&id)?,
            Some(Kind::Ref(result)) => outcome.single = self.result(&result.id)?,
            Some(Kind::RefsDeprecated(refs)) => several(refs.refs)?,
            Some(Kind::Refs(refs)) => several(refs.refs.into_iter().map(|(key, it)| (key, it.id)).collect())?,
        }
        outcome.metadata = result.metadata.into_iter().map(|(key, value)| (key, value.to_vec())).collect();
        let count = result.attestations.values().map(|attestations| attestations.attestation.len());
        if count.sum::<usize>() > ATTESTATIONS {
            let problem = format!("a result may have {ATTESTATIONS} attestations");
            return Err(Status::resource_exhausted(problem));
        }
        for (platform, attestations) in result.attestations {
            let read = attestations.attestation.into_iter().map(|attestation| self.attestation(attestation));
            outcome.attestations.insert(platform, read.collect::<Result<_, _>>()?);
        }
        Ok(outcome)
    }

    fn attestation(&self, attestation: wire::Attestation) -> Result<Attestation, Status> {
        let is_bundle = attestation.kind() == AttestationKind::Bundle;
        let (mut subjects, mut of_itself) = (Vec::new(), attestation.in_toto_subjects.is_empty());
        for subject in &attestation.in_toto_subjects {
            if subject.kind() == InTotoSubjectKind::Self_ {
                of_itself = true;
                continue;
            }
            let digests = subject.digest.iter().filter_map(|digest| digest.split_once(':'));
            let digests = digests.map(|(algorithm, hex)| (algorithm.to_owned(), hex.to_owned())).collect();
            let name = if subject.name.is_empty() { "_".to_owned() } else { subject.name.clone() };
            subjects.push((name, digests));
        }
        let content = match attestation.r#ref {
            Some(content) => self.result(&content.id)?,
            None => None,
        };
        Ok(Attestation {
            predicate: attestation.in_toto_predicate_type,
            path: attestation.path,
            content,
            is_bundle,
            subjects,
            of_itself,
            metadata: attestation.metadata.into_iter().map(|(key, value)| (key, value.to_vec())).collect(),
        })
    }

    async fn solve(&self, request: SolveRequest) -> Result<SolveResponse, Status> {
        let failed = |error: SolveError| status(&error);
        let job = self.job.with_policies(policy::read(request.source_policies)?).map_err(failed)?;
        for import in request.cache_imports {
            let cache = RemoteCache { kind: import.r#type, attributes: import.attrs };
            self.job.import_cache(cache).map_err(failed)?;
        }
        let outcome = if request.frontend.is_empty() {
            let definition = request.definition.unwrap_or_default();
            let single = match definition.def.is_empty() {
                true => None,
                false => Some(job.solve(&definition).await.map_err(failed)?),
            };
            Outcome { single, ..Outcome::default() }
        } else {
            let front = job.front(&request.frontend, request.frontend_opt, request.frontend_inputs);
            front.await.map_err(failed)?
        };
        if request.evaluate {
            // Who has it done at once may want to look into what is left if that fails.
            self.job.keep_failed();
            for result in outcome.single.iter().chain(outcome.refs.values()) {
                result.evaluate().await.map_err(|error| self.failure(&error))?;
            }
        }
        if !outcome.refs.is_empty() && !request.allow_result_return {
            return Err(Status::unknown("solve did not return default result"));
        }
        self.answer(&outcome, request.allow_result_array_ref, request.allow_result_return)
    }

    /// What the client is told of a failure: with names for what a command left that failed.
    fn failure(&self, error: &SolveError) -> Status {
        let Some(command) = self.job.failed(error) else { return status(error) };
        let mut results = self.results.lock();
        let mut names = |all: Vec<Option<Ref>>| {
            let name = |result: Option<Ref>| result.map_or(Ok(String::new()), |it| results.add(it));
            all.into_iter().map(name).collect::<Result<Vec<_>, _>>()
        };
        match (names(command.before), names(command.after)) {
            (Ok(before), Ok(after)) => of_command(error, command.operation, before, after),
            _ => status(error),
        }
    }

    fn answer(&self, outcome: &Outcome, typed: bool, whole: bool) -> Result<SolveResponse, Status> {
        use wire::result::Result as Kind;
        let mut single = String::new();
        let result = if outcome.refs.is_empty() {
            let kept = outcome.single.as_ref().map(|result| self.keep(result)).transpose()?;
            let kept = kept.unwrap_or_default();
            single.clone_from(&kept.id);
            if typed { Kind::Ref(kept) } else { Kind::RefDeprecated(kept.id) }
        } else {
            let kept =
                outcome.refs.iter().map(|(platform, result)| Ok((platform.clone(), self.keep(result)?)));
            let refs: BTreeMap<String, wire::Ref> = kept.collect::<Result<_, Status>>()?;
            match typed {
                true => Kind::Refs(wire::RefMap { refs }),
                false => Kind::RefsDeprecated(wire::RefMapDeprecated {
                    refs: refs.into_iter().map(|(platform, kept)| (platform, kept.id)).collect(),
                }),
            }
        };
        let metadata =
            outcome.metadata.iter().map(|(key, value)| (key.clone(), value.clone().into())).collect();
        let result = wire::Result { result: Some(result), metadata, attestations: BTreeMap::new() };
        // Who cannot take results as they are gets the name of the one that there is.
        Ok(SolveResponse { r#ref: if whole { String::new() } else { single }, result: Some(result) })
    }

    fn take_result(&self, request: ReturnRequest) -> Result<(), Status> {
        let result = match (request.error, request.result) {
            (Some(error), _) => Err(of_wire(error)),
            (None, Some(result)) => Ok(self.outcome(result)?),
            (None, None) => return Err(Status::invalid_argument("neither a result nor an error")),
        };
        let Some(waiting) = self.returned.lock().take() else {
            return Err(Status::failed_precondition("the build has its result"));
        };
        // Who waited may have gone.
        let _ = waiting.send(result);
        Ok(())
    }
}

/// The results of a build, by name.
struct Results<T> {
    named: HashMap<String, T>,
    /// By definition: results of equal ones are one.
    defined: HashMap<oci::Digest, T>,
    /// What the definitions take.
    bytes: usize,
}

impl<T> Default for Results<T> {
    fn default() -> Self {
        Results { named: HashMap::new(), defined: HashMap::new(), bytes: 0 }
    }
}

impl<T: Clone> Results<T> {
    /// Keeps the result of `definition` under a name of its own.
    fn keep(&mut self, result: &T, definition: &pb::Definition) -> Result<String, Status> {
        self.check()?;
        let bytes = definition.encode_to_vec();
        let digest = oci::Digest::sha256_of(&bytes);
        if !self.defined.contains_key(&digest) {
            if bytes.len() > DEFINITIONS - self.bytes {
                let most = DEFINITIONS >> 20;
                return Err(Status::resource_exhausted(format!(
                    "the definitions of a build's results may have {most} MiB together"
                )));
            }
            self.bytes += bytes.len();
            self.defined.insert(digest.clone(), result.clone());
        }
        let kept = self.defined.get(&digest).unwrap_or(result).clone();
        self.add(kept)
    }

    /// Keeps a result that is of no definition.
    fn add(&mut self, result: T) -> Result<String, Status> {
        self.check()?;
        let id = format!("result-{}", self.named.len());
        self.named.insert(id.clone(), result);
        Ok(id)
    }

    fn check(&self) -> Result<(), Status> {
        match self.named.len() >= RESULTS {
            true => Err(Status::resource_exhausted(format!("a build may have {RESULTS} results at a time"))),
            false => Ok(()),
        }
    }
}

/// How much a build's client has warned of.
#[derive(Default)]
struct Warned {
    count: usize,
    bytes: usize,
}

impl Warned {
    /// One more, of so many bytes.
    fn count(&mut self, bytes: usize) -> Result<(), Status> {
        if self.count >= WARNINGS || bytes > WARNED - self.bytes {
            return Err(Status::resource_exhausted("a build has more warnings than it may have"));
        }
        (self.count, self.bytes) = (self.count + 1, self.bytes + bytes);
        Ok(())
    }
}

fn stat(stat: FileStat) -> Stat {
    Stat {
        path: stat.path.into(),
        mode: crate::transfer::mode(stat.mode),
        uid: stat.uid,
        gid: stat.gid,
        size: stat.size,
        mod_time: stat.modified,
        linkname: stat.link.into(),
        devmajor: stat.device.0.into(),
        devminor: stat.device.1.into(),
        xattrs: BTreeMap::new(),
    }
}

impl Caller {
    /// The bridge of the build that a call is about.
    async fn bridge<T>(&self, request: &Request<T>) -> Result<std::sync::Arc<Bridge>, Status> {
        let id = request.metadata().get(BUILD).and_then(|id| id.to_str().ok());
        let id = id.ok_or_else(|| Status::unknown("no buildid found in context"))?;
        let none = || Status::new(Code::NotFound, format!("no such job {id}"));
        let build = self.shared.builds.find(id, &self.owner).await.ok_or_else(none)?;
        build.bridge.clone().ok_or_else(none)
    }
}

#[tonic::async_trait]
impl LlbBridge for Caller {
    async fn ping(&self, request: Request<PingRequest>) -> Result<Response<PongResponse>, Status> {
        self.bridge(&request).await?;
        Ok(Response::new(PongResponse {
            frontend_api_caps: caps::of_front(),
            llb_caps: caps::of_definition(),
            workers: vec![worker::record(&self.shared.about)],
        }))
    }

    async fn inputs(&self, request: Request<InputsRequest>) -> Result<Response<InputsResponse>, Status> {
        let bridge = self.bridge(&request).await?;
        Ok(Response::new(InputsResponse { definitions: bridge.inputs.clone() }))
    }

    async fn resolve_image_config(
        &self,
        request: Request<ResolveImageConfigRequest>,
    ) -> Result<Response<ResolveImageConfigResponse>, Status> {
        let bridge = self.bridge(&request).await?;
        bridge.resolve_image_config(request.into_inner()).await.map(Response::new)
    }

    async fn resolve_source_meta(
        &self,
        request: Request<ResolveSourceMetaRequest>,
    ) -> Result<Response<ResolveSourceMetaResponse>, Status> {
        let bridge = self.bridge(&request).await?;
        bridge.resolve_source_meta(request.into_inner()).await.map(Response::new)
    }

    async fn solve(&self, request: Request<SolveRequest>) -> Result<Response<SolveResponse>, Status> {
        let bridge = self.bridge(&request).await?;
        bridge.solve(request.into_inner()).await.map(Response::new)
    }

    async fn evaluate(
        &self,
        request: Request<EvaluateRequest>,
    ) -> Result<Response<EvaluateResponse>, Status> {
        let bridge = self.bridge(&request).await?;
        let result = bridge.looked_at(&request.into_inner().r#ref)?;
        bridge.job.keep_failed();
        result.evaluate().await.map_err(|error| bridge.failure(&error))?;
        Ok(Response::new(EvaluateResponse {}))
    }

    async fn read_file(
        &self,
        request: Request<ReadFileRequest>,
    ) -> Result<Response<ReadFileResponse>, Status> {
        let bridge = self.bridge(&request).await?;
        let request = request.into_inner();
        let result = bridge.looked_at(&request.r#ref)?;
        let data = result
            .read_file(&request.file_path, range(request.range)?)
            .await
            .map_err(|error| status(&error))?;
        Ok(Response::new(ReadFileResponse { data }))
    }

    async fn read_dir(&self, request: Request<ReadDirRequest>) -> Result<Response<ReadDirResponse>, Status> {
        let bridge = self.bridge(&request).await?;
        let request = request.into_inner();
        let result = bridge.looked_at(&request.r#ref)?;
        let entries = Ref::read_dir(&result, &request.dir_path, pattern(&request.include_pattern))
            .await
            .map_err(|error| status(&error))?;
        Ok(Response::new(ReadDirResponse { entries: entries.into_iter().map(stat).collect() }))
    }

    async fn stat_file(
        &self,
        request: Request<StatFileRequest>,
    ) -> Result<Response<StatFileResponse>, Status> {
        let bridge = self.bridge(&request).await?;
        let request = request.into_inner();
        let result = bridge.looked_at(&request.r#ref)?;
        let found = result.stat_file(&request.path).await.map_err(|error| status(&error))?;
        Ok(Response::new(StatFileResponse { stat: Some(stat(found)) }))
    }

    async fn r#return(&self, request: Request<ReturnRequest>) -> Result<Response<ReturnResponse>, Status> {
        let bridge = self.bridge(&request).await?;
        bridge.take_result(request.into_inner())?;
        Ok(Response::new(ReturnResponse {}))
    }

    async fn warn(&self, request: Request<WarnRequest>) -> Result<Response<WarnResponse>, Status> {
        let bridge = self.bridge(&request).await?;
        let warning = request.into_inner();
        bridge.warned.lock().count(warning.encoded_len())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let line = |position: Option<pb::Position>| {
            position.and_then(|position| u32::try_from(position.line).ok()).unwrap_or_default()
        };
        let lines: Vec<(u32, u32)> =
            warning.ranges.iter().map(|range| (line(range.start), line(range.end))).collect();
        bridge.job.warn(WarningEvent {
            vertex: warning.digest.parse().ok(),
            level: warning.level,
            short: text(&warning.short),
            detail: warning.detail.iter().map(|line| text(line)).collect(),
            url: warning.url,
            source: warning.info.map(|info| WarningSource {
                filename: info.filename,
                data: info.data.to_vec(),
                language: info.language,
                lines,
            }),
        });
        Ok(Response::new(WarnResponse {}))
    }

    async fn new_container(
        &self,
        request: Request<NewContainerRequest>,
    ) -> Result<Response<NewContainerResponse>, Status> {
        let bridge = self.bridge(&request).await?;
        bridge.new_container(request.into_inner()).await?;
        Ok(Response::new(NewContainerResponse {}))
    }

    async fn release_container(
        &self,
        request: Request<ReleaseContainerRequest>,
    ) -> Result<Response<ReleaseContainerResponse>, Status> {
        let bridge = self.bridge(&request).await?;
        bridge.release_container(&request.into_inner().container_id).await?;
        Ok(Response::new(ReleaseContainerResponse {}))
    }

    type ExecProcessStream = BoxStream<'static, Result<ExecMessage, Status>>;

    async fn exec_process(
        &self,
        request: Request<Streaming<ExecMessage>>,
    ) -> Result<Response<Self::ExecProcessStream>, Status> {
        let bridge = self.bridge(&request).await?;
        Ok(Response::new(bridge.exec_process(request.into_inner())))
    }

    async fn read_file_container(
        &self,
        request: Request<ReadFileRequest>,
    ) -> Result<Response<ReadFileResponse>, Status> {
        let bridge = self.bridge(&request).await?;
        let request = request.into_inner();
        let (container, mount) = bridge.looked_into(&request.r#ref, request.mount_index)?;
        let data = container.read_file(mount, &request.file_path, range(request.range)?).await;
        Ok(Response::new(ReadFileResponse { data: data.map_err(|error| status(&error))? }))
    }

    async fn read_dir_container(
        &self,
        request: Request<ReadDirRequest>,
    ) -> Result<Response<ReadDirResponse>, Status> {
        let bridge = self.bridge(&request).await?;
        let request = request.into_inner();
        let (container, mount) = bridge.looked_into(&request.r#ref, request.mount_index)?;
        let pattern = pattern(&request.include_pattern);
        let entries = Container::read_dir(&container, mount, &request.dir_path, pattern).await;
        let entries = entries.map_err(|error| status(&error))?;
        Ok(Response::new(ReadDirResponse { entries: entries.into_iter().map(stat).collect() }))
    }

    async fn stat_file_container(
        &self,
        request: Request<StatFileRequest>,
    ) -> Result<Response<StatFileResponse>, Status> {
        let bridge = self.bridge(&request).await?;
        let request = request.into_inner();
        let (container, mount) = bridge.looked_into(&request.r#ref, request.mount_index)?;
        let found = container.stat_file(mount, &request.path).await.map_err(|error| status(&error))?;
        Ok(Response::new(StatFileResponse { stat: Some(stat(found)) }))
    }
}

/// The part of a file that is asked for.
fn range(range: Option<wire::FileRange>) -> Result<Option<(u64, u64)>, Status> {
    let number = |number: i64| {
        u64::try_from(number).map_err(|_| Status::invalid_argument("a part of a file that there is not"))
    };
    range.map(|range| Ok((number(range.offset)?, number(range.length)?))).transpose()
}

fn pattern(text: &str) -> Option<&str> {
    Some(text).filter(|pattern| !pattern.is_empty())
}

#[cfg(test)]
mod tests;
