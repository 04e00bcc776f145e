//! The path that every request takes, whether it came by TLS or from inside the process.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use model::Status;
use model::select::{FieldSelector, LabelSelector};
use model::shared::Share;
use tracing::Instrument;

use crate::account::Account;
use crate::aggregation::{Remote, forward};
use crate::audit::Arrived;
use crate::authorisation::{self, Attributes, ResourceAttributes};
use crate::body::Body;
use crate::call::{Call, Takeover, with_warnings};
use crate::connections::Seat;
use crate::decode::BodyKind;
use crate::error::{Error, Result};
use crate::fairness::{Admitted, Held, Place};
use crate::identity::Identity;
use crate::meters::Labels;
use crate::negotiate::{Offer, View, names_protobuf};
use crate::payload::{self, Payload};
use crate::request::{NAMESPACES, Query, ResourceTarget, Target, Verb};
use crate::resource::{Does, Resource};
use crate::state::State;
use crate::style::{Style, lay_out};
use crate::{compress, consistency, deadline, decode, definitions, impersonation, paths, scale, verbs};

/// What is longer is not taken apart on the threads that answer everybody.
pub(crate) const LIGHT: usize = 64 << 10;

/// By what a request is known in the audit log; a client may name it.
const AUDIT_ID: &str = "audit-id";

/// The address that a request came from, where it came by a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CameFrom(pub(crate) IpAddr);

/// The entry that a request from inside the process is about, whatever is served by its path.
#[derive(Clone, Debug)]
pub(crate) struct Entry(pub(crate) Arc<Resource>);

/// What a request asks for, and what is kept of it.
struct Asked {
    query: Query,
    /// None where nothing is understood by it.
    target: Option<Target>,
    /// What it asks of several objects.
    selectors: (FieldSelector, LabelSelector),
    /// The resource that it names, if it is served here.
    found: Option<Arc<Resource>>,
    /// Who else answers it, if somebody does.
    remote: Option<Remote>,
    /// It may go on for as long as it likes.
    lasts: bool,
    account: Arc<Account>,
}

/// Answers a request of `identity`; none where the caller is not known.
pub(crate) async fn answer(
    state: &Arc<State>,
    mut request: Request<Payload>,
    identity: Option<Identity>,
) -> Response<Body> {
    let id = audit_id(state, request.headers());
    let span = tracing::debug_span!(
        "request",
        id,
        method = %request.method(),
        path = request.uri().path(),
        user = identity.as_ref().map_or("", |i| i.user.as_str()),
    );
    let started = state.clock.elapsed();
    // Within the host, compressing costs more than it saves.
    let far = request.extensions().get::<CameFrom>().is_some_and(|r| !r.0.is_loopback());
    let gzip = far && compress::is_accepted(request.headers());
    let head = request.method() == Method::HEAD;
    let caller = identity.as_ref();
    let asked = asked(state, &request, Some(caller.unwrap_or(&Identity::anonymous())), &id, started);
    let account = asked.account.clone();
    let own = caller.is_some_and(Identity::is_component);
    let style = Style::of(request.headers(), &asked.query);
    if account.wants_object() {
        request.extensions_mut().remove::<Share>();
    }
    // Large, and in this process passed about: what its callers move is a pointer.
    let lasts = asked.lasts;
    let limit = deadline::of(&asked.query, state.fairness.timeout());
    let future = Box::pin(async {
        let work = async {
            if asked.account.received().await {
                route(state, request, identity, gzip, asked).await
            } else {
                Ok(unkept(&request))
            }
        };
        if lasts { work.await } else { deadline::within(limit?, work).await }
    });
    let mut response = async {
        let mut panicked_at = None;
        let (mut response, failure) = match base::panics::catch_async(future).await {
            Ok(Ok(response)) => (response, None),
            Ok(Err(error)) => (error.response(), Some(error)),
            Err(panic) => {
                let error = panicked(&panic);
                panicked_at = Some(panic);
                (error.response(), Some(error))
            }
        };
        match panicked_at {
            Some(panic) => account.panicked(&panic).await,
            None => account.answered(&mut response, failure.as_ref().map(Error::status)).await,
        }
        let took = state.clock.elapsed().saturating_sub(started);
        tracing::debug!(code = response.status().as_u16(), ?took, "answered");
        response
    }
    .instrument(span)
    .await;
    mark(&mut response, &id);
    response = lay_out(state, own, style, response).await;
    if head {
        *response.body_mut() = Body::empty();
    } else if gzip {
        response = compress::compress(response);
    }
    response.body_mut().charge(account);
    response
}

/// Turns away whoever cannot show who he is, or has too much already.
pub(crate) async fn turn_away<B>(
    state: &Arc<State>,
    request: &Request<B>,
    identity: Option<&Identity>,
    error: &Error,
    message: String,
) -> Response<Body> {
    let id = audit_id(state, request.headers());
    let asked = asked(state, request, identity, &id, state.clock.elapsed());
    let style = Style::of(request.headers(), &asked.query);
    let account = asked.account;
    account.turned_away(error.code(), Status { message, ..error.status().clone() }).await;
    let mut response = lay_out(state, false, style, error.response()).await;
    mark(&mut response, &id);
    response.body_mut().charge(account);
    response
}

/// By what the request is known: as the client has named it, if it has.
fn audit_id(state: &State, headers: &HeaderMap) -> String {
    let named = headers.get(AUDIT_ID).and_then(|id| id.to_str().ok()).filter(|id| !id.is_empty());
    named.map_or_else(|| state.new_uid(), str::to_owned)
}

fn mark(response: &mut Response<Body>, id: &str) {
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert(AUDIT_ID, id);
    }
}

/// Reads what a request asks for, and begins to keep account of it.
fn asked<B>(
    state: &Arc<State>,
    request: &Request<B>,
    identity: Option<&Identity>,
    id: &str,
    started: Duration,
) -> Asked {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let target = Target::parse(request.method(), request.uri().path(), &query);
    if !is_built_in(state, target.as_ref()) {
        state.defined.catch_up(&state.table);
    }
    let remote = match &target {
        Some(Target::Resource(target)) => state.aggregation.remote(&target.group, &target.version),
        Some(Target::Path(path)) => state.aggregation.remote_of_path(path),
        None => None,
    };
    let found = match &target {
        Some(Target::Resource(target)) if remote.is_none() => match request.extensions().get::<Entry>() {
            Some(Entry(entry)) => Some(entry.clone()),
            None => state.table.get(&target.group, &target.version, &target.resource),
        },
        _ => None,
    };
    let selectors = match &target {
        Some(Target::Resource(target)) => selectors(target, &query),
        _ => Default::default(),
    };
    let labels = Labels::of(target.as_ref(), found.as_deref(), request.method(), request.headers(), &query);
    let under_way = state.meters.begin(&labels, started);
    let record = state.audit.as_ref().and_then(|audit| {
        let verb = request.method().as_str().to_lowercase();
        let (attributes, target) = match &target {
            Some(Target::Resource(target)) => {
                (Attributes::Resource(attributes(target, &selectors)), Some(target))
            }
            _ => (Attributes::Path { verb: &verb, path: request.uri().path() }, None),
        };
        let now = state.clock.now();
        let (level, record) = audit.begin(&Arrived { id, request, identity, attributes, target, now });
        state.meters.audited(level);
        record
    });
    let own = identity.is_some_and(Identity::is_component);
    let account = Account::open(state, started, under_way, labels.long_running, own, record);
    let is_remote_stream = match (&remote, &target) {
        (Some(_), Some(Target::Resource(target))) => Remote::lasts(target),
        _ => false,
    };
    let lasts = labels.long_running || is_remote_stream;
    Asked { query, target, selectors, found, remote, lasts, account }
}

/// Whether a request is for what no object can define, so that it need not wait until it is known what objects do.
fn is_built_in(state: &State, target: Option<&Target>) -> bool {
    let Some(Target::Resource(target)) = target else { return false };
    let entry = state.table.get(&target.group, &target.version, &target.resource);
    entry.is_some_and(|entry| entry.retired.is_none() && !entry.any_name)
}

/// What must be noted cannot be.
fn unkept(request: &Request<Payload>) -> Response<Body> {
    let uri = request.uri().path_and_query().map_or("", |uri| uri.as_str());
    let why = format!("Internal Server Error: {}: failed to store audit event\n", model::field::quote(uri));
    let mut response = Response::new(Body::full(why));
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A fault of this program ends the one request that met it.
fn panicked(panic: &base::panics::Panic) -> Error {
    tracing::error!(%panic, "a request panicked");
    Status::internal("this request met a fault of the server (a panic); the server's log tells where").into()
}

async fn route(
    state: &Arc<State>,
    request: Request<Payload>,
    identity: Option<Identity>,
    gzip: bool,
    asked: Asked,
) -> Result<Response<Body>> {
    let Asked { query, target, selectors, found, remote, account, .. } = asked;
    let target = target.ok_or_else(|| Error::from(Status::method_not_allowed()))?;
    let caller = match identity {
        Some(identity) => identity,
        None => {
            impersonation::refuse_unknown(request.headers())?;
            if !state.structured.takes_anonymous(request.uri().path()) {
                return Err(Status::unauthorized().into());
            }
            Identity::anonymous()
        }
    };
    match target {
        Target::Path(path) => {
            let verb = request.method().as_str().to_lowercase();
            let attributes = Attributes::Path { verb: &verb, path: &path };
            let identity = authorize(state, &account, caller, request.headers(), attributes).await?;
            let (mut admitted, let_in) = state.fairness.admit_path(&identity, attributes).await;
            let asked =
                paths::Asked { method: request.method(), headers: request.headers(), query: &query, gzip };
            let (asked_of, place) = match remote {
                Some(remote) => (Some(remote), admitted.place.take()),
                None => (None, None),
            };
            let outcome = match (let_in, asked_of) {
                (Ok(()), None) => paths::handle(state, &path, asked).await,
                (Ok(()), Some(remote)) => {
                    Box::pin(forward(state, request, &identity, &remote, false, &account, place)).await
                }
                (Err(error), _) => Err(error),
            };
            let mut response = outcome.unwrap_or_else(|error| {
                account.refuses(&error);
                error.response()
            });
            if let Some(place) = admitted.place.take() {
                response.body_mut().hold(place);
            }
            admitted.mark(&mut response);
            Ok(response)
        }
        Target::Resource(target) => {
            let attributes = Attributes::Resource(attributes(&target, &selectors));
            let identity = authorize(state, &account, caller, request.headers(), attributes).await?;
            let lasts = remote.is_some() && Remote::lasts(&target);
            let is_stream = found
                .as_ref()
                .and_then(|resource| resource.find_subresource(&target.subresource))
                .is_some_and(|subresource| subresource.is_stream)
                || (lasts && target.verb != Verb::Watch);
            // Streams wait instead of working: they take no place. Watches have one until they wait.
            let (mut admitted, let_in) = if is_stream {
                (Admitted::free(), Ok(()))
            } else {
                let held = || match &found {
                    Some(resource) => state.cache.partition(&resource.storage.partition).held(),
                    None => Held::default(),
                };
                state.fairness.admit_resource(&identity, attributes, &target, &query, held).await
            };
            let place = admitted.place.take();
            // Who reads Protocol Buffers is told in them why there is no answer, too.
            let protobuf = names_protobuf(request.headers())
                && found.as_ref().is_some_and(|resource| resource.has_protobuf())
                && matches!(
                    View::negotiate(request.headers(), &query, Offer { protobuf: true, parts: true, stream: false }),
                    Ok(view) if view.is_protobuf()
                );
            let outcome = match (let_in, &remote) {
                (Ok(()), Some(remote)) => {
                    Box::pin(forward(state, request, &identity, remote, lasts, &account, place)).await
                }
                (Ok(()), None) => {
                    resource(state, request, identity, target, found, query, account.clone(), place).await
                }
                (Err(error), _) => Err(error),
            };
            let mut response = outcome.unwrap_or_else(|error| {
                account.refuses(&error);
                if protobuf { error.protobuf_response() } else { error.response() }
            });
            admitted.mark(&mut response);
            Ok(response)
        }
    }
}

/// What a request for several objects asks of them. One that cannot be read is refused later, for that.
fn selectors(target: &ResourceTarget, query: &Query) -> (FieldSelector, LabelSelector) {
    if !matches!(target.verb, Verb::List | Verb::Watch | Verb::DeleteCollection) {
        return Default::default();
    }
    let fields = query.filled("fieldSelector").and_then(|text| text.parse().ok()).unwrap_or_default();
    let labels = query.filled("labelSelector").and_then(|text| text.parse().ok()).unwrap_or_default();
    (fields, labels)
}

/// What is to be authorised and noted of a request to a resource.
fn attributes<'a>(
    target: &'a ResourceTarget,
    (fields, labels): &'a (FieldSelector, LabelSelector),
) -> ResourceAttributes<'a> {
    let mut attributes = target.attributes();
    (attributes.fields, attributes.labels) = (fields.conditions(), labels.requirements());
    // Whoever lists by one name asks for that object.
    let named = fields.required("metadata.name").filter(|_| target.name.is_empty());
    if let Some(name) = named.filter(|name| model::names::path_segment(name).is_empty()) {
        attributes.name = name;
    }
    attributes
}

/// As whom the request is answered, if that one may ask it.
async fn authorize(
    state: &State,
    account: &Account,
    caller: Identity,
    headers: &HeaderMap,
    attributes: Attributes<'_>,
) -> Result<Identity> {
    let record = account.record();
    let identity = impersonation::apply(state, caller, headers, attributes, record).await?;
    let began = state.clock.elapsed();
    let decision = state.authorizer.decide(&identity, attributes).await;
    state.meters.decided(&decision, state.clock.elapsed().saturating_sub(began));
    if let Some(record) = record {
        record.decided(&decision);
    }
    authorisation::check(&identity, attributes, &decision)?;
    Ok(identity)
}

#[expect(clippy::too_many_arguments, reason = "what has been found out of the request, piece by piece")]
async fn resource(
    state: &Arc<State>,
    request: Request<Payload>,
    identity: Identity,
    target: ResourceTarget,
    found: Option<Arc<Resource>>,
    query: Query,
    account: Arc<Account>,
    place: Option<Arc<Place>>,
) -> Result<Response<Body>> {
    let (mut parts, payload) = request.into_parts();
    if state.closed.is_cancelled() {
        return Err(Status::unavailable("the server has stopped").into());
    }
    let found = match found {
        // Another server may have defined it, which is a moment away.
        None if state.store.is_shared() => {
            definitions::catch_up_with_others(state).await?;
            state.table.get(&target.group, &target.version, &target.resource)
        }
        found => found,
    };
    let resource = found.ok_or_else(|| Error::from(Status::no_such_resource()))?;
    check_shape(&resource, &target)?;
    let seat = parts.extensions.remove::<Arc<Seat>>();
    let upgrade = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    let upgrade = upgrade.map(|connection| Takeover { connection, seat });
    let waits = target.verb == Verb::Watch
        || resource.find_subresource(&target.subresource).is_some_and(|s| s.is_stream);
    // What a stream sends is no object: whoever opens one need not accept any.
    let view = if waits && target.verb != Verb::Watch {
        View::Full
    } else {
        View::negotiate(&parts.headers, &query, resource.offer(target.verb))?
    };
    // What only reads has nothing to say in a body; a request to upgrade the connection has none.
    let reads = target.verb.is_read();
    let (body, payload) = match (waits, reads) {
        // Whoever answers it may read it.
        (true, _) => (None, Some(payload)),
        (false, true) => (None, None),
        (false, false) => (Some(receive(payload, state, resource.longest_body, place.as_ref()).await?), None),
    };
    if let Some(body) = &body {
        account.sends(BodyKind::of(&parts.headers, &body.bytes), &body.bytes).await;
    }
    // Who brings an entry means that one, whatever is served.
    let brings_entry = parts.extensions.get::<Entry>().is_some();
    // What an object defines may have become something else while the body came.
    let resource = if resource.definition.is_some() && !brings_entry {
        state.defined.catch_up(&state.table);
        let now = state.table.get(&target.group, &target.version, &target.resource);
        let now = now.ok_or_else(|| Error::from(Status::no_such_resource()))?;
        check_shape(&now, &target)?;
        now
    } else {
        resource
    };
    let deprecated = resource.deprecated.clone();
    if deprecated.is_some() {
        state.meters.uses.deprecated(&resource, &target.subresource);
    }
    let mut call = Call {
        state: state.clone(),
        account,
        identity,
        resource,
        style: Style::of(&parts.headers, &query),
        query,
        method: parts.method,
        uri: parts.uri,
        headers: parts.headers,
        remote: parts.extensions.get::<CameFrom>().map(|remote| remote.0),
        payload,
        body: body.as_ref().map(|body| body.bytes.clone()).unwrap_or_default(),
        view,
        upgrade,
        share: parts.extensions.remove::<Share>().is_some(),
        turn: tokio::sync::OnceCell::new(),
        place: place.clone(),
        now: state.clock.now(),
        target,
    };
    consistency::catch_up(&call).await?;
    if call.resource.retired.is_some() && state.store.is_shared() && !brings_entry {
        // What another server has been told of its definition holds here, too.
        state.defined.catch_up(&state.table);
        let ResourceTarget { group, version, resource, .. } = &call.target;
        let now = state.table.get(group, version, resource);
        call.resource = now.ok_or_else(|| Error::from(Status::no_such_resource()))?;
    }
    if waits {
        drop(place);
        let answer = dispatch(call).await;
        return match &deprecated {
            Some(warning) => answer.map(|response| with_warnings(response, std::slice::from_ref(warning))),
            None => answer,
        };
    }
    let (light, own, verb) = (is_light(&call), call.identity.is_component(), call.target.verb);
    let dispatched = Box::pin(dispatch(call));
    let work = async {
        if light { dispatched.await } else { state.workers.drive(own, dispatched.in_current_span()).await }
    };
    let outcome = deadline::doing(verb, work).await;
    drop(body);
    // An answer that nobody takes has its place too.
    outcome.map(|mut response| {
        if let Some(warning) = &deprecated {
            response = with_warnings(response, std::slice::from_ref(warning));
        }
        if let Some(place) = place {
            response.body_mut().hold(place);
        }
        response
    })
}

/// Reads a body. Whoever takes his time to send it keeps nobody else from a place meanwhile.
async fn receive(
    payload: Payload,
    state: &State,
    limit: usize,
    place: Option<&Arc<Place>>,
) -> Result<payload::Held> {
    let arrives = place.filter(|_| matches!(payload, Payload::Arriving(_)));
    if let Some(place) = arrives {
        place.offer();
    }
    let body = payload.read(&state.bodies, limit).await;
    if let Some(place) = arrives {
        place.work();
    }
    body
}

/// Whether a request costs so little that it is done here and now: by what is sent, and by the object that
/// it is about. YAML costs many times what JSON does.
fn is_light(call: &Call) -> bool {
    if call.target.verb.is_read() && call.view == View::Full && call.style == Style::Short {
        return true;
    }
    let known = if call.target.name.is_empty() { None } else { call.live().ok() };
    let size = call.body.len() + known.map_or(0, |stored| stored.len());
    size <= LIGHT && !call.resource.costly && !decode::is_yaml(call)
}

/// Whether the resource has such paths at all.
fn check_shape(resource: &Resource, target: &ResourceTarget) -> Result<()> {
    if resource.any_name {
        let allowed =
            resource.unstored.as_ref().is_some_and(|unstored| unstored.verbs.contains(&target.verb));
        return if allowed { Ok(()) } else { Err(Status::method_not_allowed().into()) };
    }
    if !resource.namespaced && !target.namespace.is_empty() && target.resource != NAMESPACES {
        return Err(Status::no_such_resource().into());
    }
    if !target.subresource.is_empty() && !resource.has_subresource(&target.subresource) {
        return Err(Status::no_such_resource().into());
    }
    // Of the form of before too (`/watch/`): a name alone names nothing, and who asks for all asks without one.
    if !target.name.is_empty() && resource.namespaced && target.namespace.is_empty() {
        return Err(Status::no_such_resource().into());
    }
    let allowed = if target.subresource.is_empty() {
        if resource.unstored.as_ref().is_some_and(|unstored| !unstored.verbs.contains(&target.verb)) {
            return Err(Status::method_not_allowed().into());
        }
        match target.verb {
            Verb::Create => target.name.is_empty(),
            Verb::Update | Verb::Patch => !target.name.is_empty(),
            _ => true,
        }
    } else {
        let found = resource.find_subresource(&target.subresource);
        found.is_some_and(|s| s.verbs.contains(&target.verb))
    };
    if allowed { Ok(()) } else { Err(Status::method_not_allowed().into()) }
}

async fn dispatch(call: Call) -> Result<Response<Body>> {
    let is_whole = call.resource.any_name || call.target.subresource.is_empty();
    if let Some(unstored) = call.resource.unstored.as_ref().filter(|_| is_whole) {
        return unstored.handler.clone().answer(call).await;
    }
    match call.resource.find_subresource(&call.target.subresource).map(|s| &s.does) {
        None | Some(Does::Part) => verbs::handle(call).await,
        Some(Does::Scale(replicas)) => {
            let replicas = replicas.clone();
            Box::pin(scale::handle(&call, &replicas)).await
        }
        Some(Does::Own(handler)) => handler.clone().answer(call).await,
    }
}
