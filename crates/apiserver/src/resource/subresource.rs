//! What is below the objects of a resource.

use std::sync::Arc;

use futures::future::BoxFuture;
use http::Response;
use k8s_openapi::schemars::JsonSchema;
use model::GroupVersionKind;

use super::Resource;
use crate::body::Body;
use crate::call::Call;
use crate::error::Result;
use crate::openapi::{Describe, describe};
use crate::request::Verb;

/// A subresource, and what it does.
#[derive(Clone)]
pub struct Subresource {
    /// Its name.
    pub name: String,
    /// What it takes or gives; the resource's own kind where absent.
    pub kind: Option<GroupVersionKind>,
    /// What the fields of that kind are for, in words.
    pub description: Option<Describe>,
    /// Its verbs, in the order in which discovery shows them.
    pub verbs: Vec<Verb>,
    /// Whether it is a conversation, which lasts, not one answer.
    pub is_stream: bool,
    pub(crate) does: Does,
}

/// What a subresource does.
#[derive(Clone)]
pub(crate) enum Does {
    /// Reads the object and changes a part of it, such as its status.
    Part,
    /// Reads and changes the number of replicas.
    Scale(Replicas),
    /// What it says itself.
    Own(Arc<dyn Handler>),
}

/// Where the numbers of replicas stand in an object, and what selects them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replicas {
    /// Other places than `spec.replicas`, `status.replicas` and `spec.selector`, which is no text.
    pub(crate) places: Option<Arc<ReplicaPlaces>>,
}

/// Where an object has them whose definition says so.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReplicaPlaces {
    /// As the definition says it.
    pub(crate) named: String,
    pub(crate) wanted: Vec<String>,
    pub(crate) running: Vec<String>,
    pub(crate) selector: Option<Vec<String>>,
}

/// Answers requests to a subresource. Functions that take a [`Call`] do.
pub trait Handler: Send + Sync + 'static {
    /// Does what the request asks.
    fn answer(&self, call: Call) -> BoxFuture<'static, Result<Response<Body>>>;
}

impl<F, A> Handler for F
where
    F: Fn(Call) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Response<Body>>> + Send + 'static,
{
    fn answer(&self, call: Call) -> BoxFuture<'static, Result<Response<Body>>> {
        Box::pin(self(call))
    }
}

/// What can be done to a part of an object.
const PART: [Verb; 3] = [Verb::Get, Verb::Patch, Verb::Update];

impl Subresource {
    /// A subresource of which `handler` says what it does. It takes and gives the resource's own kind.
    pub fn new(name: &str, verbs: &[Verb], handler: impl Handler) -> Self {
        Self::of(name, verbs, Does::Own(Arc::new(handler)))
    }

    /// A part of the object, which is read with the whole of it and changed by a path of its own. What it may
    /// change says [`Strategy::part_update`](super::Strategy::part_update), which fields it makes nobody's
    /// [`Strategy::kept_by_part`](super::Strategy::kept_by_part), and what must hold
    /// [`Rules::part`](model::validate::Rules::part), each by the part's name.
    pub fn part(name: &str) -> Self {
        Self::of(name, &PART, Does::Part)
    }

    fn of(name: &str, verbs: &[Verb], does: Does) -> Self {
        Self {
            name: name.to_owned(),
            kind: None,
            description: None,
            verbs: verbs.to_vec(),
            is_stream: false,
            does,
        }
    }

    /// It takes and gives this kind.
    #[must_use]
    pub fn kind(mut self, kind: GroupVersionKind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// It takes and gives the kind of this type.
    #[must_use]
    pub fn taking<K: k8s_openapi::Resource + JsonSchema>(mut self) -> Self {
        self.kind = Some(GroupVersionKind::of::<K>());
        self.description = Some(describe::<K>);
        self
    }

    /// It is a conversation: it may last, and takes no place among the requests meanwhile.
    #[must_use]
    pub fn stream(mut self) -> Self {
        self.is_stream = true;
        self
    }
}

impl Resource {
    /// With a status, which is changed by a path of its own.
    #[must_use]
    pub fn status(self) -> Self {
        self.subresource(Subresource::part("status"))
    }

    /// With a number of replicas, which can be read and changed as a `Scale`.
    #[must_use]
    pub fn scale(self) -> Self {
        self.scale_of(Replicas::default())
    }

    /// The same, where the numbers and a selector, a text, stand at other places: paths of names with dots between
    /// them and before them.
    #[must_use]
    pub fn scale_at(self, wanted: &str, running: &str, selector: Option<&str>) -> Self {
        let split = |path: &str| path.trim_start_matches('.').split('.').map(str::to_owned).collect();
        let places = ReplicaPlaces {
            named: wanted.to_owned(),
            wanted: split(wanted),
            running: split(running),
            selector: selector.filter(|path| !path.is_empty()).map(split),
        };
        self.scale_of(Replicas { places: Some(Arc::new(places)) })
    }

    fn scale_of(self, replicas: Replicas) -> Self {
        let scale = Subresource::of("scale", &PART, Does::Scale(replicas));
        self.subresource(scale.taking::<k8s_openapi::api::autoscaling::v1::Scale>())
    }
}

impl std::fmt::Debug for Subresource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Subresource({})", self.name)
    }
}
