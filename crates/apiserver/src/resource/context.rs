//! What a strategy may look at while it decides.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use model::select::LabelSelector;
use model::{GroupResource, Object, Status};

use super::partition;
use crate::account::Account;
use crate::allocation::{self, Claim, Refusal};
use crate::audit::Level;
use crate::authentication;
use crate::authorisation::{Attributes, Decision, KnownRules, ResourceAttributes};
use crate::cache::Stored;
use crate::error::{Error, Result};
use crate::fairness::Place;
use crate::identity::Identity;
use crate::meters::policies::{ConditionsChecked, PolicyChecked};
use crate::objects::Collection;
use crate::reach::Reach;
use crate::request::NAMESPACES;
use crate::resource::Resource;
use crate::state::{State, object_name};
use crate::turns::Turn;

/// One request, as strategies see it: other objects, what is allocated, the time, randomness.
pub struct Context<'a> {
    pub(crate) state: &'a Arc<State>,
    pub(crate) account: &'a Account,
    pub(crate) resource: &'a Resource,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) identity: &'a Identity,
    pub(crate) turn: &'a tokio::sync::OnceCell<Turn>,
    pub(crate) place: Option<&'a Arc<Place>>,
    pub(crate) now: Timestamp,
}

/// An object as it was stored when it was found. It is read when it is looked at.
pub struct Shown(Arc<Stored>);

impl Shown {
    /// The object.
    pub fn object(&self) -> Object {
        self.0.object()
    }
}

/// What objects take that no other may have: addresses of the cluster, ports of all nodes.
pub struct Allocation<'a> {
    state: &'a State,
    resource: &'a Resource,
}

impl<'a> Context<'a> {
    /// The resource that the request is for.
    pub fn resource(&self) -> &'a Resource {
        self.resource
    }

    /// The namespace, empty for what is cluster-wide.
    pub fn namespace(&self) -> &'a str {
        self.namespace
    }

    /// The name that the request's path has; empty where it has none.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Who makes the request.
    pub fn identity(&self) -> &'a Identity {
        self.identity
    }

    /// Whether whoever makes the request may do something else.
    pub async fn decide(&self, attributes: ResourceAttributes<'_>) -> Decision {
        self.state.authorizer.decide(self.identity, Attributes::Resource(attributes)).await
    }

    /// Whether somebody may do something.
    pub async fn decide_as(&self, identity: &Identity, attributes: Attributes<'_>) -> Decision {
        self.state.authorizer.decide(identity, attributes).await
    }

    /// What is known to be allowed to whoever makes the request, in its namespace.
    pub fn rules(&self) -> KnownRules {
        self.rules_in(self.namespace)
    }

    /// The same, in a namespace.
    pub fn rules_in(&self, namespace: &str) -> KnownRules {
        self.state.authorizer.rules(self.identity, namespace)
    }

    /// Whose a token is that is meant for any of `audiences`, and for which of them it is; or why that is not known.
    pub async fn whose_token(
        &self,
        token: &str,
        audiences: &[String],
    ) -> std::result::Result<(Identity, Vec<String>), String> {
        let accepted = authentication::by_token(self.state, token, audiences).await;
        let accepted = accepted.map_err(|error| base::error::chain(&error).to_string())?;
        Ok((accepted.identity, accepted.audiences))
    }

    /// Notes something about the request in the audit log, if there is one: `key` is a domain and a name. What was
    /// said first of something stays.
    pub fn note(&self, key: impl Into<Cow<'static, str>>, value: &str) {
        if let Some(record) = self.account.record() {
            record.annotate(key, value);
        }
    }

    /// As [`Context::note`], where the audit log has what was sent as well.
    pub fn note_sent(&self, key: impl Into<Cow<'static, str>>, value: impl FnOnce() -> String) {
        if let Some(record) = self.account.record().filter(|record| record.level() >= Level::Request) {
            record.annotate(key, &value());
        }
    }

    /// A way to nodes, pods, and those who are asked over TLS.
    pub fn reach(&self) -> Reach {
        Reach::of(self.state)
    }

    /// Counts how somebody was asked who was registered to be.
    pub fn count_webhook(&self, asked: &crate::callout::Counted<'_>) {
        self.state.meters.webhooks.count(asked);
        if !asked.why.is_empty() {
            let (name, why, passes) = (asked.name, asked.why, asked.passes);
            tracing::warn!(name, why, passes, "a webhook could not be asked");
        }
    }

    /// Counts that an expression of a policy was asked.
    pub fn count_policy(&self, checked: &PolicyChecked<'_>) {
        self.state.meters.policies.count(checked);
    }

    /// Counts that conditions were asked under which somebody is.
    pub fn count_conditions(&self, checked: &ConditionsChecked<'_>) {
        self.state.meters.policies.count_conditions(checked);
    }

    /// Waits for somebody outside. Who takes long keeps nobody else from the place that the request has meanwhile.
    pub async fn wait_for<T>(&self, somebody: impl Future<Output = T>) -> T {
        let Some(place) = self.place else { return somebody.await };
        place.offer();
        let answer = somebody.await;
        place.work();
        answer
    }

    /// A new random uid.
    pub fn new_uid(&self) -> String {
        self.state.new_uid()
    }

    /// All objects of a resource, for those who keep an index.
    pub fn collection(&self, resource: &GroupResource) -> Arc<dyn Collection> {
        self.state.cache.partition(&partition(&resource.group, &resource.resource))
    }

    /// The other resources whose objects are these, in other versions and perhaps groups, and that have this
    /// subresource, where it is one.
    pub fn equivalents(&self, subresource: &str) -> Vec<Arc<Resource>> {
        if self.resource.storage.served.is_none() {
            return Vec::new();
        }
        let is_one = |entry: &&Arc<Resource>| {
            entry.storage.partition == self.resource.storage.partition
                && entry.gvk() != self.resource.gvk()
                && (subresource.is_empty() || entry.has_subresource(subresource))
        };
        self.state.table.entries().values().filter(is_one).cloned().collect()
    }

    /// An object of this resource, or of one that is equivalent, as one of `to`, which is either.
    pub async fn convert(&self, object: Object, to: &Resource) -> Result<Object> {
        let Some(served) = &to.storage.served else { return Ok(object) };
        let converted = served.convert(vec![object], &to.gvk()).await?;
        let mut object = converted.into_iter().next().expect("as many come back as were given");
        to.apply_defaults(&mut object).map_err(|error| Error::internal(&error))?;
        Ok(object)
    }

    /// When the request came.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// How long the server has run: for those who may not take too long.
    pub fn elapsed(&self) -> Duration {
        self.state.clock.elapsed()
    }

    /// A random number.
    pub fn random(&self) -> u64 {
        self.state.random.next_u64()
    }

    /// Another object, as it is stored now. The namespace is empty for what is cluster-wide.
    pub fn find(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<Object> {
        let partition = self.state.cache.partition(&partition(&resource.group, &resource.resource));
        partition.object(&object_name(namespace, name))
    }

    /// The cluster-wide objects of another resource in whose JSON text these words stand, as they are stored
    /// now: only they are read. For kinds of which there are few.
    pub fn all_containing(&self, resource: &GroupResource, words: &str) -> Vec<Object> {
        let partition = self.state.cache.partition(&partition(&resource.group, &resource.resource));
        let (all, _) = partition.snapshot(0, "");
        let has_words = |stored: &&Arc<Stored>| {
            std::str::from_utf8(stored.encoded().text()).is_ok_and(|text| text.contains(words))
        };
        all.iter().filter(has_words).map(|stored| stored.object()).collect()
    }

    /// Whether there is such an object: quicker than to look at it.
    pub fn exists(&self, resource: &GroupResource, namespace: &str, name: &str) -> bool {
        let partition = self.state.cache.partition(&partition(&resource.group, &resource.resource));
        partition.get(&object_name(namespace, name)).is_some()
    }

    /// All objects of another resource that are in a namespace, or everywhere where that is empty, in the order
    /// of their names.
    pub fn list(&self, resource: &GroupResource, namespace: &str) -> Vec<Object> {
        self.shown(resource, namespace).iter().map(Shown::object).collect()
    }

    /// As [`Context::list`], for those who read one after the other and may stop.
    pub fn shown(&self, resource: &GroupResource, namespace: &str) -> Vec<Shown> {
        let partition = self.state.cache.partition(&partition(&resource.group, &resource.resource));
        let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        let (found, _) = partition.snapshot(self.state.cache.revision(), &prefix);
        found.into_iter().map(Shown).collect()
    }

    /// How many objects of another resource are in a namespace: quicker than to look at them.
    pub fn count(&self, resource: &GroupResource, namespace: &str) -> usize {
        // Whoever asks may name what nobody serves.
        let partition = self.state.cache.known(&partition(&resource.group, &resource.resource));
        let Some(partition) = partition else { return 0 };
        partition.snapshot(self.state.cache.revision(), &format!("{namespace}/")).0.len()
    }

    /// Waits for the turn of the namespace, and keeps it until the request is done: until then nobody else stores
    /// here, in this server, what is written in turns ([`Admission::takes_turns`]). Not for what is so itself.
    ///
    /// [`Admission::takes_turns`]: crate::Admission::takes_turns
    pub async fn take_turn(&self) -> Result<()> {
        self.turn.get_or_try_init(|| self.state.turns.take(self.namespace)).await.map(drop)
    }

    /// Waits until memory shows of all other objects what there was when `object` was stored, which comes from
    /// memory.
    pub async fn sees(&self, object: &Object) -> Result<()> {
        let Some(version) = object.revision() else { return Ok(()) };
        self.state.cache.ask_for_progress();
        let caught_up = self.state.cache.wait_for(version).await;
        caught_up.map_err(|current| Error::too_large_version(version, current))
    }

    /// The resource whose objects are of this kind, in this version.
    pub fn resource_of_kind(&self, group: &str, version: &str, kind: &str) -> Option<Arc<Resource>> {
        let entries = self.state.table.entries();
        let mut entries = entries.values();
        entries.find(|it| it.group == group && it.version == version && it.kind == kind).cloned()
    }

    /// An object of another resource in the version of that, as whoever reads it is shown it. The namespace is empty
    /// for what is cluster-wide.
    pub async fn read(&self, resource: &Resource, namespace: &str, name: &str) -> Result<Option<Object>> {
        let partition = self.state.cache.partition(&resource.storage.partition);
        let Some(stored) = partition.get(&object_name(namespace, name)) else { return Ok(None) };
        let shown = Box::pin(partition.served_one(resource, stored.clone())).await?;
        if Arc::ptr_eq(&shown, &stored) {
            return Ok(partition.object(&object_name(namespace, name)));
        }
        Ok(Some(shown.object()))
    }

    /// As [`Context::read`], the objects in a namespace, or everywhere where that is empty, whose labels are selected:
    /// no others are parsed.
    pub async fn read_selected(
        &self,
        resource: &Resource,
        namespace: &str,
        selector: &LabelSelector,
    ) -> Result<Vec<Object>> {
        let partition = self.state.cache.partition(&resource.storage.partition);
        let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        let (mut all, _) = partition.snapshot(self.state.cache.revision(), &prefix);
        all.retain(|stored| stored.is_readable());
        let all = Box::pin(partition.served(resource, all)).await?;
        let is_selected = |stored: &&Arc<Stored>| {
            let labels = stored.labels();
            selector.match_values(|key| labels.get(key).map(|value| &**value))
        };
        Ok(all.iter().filter(is_selected).map(|stored| stored.object()).collect())
    }

    /// The resource of this group and name, in whatever version.
    pub fn resource_of(&self, resource: &GroupResource) -> Option<Arc<Resource>> {
        self.state.table.find(&resource.group, "", &resource.resource)
    }

    /// What is allocated to objects of this resource.
    pub fn allocation(&self) -> Allocation<'a> {
        Allocation { state: self.state, resource: self.resource }
    }

    /// A refusal in the words of admission.
    pub fn forbidden(&self, object: &Object, why: impl std::fmt::Display) -> Error {
        Status::forbidden(&self.resource.group_resource(), object.name(), why).into()
    }

    /// Refuses to make things in a namespace that is missing or on its way out; gives it as it is.
    pub(crate) fn admit_into_namespace(&self, object: &Object) -> Result<Option<Arc<Stored>>> {
        if self.namespace.is_empty() {
            return Ok(None);
        }
        let partition = self.state.cache.partition(&partition("", NAMESPACES));
        let Some(namespace) = partition.get(self.namespace) else {
            let namespaces = GroupResource::new("", NAMESPACES);
            return Err(Status::not_found(&namespaces, self.namespace).into());
        };
        let text = std::str::from_utf8(namespace.encoded().text()).unwrap_or_default();
        // Parsed only where it can be true: creating is frequent, deleting a namespace is not.
        if text.contains("deletionTimestamp") && namespace.object().is_being_deleted() {
            let mut status = Status::forbidden(
                &self.resource.group_resource(),
                object.name(),
                format!(
                    "unable to create new content in namespace {} because it is being terminated",
                    self.namespace
                ),
            );
            status.details.get_or_insert_default().causes.push(model::status::Cause {
                reason: model::status::NAMESPACE_TERMINATING.to_owned(),
                message: format!("namespace {} is being terminated", self.namespace),
                field: "metadata.namespace".to_owned(),
            });
            return Err(status.into());
        }
        Ok(Some(namespace))
    }
}

impl Allocation<'_> {
    /// The range of ports on nodes.
    pub fn ports(&self) -> RangeInclusive<u16> {
        self.state.node_ports.clone()
    }

    /// Any free address. The low parts of the networks are left for those that are named, such as the
    /// cluster's DNS server, until nothing else is free.
    pub fn any_address(&self) -> Option<Ipv4Addr> {
        allocation::any_address(self.state)
    }

    /// Any free port but those that the same object has chosen already.
    pub fn any_port(&self, chosen: &BTreeSet<u16>) -> Option<u16> {
        allocation::any_port(self.state, chosen)
    }

    /// How many things an object can take in one write, besides those that it has.
    pub fn at_once(&self) -> usize {
        allocation::TAKEN_AT_ONCE
    }

    /// Whether `object`, which has `own` already, may have what it claims.
    pub fn check(&self, claim: Claim, object: &Object, own: &[Claim]) -> Result<(), Refusal> {
        claim.check(self.state, self.resource, object, own)
    }
}
