//! One request to a resource, on its way through the server.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use base::Timestamp;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use model::{Encoded, GroupResource, GroupVersionKind, Object, Status};

use crate::account::Account;
use crate::admission::{Along, Operation, Options};
use crate::authentication::token::{self, Bound, Lifetime};
use crate::authorisation::{self, Attributes, ResourceAttributes};
use crate::body::Body;
use crate::cache::{Partition, Stored};
use crate::config::ServiceAccountTokens;
use crate::connections::Seat;
use crate::decode;
use crate::error::{Error, Result};
use crate::fairness::Place;
use crate::identity::Identity;
use crate::negotiate::View;
use crate::payload::Payload;
use crate::protobuf::encode;
use crate::request::{DeleteOptions, Query, ResourceTarget, Verb, WriteOptions};
use crate::resource::{Context, Resource};
use crate::state::State;
use crate::style::{Document, Style};
use crate::turns::Turn;
use crate::verbs::{self, Modified, Part};

/// One request to a resource, as those who answer it see it.
pub struct Call {
    pub(crate) state: Arc<State>,
    pub(crate) account: Arc<Account>,
    pub(crate) identity: Identity,
    pub(crate) target: ResourceTarget,
    pub(crate) resource: Arc<Resource>,
    pub(crate) query: Query,
    pub(crate) method: Method,
    /// The address as it was written.
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    /// Where the request came from, where it came by a connection.
    pub(crate) remote: Option<IpAddr>,
    pub(crate) body: Bytes,
    /// Of a conversation, the body that is still to be read.
    pub(crate) payload: Option<Payload>,
    pub(crate) view: View,
    /// How what is text is laid out.
    pub(crate) style: Style,
    pub(crate) upgrade: Option<Takeover>,
    /// The caller is in this process, and takes objects instead of text.
    pub(crate) share: bool,
    /// The turn of its namespace, once it was taken for more than the last step of a write.
    pub(crate) turn: tokio::sync::OnceCell<Turn>,
    /// Among the requests that are served: kept until the work has ended, whoever waits for it.
    pub(crate) place: Option<Arc<Place>>,
    pub(crate) now: Timestamp,
}

/// The connection that a client asks for, with the place that it has among all connections: whoever
/// goes on with the one keeps the other.
pub(crate) struct Takeover {
    pub(crate) connection: hyper::upgrade::OnUpgrade,
    /// None where the request came from inside the process.
    pub(crate) seat: Option<Arc<Seat>>,
}

impl Call {
    /// What strategies may look at.
    pub fn context(&self) -> Context<'_> {
        Context {
            state: &self.state,
            account: &self.account,
            resource: &self.resource,
            namespace: self.namespace(),
            name: &self.target.name,
            identity: &self.identity,
            turn: &self.turn,
            place: self.place.as_ref(),
            now: self.now,
        }
    }

    /// The namespace of the objects; empty for what is cluster-wide, namespaces themselves included.
    pub fn namespace(&self) -> &str {
        if self.resource.namespaced { &self.target.namespace } else { "" }
    }

    /// The name of the object.
    pub fn name(&self) -> &str {
        &self.target.name
    }

    /// The resource that the request is for.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// What the path says.
    pub fn target(&self) -> &ResourceTarget {
        &self.target
    }

    /// The parameters of the request.
    pub fn query(&self) -> &Query {
        &self.query
    }

    /// When the request came.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The object that the path names, as it is now.
    pub async fn current(&self) -> Result<Object> {
        Ok(self.served(self.live()?).await?.object())
    }

    /// The object of this name in the same place, as it is now: a path may name more than an object.
    pub async fn named(&self, name: &str) -> Result<Object> {
        self.of_object(self.namespace(), name).current().await
    }

    /// Whether the caller may `create` what the request is for, whatever the request's own verb is. Who opens a
    /// stream by GET and an upgrade asks for no less than who opens it by POST. Fails with the refusal.
    pub async fn may_create(&self) -> Result<()> {
        if self.target.verb == Verb::Create {
            return Ok(());
        }
        let attributes = ResourceAttributes { verb: Verb::Create.as_str(), ..self.target.attributes() };
        let attributes = Attributes::Resource(attributes);
        let decision = self.state.authorizer.decide(&self.identity, attributes).await;
        authorisation::check(&self.identity, attributes, &decision)
    }

    /// What the request says of how it is to be written.
    pub fn write_options(&self) -> Result<WriteOptions> {
        WriteOptions::parse(&self.query, self.user_agent(), self.target.verb)
    }

    /// Whether the request has no body.
    pub fn has_no_body(&self) -> bool {
        self.body.is_empty()
    }

    /// The body as an object of the resource's kind, and what to warn of.
    pub fn decode(&self, options: &WriteOptions) -> Result<(Object, Vec<String>)> {
        decode::object(self, options.field_validation)
    }

    /// The body as an object of another kind than the resource's own.
    pub fn decode_as(&self, kind: &GroupVersionKind) -> Result<Object> {
        decode::other(self, kind, &[])
    }

    /// The same, from clients too that call it by one of `older`, in which it is served no more and had the same fields.
    pub fn decode_as_any(&self, kind: &GroupVersionKind, older: &[GroupVersionKind]) -> Result<Object> {
        decode::other(self, kind, older)
    }

    /// Changes the object that the path names, by a subresource that knows what it does: what `change`
    /// makes of the object as it is stored now is stored, its identity and its managed fields aside. A
    /// uid or a `resourceVersion` in it is a condition. `change` is called anew when somebody was faster.
    pub async fn modify(
        &self,
        options: &WriteOptions,
        change: impl Fn(&Object) -> Result<Object>,
    ) -> Result<Modified> {
        verbs::modify(self, options, Part::Own, change).await
    }

    /// Deletes the object that the path names.
    pub async fn delete(&self, options: &DeleteOptions) -> Result<()> {
        verbs::delete_object(self, options).await.map(drop)
    }

    /// Deletes the object that the path names, and changes what `along` says with it, in one transaction. `along`
    /// sees the object as it is, and as it will be if it does not go at once, and may refuse; it is called anew when
    /// somebody was faster.
    pub async fn delete_along(
        &self,
        options: &DeleteOptions,
        along: impl Fn(&Object, &mut Object) -> Result<Vec<Along>>,
    ) -> Result<()> {
        verbs::delete_along(self, options, along).await.map(drop)
    }

    /// Asks others of what was sent to a subresource that takes a kind of its own, before that is done: those who
    /// look at what is sent. Gives what they made of it, and what whoever sent it is told by them.
    pub async fn admit(&self, options: &WriteOptions, object: Object) -> Result<(Object, Vec<String>)> {
        self.admit_if(options, object, |_| Ok(())).await
    }

    /// The same, where something must hold of what those have made of it who may change it, before those are asked
    /// who say whether it may be done.
    pub async fn admit_if(
        &self,
        options: &WriteOptions,
        object: Object,
        holds: impl Fn(&Object) -> Result<()>,
    ) -> Result<(Object, Vec<String>)> {
        verbs::admit_sent(self, Operation::Create, Options::Write(options), object, holds).await
    }

    /// Asks others whether a conversation may be begun that was asked for by these options, an object of their kind.
    pub async fn admit_connection(&self, options: Object) -> Result<Object> {
        let admitted =
            verbs::admit_sent(self, Operation::Connect, Options::None, options, |_| Ok(())).await?;
        Ok(admitted.0)
    }

    /// Makes a token for a service account.
    pub fn issue_token(
        &self,
        account: &Object,
        audiences: &[String],
        lifetime: Lifetime,
        bound: Option<&Bound>,
    ) -> Result<String> {
        token::issue(&self.state, account, audiences, lifetime, bound, self.now)
    }

    /// Whom such tokens are for unless asked otherwise.
    pub fn audiences(&self) -> &[String] {
        &self.state.audiences
    }

    /// How such tokens are made.
    pub fn tokens(&self) -> &ServiceAccountTokens {
        &self.state.tokens
    }

    /// The answer that something was done for which there is no object to show.
    pub fn answer_created(&self, warnings: &[String]) -> Response<Body> {
        with_warnings(self.answer_status(&Status { code: 201, ..Status::success(None) }), warnings)
    }

    /// The answer with an object that is not of the resource's own kind.
    pub fn answer_other(&self, code: StatusCode, object: &Object, warnings: &[String]) -> Response<Body> {
        match encode::document(object.value()).filter(|_| self.view.is_protobuf()) {
            Some(body) => with_warnings(self.respond(code, Body::full(body)), warnings),
            None => plain_object(code, object, warnings),
        }
    }

    /// The answer with a `Status`.
    pub(crate) fn answer_status(&self, status: &Status) -> Response<Body> {
        let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::OK);
        let value = serde_json::to_value(status).expect("a status always has a text");
        match encode::document(&value).filter(|_| self.view.is_protobuf()) {
            Some(body) => self.respond(code, Body::full(body)),
            // Clients look at the text of it, its last newline included.
            None => json_response(code, Body::full(format!("{value}\n"))),
        }
    }

    /// An answer in the form that the client asked for.
    pub(crate) fn respond(&self, code: StatusCode, body: Body) -> Response<Body> {
        let mut response = json_response(code, body);
        if self.view.is_protobuf() {
            let media_type = self.view.media_type(self.target.verb == Verb::Watch);
            response.headers_mut().insert(header::CONTENT_TYPE, media_type);
            response.extensions_mut().remove::<Document>();
        }
        response
    }

    /// The same request for an object of another resource of the same namespace: of the core group's `v1`.
    pub fn about(&self, plural: &str, name: &str) -> Result<Self> {
        let found = self.state.table.get("", "v1", plural);
        let resource = found.ok_or_else(|| Error::from(Status::no_such_resource()))?;
        let mut call = self.of_object(&self.target.namespace, name);
        plural.clone_into(&mut call.target.resource);
        call.resource = resource;
        Ok(call)
    }

    /// Whether the store takes writes, or why not.
    pub async fn is_store_well(&self) -> Result<(), String> {
        crate::paths::writable(&self.state).await.map_err(|unwell| unwell.to_string())
    }

    /// The answer with one object that is not stored.
    pub fn answer_one(&self, object: &Object, warnings: &[String]) -> Response<Body> {
        self.answer_object(StatusCode::OK, object, warnings)
    }

    /// The answer with a list of objects that are not stored.
    pub fn answer_list(&self, objects: &[Object], warnings: &[String]) -> Response<Body> {
        let partition = self.partition();
        let stored = objects.iter().map(|object| {
            let name = crate::state::object_name(object.namespace().unwrap_or_default(), object.name());
            Arc::new(partition.stored(name, Encoded::encode(object), 0))
        });
        with_warnings(verbs::respond(self, stored.collect(), 0), warnings)
    }

    /// The objects of this resource.
    pub(crate) fn partition(&self) -> Arc<Partition> {
        self.state.cache.partition(&self.resource.storage.partition)
    }

    /// The object that the path names, as it is stored.
    pub(crate) fn live(&self) -> Result<Arc<Stored>> {
        let name = crate::state::object_name(self.namespace(), &self.target.name);
        let partition = self.partition();
        partition.get(&name).ok_or_else(|| {
            if !partition.is_unreadable(&name) {
                return self.not_found();
            }
            let why = format!(
                "the {} {:?} is stored in a form that this server cannot read",
                self.resource.kind, self.target.name
            );
            Status::internal(why).into()
        })
    }

    /// A stored object in the version that the path names.
    pub(crate) async fn served(&self, stored: Arc<Stored>) -> Result<Arc<Stored>> {
        if self.resource.storage.served.is_none() {
            return Ok(stored);
        }
        // Apart, so that requests for kinds with one version carry no room for it along.
        Box::pin(self.partition().served_one(&self.resource, stored)).await
    }

    /// The same request for one object of the collection.
    pub(crate) fn of_object(&self, namespace: &str, name: &str) -> Self {
        let mut target = self.target.clone();
        namespace.clone_into(&mut target.namespace);
        name.clone_into(&mut target.name);
        Self {
            state: self.state.clone(),
            account: self.account.clone(),
            identity: self.identity.clone(),
            target,
            resource: self.resource.clone(),
            query: self.query.clone(),
            method: self.method.clone(),
            uri: self.uri.clone(),
            headers: self.headers.clone(),
            remote: self.remote,
            body: self.body.clone(),
            payload: None,
            view: self.view,
            style: self.style,
            upgrade: None,
            share: false,
            turn: tokio::sync::OnceCell::new(),
            place: self.place.clone(),
            now: self.now,
        }
    }

    /// Whether objects are told as they are held, instead of their text.
    pub(crate) fn shares(&self) -> bool {
        self.share && self.view == View::Full && self.style == Style::Short
    }

    pub(crate) fn group_resource(&self) -> GroupResource {
        self.resource.group_resource()
    }

    pub(crate) fn not_found(&self) -> Error {
        Status::not_found(&self.group_resource(), &self.target.name).into()
    }

    pub(crate) fn user_agent(&self) -> &str {
        self.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// The media type of the body, without parameters, in lower case.
    pub(crate) fn content_type(&self) -> String {
        decode::media_type(&self.headers)
    }

    /// The answer with one object in the version that the path names, in the form that the client asked for.
    pub(crate) fn answer(&self, code: StatusCode, stored: &Stored, warnings: &[String]) -> Response<Body> {
        let bytes = self.view.object_bytes(&self.resource, stored, self.now);
        with_warnings(self.respond(code, Body::full(bytes)), warnings)
    }

    /// As [`Call::answer`], for an object that is not stored.
    pub(crate) fn answer_object(
        &self,
        code: StatusCode,
        object: &Object,
        warnings: &[String],
    ) -> Response<Body> {
        let bytes = self.view.render(&self.resource, object, self.now);
        with_warnings(self.respond(code, Body::full(bytes)), warnings)
    }
}

/// An object that is not the resource's own kind, such as a `Scale`.
pub(crate) fn plain_object(code: StatusCode, object: &Object, warnings: &[String]) -> Response<Body> {
    with_warnings(json_response(code, Body::full(object.encoded())), warnings)
}

/// An answer with a document of the API: short JSON, which is laid out as the client wants it at last.
pub(crate) fn json_response(code: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.extensions_mut().insert(Document);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// One warning is cut to so many characters, and all together to so many, as in Kubernetes: a header has
/// room for so much, and an object may have a hundred thousand unknown fields.
const WARNING: usize = 256;
const WARNINGS: usize = 4096;

/// Adds warnings (RFC 7234, section 5.5) that kubectl shows.
pub(crate) fn with_warnings(mut response: Response<Body>, warnings: &[String]) -> Response<Body> {
    let all: usize = warnings.iter().map(String::len).sum();
    let mut room = WARNINGS;
    let mut told = HashSet::new();
    // The same is told once.
    for warning in warnings.iter().filter(|warning| told.insert(*warning)) {
        let most = if all > WARNINGS { WARNING.min(room) } else { WARNINGS };
        let warning: String = warning.chars().take(most).collect();
        if warning.is_empty() {
            break;
        }
        room = room.saturating_sub(warning.len());
        let text = format!("299 - {}", model::field::quote(&warning));
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}
