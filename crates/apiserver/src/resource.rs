//! The table of resources: what is served, and all in which one differs from another.
//!
//! An entry holds, as values, what is to be known of its kind: where objects are stored, what their
//! fields mean, defaults, rules, columns, fields to select by, subresources, and a [`Strategy`] for what
//! needs the request or other objects. The verbs (`crate::verbs`) use the entry that a request names and
//! know no kind by name; it is found once a request. Built-in kinds are entries that the crate `kinds`
//! makes; a custom resource definition adds an entry while the server runs, which takes the same path.

mod context;
mod conversion;
mod definition;
mod permanent;
mod storage;
mod strategy;
mod subresource;
mod table;

use std::any::TypeId;
use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::schemars::JsonSchema;
use model::default::{Defaults, Fields, TooMuch};
use model::select::Selectable;
use model::validate::{Plain as PlainRules, Rules, Scope};
use model::{GroupKind, GroupResource, GroupVersionKind, Object, Schema};
use tokio_util::sync::CancellationToken;

use crate::negotiate::Offer;
use crate::openapi::{Describe, Documented, describe};
use crate::payload::BODY_LIMIT;
use crate::request::Verb;
use crate::table::{Column, Columns};

pub use context::{Allocation, Context};
pub use conversion::{Conversion, Convert, ConvertError, Converting};
pub use definition::Definition;
pub use permanent::{Installation, MakePermanent, Permanent};
pub use strategy::{Admitting, Graceful, Plain, Strategy, after_asking, at_once, status_and_metadata};
pub use subresource::{Handler, Subresource};
pub use table::Table;

pub(crate) use conversion::Served;
pub(crate) use storage::{Storage, partition};
pub(crate) use strategy::wants_differ;
pub(crate) use subresource::{Does, ReplicaPlaces, Replicas};
pub(crate) use table::Entries;

/// One entry of the table.
#[derive(Clone)]
pub struct Resource {
    /// API group, empty for core.
    pub group: String,
    /// API version.
    pub version: String,
    /// Kind of the objects.
    pub kind: String,
    /// Plural name, as in paths.
    pub plural: String,
    /// The kind of lists, where it is not the kind with `List` after it.
    pub list_kind: Option<String>,
    /// Singular name.
    pub singular: String,
    /// Short names, as in `kubectl get po`.
    pub short_names: Vec<String>,
    /// Groups of resources that can be named together, as in `kubectl get all`.
    pub categories: Vec<String>,
    /// Whether the objects live in namespaces.
    pub namespaced: bool,
    /// Subresources, in the order of their names.
    pub subresources: Vec<Subresource>,
    /// What the fields mean.
    pub schema: Option<Schema>,
    /// What the fields are for, in words.
    pub description: Option<Describe>,
    /// Whether there is Kubernetes' protobuf form of the objects, to send and to be given.
    pub protobuf: bool,
    /// What is filled in where a request leaves it out.
    pub defaults: Option<Defaults>,
    /// Names these defaults: whatever else has the same name fills in the same. Where it changes, or is
    /// empty, what is stored is looked at when the server starts, since it may lack something.
    pub defaults_version: Cow<'static, str>,
    /// What must hold of the objects.
    pub rules: Arc<dyn Rules>,
    /// What to warn of.
    pub warnings: Option<Warnings>,
    /// What everybody is told who uses it, since it is to go.
    pub deprecated: Option<String>,
    /// What discovery says that can be done, where that is something else than what is done.
    pub shown_verbs: Option<&'static [&'static str]>,
    /// Why no object is made, where none is: its kind is about to go.
    pub refuses_create: Option<&'static str>,
    /// Whether what is written costs more than its size says, so that it never holds up others.
    pub costly: bool,
    /// How many bytes a request may send at most.
    pub longest_body: usize,
    /// The object that defines it, where one does.
    pub definition: Option<Arc<Definition>>,
    /// Whether a PUT must say which revision it replaces.
    pub conditional_update: bool,
    /// What documents say of it, where that does not follow from its schema.
    pub documented: Option<Arc<dyn Documented>>,
    /// Who watches has to begin anew when this is cancelled: it means something else now.
    pub(crate) retired: Option<Arc<CancellationToken>>,
    /// What the objects do not bring about yet though they should, in words that go on where a sentence that
    /// names the kind leaves off.
    pub without_effect: Option<&'static str>,
    /// A deletion that does not say what becomes of the dependents leaves them behind; whoever asks for one is
    /// told this, where it is something.
    pub orphans: Option<&'static str>,
    /// Whether a PUT of what is not there makes it.
    pub made_by_update: bool,
    /// How the objects are shown in tables.
    pub columns: Columns,
    /// Fields that objects can be selected by, besides name and namespace.
    pub selectable: Vec<Selectable>,
    /// What is dropped of what is sent.
    pub drops: Option<Drops>,
    /// What needs the request or other objects.
    pub strategy: Arc<dyn Strategy>,
    /// Objects that must always be there.
    pub permanent: Option<MakePermanent>,
    /// As what making them is told among the server's checks of itself: by Kubernetes' name of what does so there.
    pub hook: Option<&'static str>,
    /// What is done instead where no objects are stored.
    pub unstored: Option<Unstored>,
    /// Whether every name of its group and version that is no other resource's is this one's, subresources included:
    /// nobody can say beforehand which there are, and discovery names none.
    pub any_name: bool,
    pub(crate) storage: Storage,
}

/// What is odd about an object that is allowed all the same, in words; the second one is the object before,
/// where it is changed.
pub type Warnings = fn(&Object, Option<&Object>) -> Vec<String>;

/// Drops what is not there (yet) of an object that is made or changed; the second one is the object before.
pub type Drops = Arc<dyn Fn(&mut Object, Option<&Object>) + Send + Sync>;

/// What a resource does of which no objects are stored.
#[derive(Clone)]
pub struct Unstored {
    pub(crate) verbs: Vec<Verb>,
    pub(crate) handler: Arc<dyn Handler>,
}

/// What a resource of any name is called in the table.
pub(crate) const ANY: &str = "*";

/// The verbs that every resource has of which objects are stored.
pub(crate) const VERBS: [&str; 8] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

impl Resource {
    /// A resource in namespaces with nothing particular about it, whose objects may hold anything.
    pub fn new(kind: &GroupVersionKind, plural: &str) -> Self {
        Self {
            group: kind.group.clone(),
            version: kind.version.clone(),
            kind: kind.kind.clone(),
            plural: plural.to_owned(),
            singular: kind.kind.to_lowercase(),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced: true,
            subresources: Vec::new(),
            schema: None,
            description: None,
            protobuf: false,
            defaults: None,
            defaults_version: Cow::Borrowed(""),
            rules: Arc::new(PlainRules),
            warnings: None,
            deprecated: None,
            shown_verbs: None,
            refuses_create: None,
            costly: false,
            longest_body: BODY_LIMIT,
            definition: None,
            conditional_update: false,
            documented: None,
            retired: None,
            list_kind: None,
            without_effect: None,
            orphans: None,
            made_by_update: false,
            columns: Columns::default(),
            selectable: Vec::new(),
            drops: None,
            strategy: Arc::new(Plain),
            permanent: None,
            hook: None,
            unstored: None,
            any_name: false,
            storage: Storage::of(partition(&kind.group, plural)),
        }
    }

    /// The resource of a type of k8s-openapi, which gives names, scope and description; the schema is
    /// the one of the built-in definitions. Nothing else is particular about it yet.
    pub fn of<K>() -> Self
    where
        K: k8s_openapi::Resource + JsonSchema,
        K::Scope: 'static,
    {
        let kind = GroupVersionKind::of::<K>();
        Self {
            namespaced: TypeId::of::<K::Scope>() == TypeId::of::<NamespaceResourceScope>(),
            schema: model::schema::builtin(&kind),
            description: Some(describe::<K>),
            protobuf: true,
            ..Self::new(&kind, K::URL_PATH_SEGMENT)
        }
    }

    /// With these short names.
    #[must_use]
    pub fn short(mut self, names: &[&str]) -> Self {
        self.short_names = names.iter().map(|n| (*n).to_owned()).collect();
        self
    }

    /// In this category.
    #[must_use]
    pub fn category(mut self, name: &str) -> Self {
        self.categories.push(name.to_owned());
        self
    }

    /// With this for what needs the request or other objects.
    #[must_use]
    pub fn strategy(mut self, strategy: impl Strategy) -> Self {
        self.strategy = Arc::new(strategy);
        self
    }

    /// With this to drop of what is sent.
    #[must_use]
    pub fn drops(mut self, drops: impl Fn(&mut Object, Option<&Object>) + Send + Sync + 'static) -> Self {
        self.drops = Some(Arc::new(drops));
        self
    }

    /// With these defaults.
    #[must_use]
    pub fn defaults(mut self, defaults: impl Fn(&mut Fields) + Send + Sync + 'static) -> Self {
        self.defaults = Some(Arc::new(move |fields: &mut Fields| {
            defaults(fields);
            Ok(())
        }));
        self
    }

    /// With these defaults, which may be more than there is room for.
    #[must_use]
    pub fn defaults_within(
        mut self,
        defaults: impl Fn(&mut Fields) -> std::result::Result<(), TooMuch> + Send + Sync + 'static,
    ) -> Self {
        self.defaults = Some(Arc::new(defaults));
        self
    }

    /// With these rules.
    #[must_use]
    pub fn rules(mut self, rules: impl Rules) -> Self {
        self.rules = Arc::new(rules);
        self
    }

    /// What is written costs more than its size says.
    #[must_use]
    pub fn costly(mut self) -> Self {
        self.costly = true;
        self
    }

    /// Nobody sends more bytes at once.
    #[must_use]
    pub fn longest_body(mut self, bytes: usize) -> Self {
        self.longest_body = bytes;
        self
    }

    /// With this to warn of, when an object is made or changed.
    #[must_use]
    pub fn warnings(mut self, warnings: Warnings) -> Self {
        self.warnings = Some(warnings);
        self
    }

    /// The objects are stored before anything acts on them, which whoever makes or changes one is told:
    /// `what` says what does not happen, as in "no request is routed by it".
    #[must_use]
    pub fn without_effect(mut self, what: &'static str) -> Self {
        self.without_effect = Some(what);
        self
    }

    /// A deletion that does not say what becomes of the dependents leaves them behind, as it was before there
    /// was a garbage collector; `warning`, where it is something, is what whoever asks for one is told.
    #[must_use]
    pub fn orphans(mut self, warning: &'static str) -> Self {
        self.orphans = Some(warning);
        self
    }

    /// A PUT of what is not there makes it, where the sender may.
    #[must_use]
    pub fn made_by_update(mut self) -> Self {
        self.made_by_update = true;
        self
    }

    /// Shown in tables by these columns; `cells` gives one for each.
    #[must_use]
    pub fn columns(
        mut self,
        columns: &'static [Column],
        cells: impl Fn(&Object, base::Timestamp) -> Vec<serde_json::Value> + Send + Sync + 'static,
    ) -> Self {
        self.columns = Columns::new(columns, cells);
        self
    }

    /// With these fields to select by.
    #[must_use]
    pub fn selectable(mut self, fields: impl IntoIterator<Item = Selectable>) -> Self {
        self.selectable.extend(fields);
        self
    }

    /// With this subresource.
    #[must_use]
    pub fn subresource(mut self, subresource: Subresource) -> Self {
        self.subresources.push(subresource);
        self.subresources.sort_by(|a, b| a.name.cmp(&b.name));
        self
    }

    /// With these objects, which must always be there.
    #[must_use]
    pub fn permanent(
        mut self,
        objects: impl Fn(&Installation) -> Vec<Permanent> + Send + Sync + 'static,
    ) -> Self {
        self.permanent = Some(Arc::new(objects));
        self
    }

    /// With this name for the making of its permanent objects, among the server's checks of itself.
    #[must_use]
    pub fn hook(mut self, name: &'static str) -> Self {
        self.hook = Some(name);
        self
    }

    /// No objects are stored: these verbs are all there are, and `handler` does what they ask.
    #[must_use]
    pub fn unstored(mut self, verbs: &[Verb], handler: impl Handler) -> Self {
        self.unstored = Some(Unstored { verbs: verbs.to_vec(), handler: Arc::new(handler) });
        self
    }

    /// Answers requests to all names of a group and version that no other resource has, by `handler`, which is told
    /// resource, name and subresource as they were asked for.
    pub fn of_any_name(kind: &GroupVersionKind, verbs: &[Verb], handler: impl Handler) -> Self {
        let resource = Self::new(kind, ANY).unstored(verbs, handler);
        Self { any_name: true, ..resource }
    }

    /// Defined by an object, which may change or go: who watches has to begin anew then.
    #[must_use]
    pub fn defined(mut self) -> Self {
        self.retired = Some(Arc::new(CancellationToken::new()));
        self
    }

    /// The kind of lists.
    pub fn list_kind(&self) -> String {
        self.list_kind.clone().unwrap_or_else(|| format!("{}List", self.kind))
    }

    /// What can be done to the objects, in the order in which discovery shows it.
    pub(crate) fn verbs(&self) -> Vec<&'static str> {
        if let Some(shown) = self.shown_verbs {
            return shown.to_vec();
        }
        match &self.unstored {
            None => VERBS.to_vec(),
            Some(unstored) => unstored.verbs.iter().map(|verb| verb.as_str()).collect(),
        }
    }

    /// Group, version and kind.
    pub fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind::new(self.group.as_str(), self.version.as_str(), self.kind.as_str())
    }

    /// Group and plural name, as errors name the resource.
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::new(self.group.as_str(), self.plural.as_str())
    }

    /// Group and kind.
    pub fn group_kind(&self) -> GroupKind {
        GroupKind::new(self.group.as_str(), self.kind.as_str())
    }

    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        self.gvk().api_version()
    }

    /// Whether objects can be told as Protocol Buffers.
    pub(crate) fn has_protobuf(&self) -> bool {
        self.protobuf && self.schema.is_some()
    }

    /// In which forms it can be told.
    pub(crate) fn offer(&self, verb: Verb) -> Offer {
        // What is never read is told as it was made.
        let parts = self.unstored.as_ref().is_none_or(|unstored| unstored.verbs != [Verb::Create]);
        Offer { protobuf: self.has_protobuf(), parts, stream: verb == Verb::Watch }
    }

    /// Whether there is a subresource of that name.
    pub fn has_subresource(&self, name: &str) -> bool {
        self.find_subresource(name).is_some()
    }

    /// The subresource of that name.
    pub fn find_subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|s| s.name == name)
    }

    /// Whether objects live in namespaces, as the rules of metadata ask it.
    pub fn scope(&self) -> Scope {
        if self.namespaced { Scope::Namespaced } else { Scope::Cluster }
    }

    /// Fills in what `object` leaves out; what fails is filled in in part.
    pub fn apply_defaults(&self, object: &mut Object) -> std::result::Result<(), TooMuch> {
        match &self.defaults {
            Some(defaults) => defaults(object.fields_mut()),
            None => Ok(()),
        }
    }

    /// The key of an object in the store.
    pub(crate) fn key(&self, namespace: &str, name: &str) -> String {
        crate::cache::key(&self.storage.partition, namespace, name)
    }
}

impl std::fmt::Debug for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Resource({}.{}.{})", self.plural, self.version, self.group)
    }
}
