//! A build: from what its client asks for to what is handed over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use build::solve::{
    Entitlement, Event, Exporter, Job, JobOptions, Outcome, Policies, RemoteCache, Session, Upload,
    VertexEvent,
};
use futures::StreamExt as _;
use oci::Reference;
use tonic::Status;

use crate::bridge::Bridge;
use crate::failure::{status, to_wire};
use crate::given::Given;
use crate::history::{Left, leave, result_of};
use crate::policy;
use crate::progress::time;
use crate::service::Caller;
use crate::session::Client;
use crate::sessions::Owner;
use crate::wire::moby::buildkit::v1::{self as wire, BuildHistoryRecord, SolveRequest, SolveResponse};

/// The front end's option that fixes times in what is exported.
const EPOCH: &str = "build-arg:SOURCE_DATE_EPOCH";
/// Bytes of the name that a client gives its build.
const NAME: usize = 1 << 10;
/// What is said to who wants to be asked about each source: to build without it would be what it is to prevent.
const POLICIES: &str = "source policies of a session are not supported";
/// The exporters' attribute of the same.
const EPOCH_ATTRIBUTE: &str = "source-date-epoch";

/// Does a build, whose `context` may have come with the request. Whoever waits for it no longer ends it.
pub(super) async fn solve(
    caller: &Caller,
    mut request: SolveRequest,
    context: Option<Upload>,
) -> Result<SolveResponse, Status> {
    let id = request.r#ref.clone();
    if id.is_empty() {
        return Err(Status::invalid_argument("a build needs a ref"));
    }
    if id.len() > NAME {
        return Err(Status::invalid_argument(format!("a build's ref has at most {NAME} bytes")));
    }
    if request.proxy_network {
        return Err(Status::unimplemented("networks by a proxy are not supported"));
    }
    if request.compatibility_version != 0 {
        let version = request.compatibility_version;
        return Err(Status::unimplemented(format!("compatibility version {version} is not supported")));
    }
    let policies = policy::read(request.source_policy.take().into_iter().collect())?;
    let policies = Policies::new(policies).map_err(|error| status(&error))?;
    if !request.source_policy_session.is_empty() {
        return Err(Status::unimplemented(POLICIES));
    }
    let (imports, cache_exports) = caches(&mut request)?;
    let exporters = exporters(&mut request);
    let mut session = session(caller, &request.session).await?;
    if let Some(context) = context {
        session = Some(Arc::new(Given::new(session, &id, caller.owner.as_str(), context)));
        request.frontend_attrs.insert("context".to_owned(), Given::address(&id));
    }
    let options = JobOptions {
        session,
        entitlements: entitlements(caller, &request.entitlements)?,
        policies: Arc::new(policies),
        attestations: build::solve::attestations_wanted(&request.frontend_attrs)
            .map_err(|error| status(&error))?,
        ..JobOptions::default()
    };
    let job = caller.shared.solver.job(options);
    for import in imports {
        job.import_cache(import).map_err(|error| status(&error))?;
    }
    // One that is there and empty is the definition of an empty result.
    let driven = request.frontend.is_empty() && request.definition.is_none();
    let (bridge, returned) = match driven {
        true => {
            let (bridge, returned) = Bridge::new(job.clone(), std::mem::take(&mut request.frontend_inputs));
            (Some(Arc::new(bridge)), Some(returned))
        }
        false => (None, None),
    };
    let exists = || Status::already_exists(format!("job ID {id} exists"));
    let builds = &caller.shared.builds;
    let running = builds.begin(id.clone(), caller.owner.clone(), job.clone(), bridge).ok_or_else(exists)?;
    let mut recorded = (!request.internal).then(|| Recorded::begin(caller, &request, &exporters));
    let built = async {
        let mut outcome = match returned {
            Some(returned) => returned.await.map_err(|_| Status::cancelled("the build was given up"))??,
            None => outcome(&job, request).await?,
        };
        hand_over(&job, &mut outcome, &exporters, &cache_exports).await
    };
    let built = built.await;
    job.close();
    if let Some(recorded) = &mut recorded {
        recorded.end(&job, &built).await;
    }
    drop(running);
    built.map(|exporter_response| SolveResponse { exporter_response })
}

/// What the build comes to that the request itself describes.
async fn outcome(job: &Job, request: SolveRequest) -> Result<Outcome, Status> {
    if !request.frontend.is_empty() {
        let front = job.front(&request.frontend, request.frontend_attrs, request.frontend_inputs);
        return front.await.map_err(|error| status(&error));
    }
    let definition = request.definition.unwrap_or_default();
    let single = job.solve(&definition).await.map_err(|error| status(&error))?;
    Ok(Outcome { single: Some(single), ..Outcome::default() })
}

/// Does what is to be done, and hands it to all who are to have it.
async fn hand_over(
    job: &Job,
    outcome: &mut Outcome,
    exporters: &[Exporter],
    cache_exports: &[RemoteCache],
) -> Result<BTreeMap<String, String>, Status> {
    let results = outcome.single.iter().chain(outcome.refs.values());
    futures::future::try_join_all(results.map(|result| result.evaluate()))
        .await
        .map_err(|error| status(&error))?;
    cache_exports.iter().filter(|cache| cache.is_inline()).for_each(|cache| job.warn_of_cache_export(cache));
    if cache_exports.iter().any(RemoteCache::is_inline) {
        job.cache_inline(outcome).await.map_err(|error| status(&error))?;
    }
    let mut told = BTreeMap::new();
    for exporter in exporters {
        let exported = job.export(outcome, exporter).await.map_err(|error| status(&error))?;
        if matches!(&*exporter.kind, "moby" | "image") {
            tell(job, &exported).await;
        }
        told.extend(exported);
    }
    for cache in cache_exports.iter().filter(|cache| !cache.is_inline()) {
        told.extend(job.export_cache(outcome, cache).await.map_err(|error| status(&error))?);
    }
    Ok(told)
}

/// Tells the engine's subscribers of an image that is in the store now.
async fn tell(job: &Job, exported: &BTreeMap<String, String>) {
    // What leads to several has no configuration of its own.
    let known = ["containerimage.config.digest", "containerimage.digest"].iter();
    let Some(digest) = known.filter_map(|key| exported.get(*key)).next() else { return };
    let names = exported.get("image.name").map(String::as_str).unwrap_or_default();
    let names: Vec<Reference> = names.split(',').filter_map(|name| Reference::parse(name).ok()).collect();
    job.solver().engine().image_put(digest, &names).await;
}

/// Who is to have the result, from all the ways in which clients have said so.
fn exporters(request: &mut SolveRequest) -> Vec<Exporter> {
    let mut exporters = std::mem::take(&mut request.exporters);
    if exporters.is_empty() && !request.exporter_deprecated.is_empty() {
        exporters.push(wire::Exporter {
            r#type: std::mem::take(&mut request.exporter_deprecated),
            attrs: std::mem::take(&mut request.exporter_attrs_deprecated),
        });
    }
    let epoch = request.frontend_attrs.get(EPOCH);
    let mut read = Vec::new();
    for (number, exporter) in exporters.into_iter().enumerate() {
        let mut attributes = exporter.attrs;
        if let Some(epoch) = epoch {
            attributes.entry(EPOCH_ATTRIBUTE.to_owned()).or_insert_with(|| epoch.clone());
        }
        read.push(Exporter { kind: exporter.r#type, attributes, id: number.to_string() });
    }
    read
}

/// A cache as messages have it.
fn cache(entry: wire::CacheOptionsEntry) -> RemoteCache {
    RemoteCache { kind: entry.r#type, attributes: entry.attrs }
}

/// A cache in a registry, as clients said it before there were others.
fn cache_of_ref(name: String, mut attributes: BTreeMap<String, String>) -> RemoteCache {
    attributes.insert("ref".to_owned(), name);
    RemoteCache { kind: "registry".to_owned(), attributes }
}

/// The caches that the build is to look into, and those that it is to write.
fn caches(request: &mut SolveRequest) -> Result<(Vec<RemoteCache>, Vec<RemoteCache>), Status> {
    let cached = std::mem::take(&mut request.cache).unwrap_or_default();
    let mut exports: Vec<RemoteCache> = cached.exports.into_iter().map(cache).collect();
    if !cached.export_ref_deprecated.is_empty() {
        exports.push(cache_of_ref(cached.export_ref_deprecated, cached.export_attrs_deprecated));
    }
    for export in &exports {
        export.check_export().map_err(|error| status(&error))?;
    }
    let mut imports: Vec<RemoteCache> = cached.imports.into_iter().map(cache).collect();
    let names = cached.import_refs_deprecated.into_iter();
    imports.extend(names.map(|name| cache_of_ref(name, BTreeMap::new())));
    Ok((imports, exports))
}

/// What the build may have: what its client wants, if the daemon allows it.
fn entitlements(caller: &Caller, wanted: &[String]) -> Result<BTreeSet<Entitlement>, Status> {
    let mut entitlements = BTreeSet::new();
    for wanted in wanted {
        let known = match wanted.split('=').next().unwrap_or_default() {
            "network.host" => Entitlement::NetworkHost,
            "security.insecure" => Entitlement::SecurityInsecure,
            "device" => Entitlement::Device,
            _ => return Err(Status::unknown(format!("invalid entitlement: {wanted}"))),
        };
        if !caller.shared.about.allowed.contains(&known) {
            return Err(Status::unknown(format!(
                "granting entitlement {wanted} is not allowed by build daemon configuration"
            )));
        }
        entitlements.insert(known);
    }
    Ok(entitlements)
}

/// The session that the client names, which has to be its own.
async fn session(caller: &Caller, id: &str) -> Result<Option<Arc<dyn Session>>, Status> {
    if id.is_empty() {
        return Ok(None);
    }
    let open = caller.shared.sessions.find(id, &caller.owner).await;
    let open = open.map_err(|error| Status::unknown(error.to_string()))?;
    Ok(Some(Arc::new(Client::new(caller.shared.sessions.clone(), open))))
}

/// A build's record in the history, which is told that the build was given up if it does not end.
struct Recorded {
    history: crate::history::History,
    owner: Owner,
    now: Box<dyn Fn() -> base::Timestamp + Send + Sync>,
    record: Option<BuildHistoryRecord>,
}

impl Recorded {
    fn begin(caller: &Caller, request: &SolveRequest, exporters: &[Exporter]) -> Self {
        let engine = caller.shared.solver.engine().clone();
        let now = Box::new(move || engine.now());
        let exporters = exporters.iter().map(|exporter| wire::Exporter {
            r#type: exporter.kind.clone(),
            attrs: exporter.attributes.clone(),
        });
        let record = BuildHistoryRecord {
            r#ref: request.r#ref.clone(),
            frontend: request.frontend.clone(),
            frontend_attrs: request.frontend_attrs.clone(),
            exporters: exporters.collect(),
            created_at: Some(time(now())),
            ..BuildHistoryRecord::default()
        };
        let history = caller.shared.history.clone();
        let owner = caller.owner.clone();
        history.tell(&owner, record.clone(), Left::new());
        Recorded { history, owner, now, record: Some(record) }
    }

    async fn end(&mut self, job: &Job, built: &Result<BTreeMap<String, String>, Status>) {
        let Some(mut record) = self.record.take() else { return };
        let mut steps: BTreeMap<oci::Digest, VertexEvent> = BTreeMap::new();
        // It is closed: all is there.
        let events: Vec<Event> = job.events().collect().await;
        for event in events.iter().cloned() {
            match event {
                Event::Vertex(vertex) => drop(steps.insert(vertex.digest.clone(), vertex)),
                Event::Warning(_) => record.num_warnings += 1,
                _ => {}
            }
        }
        let count = |of: fn(&&VertexEvent) -> bool| {
            i32::try_from(steps.values().filter(of).count()).unwrap_or(i32::MAX)
        };
        record.num_total_steps = count(|_| true);
        record.num_cached_steps = count(|step| step.cached);
        record.num_completed_steps = count(|step| step.completed.is_some() && step.error.is_none());
        match built {
            Ok(told) => {
                record.exporter_response.clone_from(told);
                record.result = result_of(told);
            }
            Err(error) => record.error = Some(to_wire(error)),
        }
        record.completed_at = Some(time((self.now)()));
        let left = leave(&mut record, events);
        self.history.tell(&self.owner, record, left);
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        let Some(mut record) = self.record.take() else { return };
        record.error = Some(to_wire(&Status::cancelled("context canceled")));
        record.completed_at = Some(time((self.now)()));
        let left = leave(&mut record, Vec::new());
        self.history.tell(&self.owner, record, left);
    }
}
