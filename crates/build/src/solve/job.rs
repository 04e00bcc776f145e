//! One build as a client sees it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use base::Timestamp;
use base::cancel::Cancel;
use bytes::Bytes;
use oci::{Digest, Platform};
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::event::{Event, EventLog, EventStream, WarningEvent};
use super::export::{Exporter, Pin};
use super::failed::Failed;
use super::nested::Nested;
use super::policy::{Policies, SourcePolicy};
use super::reference::{Outcome, Ref};
use super::remote::{Imports, Noted};
use super::session::Session;
use super::source::git::GitMeta;
use super::source::http::HttpMeta;
use super::usage::InUse;
use super::value::Value;
use super::{SolveError, Solver};

/// How a build is done.
#[derive(Clone, Default)]
pub struct JobOptions {
    /// What its client offers; nothing if there is none.
    pub session: Option<Arc<dyn Session>>,
    /// What it may have that others may not.
    pub entitlements: BTreeSet<Entitlement>,
    /// What is built for where nothing is said; the host's if `None`.
    pub platform: Option<Platform>,
    /// What is to be said of what it comes to, by sort (`provenance`, `sbom`), and how.
    pub attestations: BTreeMap<String, BTreeMap<String, String>>,
    /// The cgroup below which those of its containers are made; the engine's own where there is none.
    pub cgroup_parent: Option<String>,
    /// Which sources it may have.
    pub policies: Arc<Policies>,
}

/// Something that a build may have if its client and the daemon say so.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Entitlement {
    /// Commands in the host's network.
    NetworkHost,
    /// Commands that may do what root may.
    SecurityInsecure,
    /// Commands that get devices of the host.
    Device,
}

/// Where an image is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ResolveMode {
    /// Here, and else in its registry.
    #[default]
    Default,
    /// In its registry, whatever is here.
    Pull,
    /// Here, if there is any, and else in its registry.
    PreferLocal,
}

/// What an image's name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedImage {
    /// The name, in full.
    pub name: String,
    /// The digest of what the name leads to: a manifest or an index, or a configuration where there is only that.
    pub digest: Digest,
    /// Whether that is one that registries know it by: a manifest's or an index's.
    pub is_manifest: bool,
    /// The configuration as it came.
    pub config: Bytes,
}

/// Definitions that are remembered of one build.
const SOLVED_MAX: usize = 256;

/// The front end that reads Dockerfiles.
pub(crate) const OWN_FRONT: &str = "dockerfile.v0";

/// What a front end was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) front: String,
    pub(crate) options: BTreeMap<String, String>,
}

impl Asked {
    /// As it is told: an image of the same language that is named stands for the daemon's own front end.
    pub(crate) fn of(front: &str, options: &BTreeMap<String, String>) -> Self {
        let mut options = options.clone();
        let is_own = |source: &String| front == "gateway.v0" && ::dockerfile::is_same_language(source);
        match options.get("source").is_some_and(is_own) {
            true => {
                options.remove("source");
                Self { front: OWN_FRONT.to_owned(), options }
            }
            false => Self { front: front.to_owned(), options },
        }
    }
}

/// One build. Cheap to clone: all clones are one. It ends with [`Job::close`] and [`Job::cancel`], and when the
/// last clone is dropped.
#[derive(Clone)]
pub struct Job {
    pub(crate) inner: Arc<JobInner>,
    /// Which sources what is asked by this clone may have.
    policies: Arc<Policies>,
    /// How many operations this clone is inside of that are builds themselves.
    pub(crate) depth: usize,
}

/// What an operation comes to in a build, or why it fails: once it has been done.
pub(crate) type Outputs = Arc<OnceCell<Result<Vec<Value>, SolveError>>>;

pub(crate) struct JobInner {
    pub(crate) solver: Solver,
    pub(crate) options: JobOptions,
    pub(crate) events: EventLog,
    /// Ends what waits.
    pub(crate) cancelled: CancellationToken,
    /// Ends what works on threads.
    pub(crate) cancel: Cancel,
    /// Places for its commands, below those of all builds.
    pub(crate) commands: tokio::sync::Semaphore,
    /// Its share of the threads for files.
    work: super::Share,
    /// What registries have said in this build, by name and platform: they are asked once.
    pub(crate) described: Mutex<HashMap<(String, String), image::Described>>,
    /// What addresses gave in this build: each is asked once.
    pub(crate) fetched: Mutex<HashMap<Digest, super::source::http::FetchedOnce>>,
    /// What names mean in repositories, by the repositories' addresses.
    pub(crate) named: Mutex<HashMap<(String, String), super::source::git::NamedOnce>>,
    /// What it has of the cache, which stays meanwhile.
    pub(crate) uses: Mutex<Vec<InUse>>,
    /// The cache mounts that it has begun anew.
    pub(crate) begun_anew: Mutex<HashSet<String>>,
    /// What was solved for it, the first of that: what its result comes of, beside what it stands on.
    solved: Mutex<Vec<Arc<llb::Graph>>>,
    /// What was brought for sources, by their digests in definitions.
    pins: Mutex<BTreeMap<Digest, Pin>>,
    /// When it began, and what it is called where that is told.
    started: Timestamp,
    invocation: String,
    /// What operations came to, by their digests in definitions: each is done once in a build. Those that are
    /// builds themselves are done once at each depth, as one may be inside of itself.
    pub(crate) done: Mutex<HashMap<(Digest, usize), Outputs>>,
    /// The builds that are operations of it.
    pub(crate) nested: Arc<Nested>,
    /// What commands of it left that failed.
    pub(crate) failed: Failed,
    /// The caches elsewhere that it looks into.
    pub(crate) imports: Imports,
    /// What caches elsewhere are made of.
    pub(crate) noted: Noted,
}

impl Job {
    pub(super) fn new(solver: Solver, options: JobOptions) -> Self {
        Self {
            policies: Arc::clone(&options.policies),
            depth: 0,
            inner: Arc::new(JobInner {
                solver,
                options,
                events: EventLog::new(),
                cancelled: CancellationToken::new(),
                cancel: Cancel::default(),
                commands: tokio::sync::Semaphore::new(super::COMMANDS_OF_JOB),
                work: super::Share::new(super::WORK_OF_JOB),
                described: Mutex::default(),
                fetched: Mutex::default(),
                named: Mutex::default(),
                uses: Mutex::default(),
                begun_anew: Mutex::default(),
                solved: Mutex::default(),
                pins: Mutex::default(),
                started: super::now(),
                invocation: super::attach::random() + &super::attach::random(),
                done: Mutex::default(),
                nested: Arc::default(),
                failed: Failed::default(),
                imports: Imports::default(),
                noted: Noted::default(),
            }),
        }
    }

    /// What it tells, from the beginning; ends when it is closed or cancelled.
    pub fn events(&self) -> EventStream {
        self.inner.events.stream()
    }

    /// Tells of something that its author should know.
    pub fn warn(&self, warning: WarningEvent) {
        self.inner.events.tell(Event::Warning(warning));
    }

    /// Tells something that is done elsewhere on the job's behalf: by an exporter, by a front end.
    pub fn tell(&self, event: Event) {
        self.inner.events.tell(event);
    }

    /// The solver that it is of.
    pub fn solver(&self) -> &Solver {
        &self.inner.solver
    }

    /// How it is done.
    pub fn options(&self) -> &JobOptions {
        &self.inner.options
    }

    /// All has been told: those who listen hear the end.
    pub fn close(&self) {
        self.inner.events.close();
    }

    /// Ends all that is done for it, at once.
    pub fn cancel(&self) {
        self.inner.end();
    }

    /// Waits until it has been cancelled.
    pub async fn ended(&self) {
        self.inner.cancelled.cancelled().await;
    }

    /// Refuses what the job may not have.
    pub fn check_entitled(&self, entitlement: Entitlement) -> Result<(), SolveError> {
        match self.inner.options.entitlements.contains(&entitlement) {
            true => Ok(()),
            false => Err(SolveError::NotEntitled(entitlement.as_str())),
        }
    }

    /// The same job, in which more policies hold for what is asked: those before the others.
    pub fn with_policies(&self, policies: Vec<SourcePolicy>) -> Result<Self, SolveError> {
        if policies.iter().all(|policy| policy.rules.is_empty()) {
            return Ok(self.clone());
        }
        Ok(Self { policies: Arc::new(self.policies.after(policies)?), ..self.clone() })
    }

    /// The result that has nothing in it.
    pub fn nothing(&self) -> Result<Ref, SolveError> {
        self.solve_aside(&llb::Definition::default())
    }

    /// What a definition is for. Nothing is done yet: it is when the result is asked for something.
    pub async fn solve(&self, definition: &llb::Definition) -> Result<Ref, SolveError> {
        let result = self.solve_aside(definition)?;
        let mut solved = self.inner.solved.lock();
        let of = |graph: &llb::Graph| Some(graph.vertex(graph.result()?.vertex).digest.clone());
        if solved.len() < SOLVED_MAX && solved.iter().all(|graph| of(graph) != of(result.graph())) {
            solved.push(Arc::clone(result.graph()));
        }
        drop(solved);
        Ok(result)
    }

    /// The same for something that is no part of what the build comes to.
    pub(crate) fn solve_aside(&self, definition: &llb::Definition) -> Result<Ref, SolveError> {
        let mut graph = llb::Graph::read(definition, llb::Limits::default())?;
        if !self.policies.is_empty() {
            let mut changed = HashMap::new();
            for (at, source, _) in graph.sources() {
                let mut source = source.clone();
                if self
                    .policies
                    .apply(&mut source)
                    .map_err(|error| error.of("evaluating the source policy"))?
                {
                    changed.insert(at, source);
                }
            }
            if !changed.is_empty() {
                graph.replace_sources(changed);
            }
        }
        Ok(Ref::new(self, Arc::new(graph)))
    }

    /// What was solved.
    pub(crate) fn solved(&self) -> Vec<Arc<llb::Graph>> {
        self.inner.solved.lock().clone()
    }

    /// What is used in the place of a source that is asked about.
    pub fn source_in_place_of(&self, mut source: llb::pb::SourceOp) -> Result<llb::pb::SourceOp, SolveError> {
        self.policies.apply(&mut source)?;
        Ok(source)
    }

    /// What a front end makes of a request: `dockerfile.v0`, `gateway.v0`.
    pub async fn front(
        &self,
        name: &str,
        options: BTreeMap<String, String>,
        inputs: BTreeMap<String, llb::Definition>,
    ) -> Result<Outcome, SolveError> {
        let asked = Arc::new(Asked::of(name, &options));
        let mut outcome = self.until_cancelled(super::front::run(self, name, options, inputs)).await?;
        outcome.single = outcome.single.map(|result| result.asked_by(&asked));
        let refs = std::mem::take(&mut outcome.refs).into_iter();
        outcome.refs = refs.map(|(platform, result)| (platform, result.asked_by(&asked))).collect();
        Ok(outcome)
    }

    /// Remembers what was brought for a source: `(algorithm, digest)`.
    pub(crate) fn pin(&self, vertex: &Digest, algorithm: &str, digest: &str) {
        self.inner.pins.lock().insert(vertex.clone(), (algorithm.to_owned(), digest.to_owned()));
    }

    pub(crate) fn pins(&self) -> BTreeMap<Digest, Pin> {
        self.inner.pins.lock().clone()
    }

    pub(crate) fn started(&self) -> Timestamp {
        self.inner.started
    }

    pub(crate) fn invocation(&self) -> String {
        self.inner.invocation.clone()
    }

    /// Finds out what an image's name leads to.
    pub async fn resolve_image(
        &self,
        name: &str,
        platform: Option<&Platform>,
        mode: ResolveMode,
    ) -> Result<ResolvedImage, SolveError> {
        const SCHEME: &str = "docker-image://";
        let source = llb::pb::SourceOp { identifier: format!("{SCHEME}{name}"), ..Default::default() };
        let source = self.source_in_place_of(source)?;
        let Some(name) = source.identifier.strip_prefix(SCHEME) else {
            let (name, by) = (name.to_owned(), source.identifier.clone());
            return Err(::dockerfile::Replaced { name, by }.into());
        };
        self.until_cancelled(super::source::image::resolve(self, name, platform, mode)).await
    }

    /// Finds out what a repository has under the name that a source says (`git://…`); with what is kept of the commit,
    /// where `objects` is set.
    pub async fn git_meta(&self, source: &llb::pb::SourceOp, objects: bool) -> Result<GitMeta, SolveError> {
        let name = source.identifier.strip_prefix("git://").unwrap_or(&source.identifier);
        self.until_cancelled(super::source::git::meta(self, name, &source.attrs, objects)).await
    }

    /// Finds out what an address gives (`http://…`, `https://…`); with a digest of that and something behind it.
    pub async fn http_meta(
        &self,
        source: &llb::pb::SourceOp,
        checksum: Option<(oci::Algorithm, &[u8])>,
    ) -> Result<HttpMeta, SolveError> {
        self.until_cancelled(super::source::http::meta(self, source, checksum)).await
    }

    /// Finds out what the digest leads to in a layout of images that the client has as `store`, in the session of
    /// this name, or its own where that is empty. `name` is what the image is called.
    pub async fn resolve_layout(
        &self,
        name: &str,
        session: &str,
        store: &str,
        platform: Option<&Platform>,
    ) -> Result<ResolvedImage, SolveError> {
        const SCHEME: &str = "oci-layout://";
        let said = [("oci.session", session), ("oci.store", store)];
        let attrs = said.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let source = llb::pb::SourceOp { identifier: format!("{SCHEME}{name}"), attrs };
        let source = self.source_in_place_of(source)?;
        let Some(found) = source.identifier.strip_prefix(SCHEME) else {
            return Err(
                ::dockerfile::Replaced { name: name.to_owned(), by: source.identifier.clone() }.into()
            );
        };
        let of = |key: &str| source.attrs.get(key).map_or("", String::as_str);
        let (session, store) = (of("oci.session"), of("oci.store"));
        self.until_cancelled(super::source::layout::resolve(self, found, session, store, platform)).await
    }

    /// Hands the outcome over: to the image store, to the client. Gives what clients are told of it.
    pub async fn export(
        &self,
        outcome: &Outcome,
        exporter: &Exporter,
    ) -> Result<BTreeMap<String, String>, SolveError> {
        self.until_cancelled(super::export::export(self, outcome, exporter)).await
    }

    /// Waits for what is done, or until the job is cancelled.
    pub(crate) async fn until_cancelled<T>(
        &self,
        work: impl Future<Output = Result<T, SolveError>>,
    ) -> Result<T, SolveError> {
        tokio::select! {
            biased;
            () = self.inner.cancelled.cancelled() => Err(SolveError::Cancelled),
            done = work => done,
        }
    }

    /// Runs work that blocks on files, when a thread is free for it and this build has not its share of them already.
    pub(crate) async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.inner.work.run(work).await
    }

    /// The client's session of this name; its own where that is empty.
    pub(crate) async fn session_of(&self, id: &str) -> Result<Arc<dyn Session>, SolveError> {
        let own = self.session()?;
        if id.is_empty() || id == own.id() {
            return Ok(Arc::clone(own));
        }
        let none = || SolveError::Invalid(format!("no active session for {id}"));
        own.other(id).await.ok_or_else(none)
    }

    pub(crate) fn session(&self) -> Result<&Arc<dyn Session>, SolveError> {
        let none = || SolveError::Invalid("no active sessions".to_owned());
        self.inner.options.session.as_ref().ok_or_else(none)
    }

    /// What is built for where nothing is said.
    pub(crate) fn platform(&self) -> Platform {
        self.inner.options.platform.clone().unwrap_or_else(Platform::host)
    }
}

impl JobInner {
    fn end(&self) {
        self.cancel.set();
        self.cancelled.cancel();
        self.events.close();
    }
}

impl Drop for JobInner {
    fn drop(&mut self) {
        self.end();
        self.noted.let_go();
        self.done.lock().clear();
        self.noted.operations.lock().clear();
        self.uses.lock().clear();
        super::usage::after_build(&self.solver);
    }
}

impl Entitlement {
    /// As clients name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NetworkHost => "network.host",
            Self::SecurityInsecure => "security.insecure",
            Self::Device => "device",
        }
    }
}

impl ResolveMode {
    /// As definitions name it (`image.resolvemode`).
    pub fn parse(text: &str) -> Result<Self, SolveError> {
        match text {
            "" | "default" => Ok(Self::Default),
            "pull" => Ok(Self::Pull),
            "local" => Ok(Self::PreferLocal),
            other => Err(SolveError::Invalid(format!("invalid resolvemode: {other}"))),
        }
    }
}
