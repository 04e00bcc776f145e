//! Which objects of a resource a list or watch is about.

use std::sync::Arc;

use model::select::{FieldSelector, LabelSelector, SelectedFields};

use crate::cache::{Interest, Stored};
use crate::call::Call;
use crate::error::{Error, Result};
use crate::request::ListOptions;
use crate::resource::Resource;

/// The objects that a list or watch is about.
pub(crate) struct Selection {
    /// Names in the partition begin with this.
    pub(crate) prefix: String,
    /// Only the object of this name in the partition.
    only: Option<String>,
    labels: LabelSelector,
    fields: SelectedFields,
}

/// What was found of all that may be meant.
pub(crate) struct Found {
    pub(crate) objects: Vec<Arc<Stored>>,
    /// How many further objects the limit left out, whether they are meant or not.
    pub(crate) remaining: usize,
}

/// A search under way.
struct Search {
    selection: Arc<Selection>,
    rest: std::vec::IntoIter<Arc<Stored>>,
    limit: usize,
    found: Vec<Arc<Stored>>,
}

/// How many conditions are looked at in one step: a few milliseconds, the first time.
const STEP: usize = 512;
/// So many conditions take as long as to read an object.
const WHOLE: usize = 32;

impl Selection {
    /// Finds the objects that it takes in among `all`, at most `limit` (0: all of them), in steps that
    /// let others go on; gives them in the version that the call names.
    pub(crate) async fn find(
        self: &Arc<Self>,
        call: &Call,
        all: Vec<Arc<Stored>>,
        limit: usize,
    ) -> Result<Found> {
        if !self.selects() && self.only.is_none() {
            let remaining = if limit > 0 { all.len().saturating_sub(limit) } else { 0 };
            let mut objects = all;
            objects.truncate(objects.len() - remaining);
            return Ok(Found { objects: call.partition().served(&call.resource, objects).await?, remaining });
        }
        let mut all = all;
        if call.resource.storage.served.is_some() {
            all.retain(|stored| self.names_it(stored));
            all = call.partition().served(&call.resource, all).await?;
        }
        let step = (STEP / self.weight()).max(1);
        let (few, own) = (all.len() <= step, call.identity.is_component());
        let mut search = Search { selection: self.clone(), rest: all.into_iter(), limit, found: Vec::new() };
        while !search.is_over() {
            if few {
                search.step(step);
                continue;
            }
            search = call
                .state
                .workers
                .step(own, move || {
                    search.step(step);
                    search
                })
                .await;
        }
        Ok(Found { objects: search.found, remaining: search.rest.len() })
    }

    /// How much it takes to look at one object.
    fn weight(&self) -> usize {
        // An object that has to be read as a whole takes as long as many that need not.
        let reading = if self.fields.are_shallow() { 1 } else { WHOLE };
        reading + self.labels.requirements().len() + self.fields.len()
    }

    /// Reads the selectors; a watch of one object by its path is one too.
    pub(crate) fn parse(call: &Call, options: &ListOptions) -> Result<Self> {
        let bad = |e: model::select::SelectorError| Error::bad_request(e.to_string());
        let labels: LabelSelector = options.label_selector.parse().map_err(bad)?;
        let fields: FieldSelector = options.field_selector.parse().map_err(bad)?;
        let namespace = call.namespace();
        let prefix = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
        let name = if call.target.name.is_empty() {
            fields.required("metadata.name").unwrap_or_default()
        } else {
            call.target.name.as_str()
        };
        let exact = !name.is_empty() && (!call.resource.namespaced || !namespace.is_empty());
        let only = exact.then(|| crate::state::object_name(namespace, name));
        if let Some(odd) = undefined(call, &fields) {
            return Err(Error::bad_request(format!("field label not supported: {odd}")));
        }
        let fields = fields.among(&call.resource.selectable).map_err(bad)?;
        Ok(Self { prefix, only, labels, fields })
    }

    /// Whether it can take in an object of that name.
    pub(crate) fn names_it(&self, stored: &Stored) -> bool {
        match &self.only {
            Some(only) => **only == *stored.name,
            None => stored.name.starts_with(&self.prefix),
        }
    }

    /// Whether it takes in an object, which is in the version that is asked for.
    pub(crate) fn takes(&self, stored: &Stored) -> bool {
        if !self.names_it(stored) {
            return false;
        }
        if !self.selects() {
            return true;
        }
        if self.fields.are_shallow() {
            return (self.labels.is_everything() || {
                let labels = stored.labels();
                self.labels.match_values(|key| labels.get(key).map(AsRef::as_ref))
            }) && self.fields.match_values(|field| stored.value(field));
        }
        let object = stored.object();
        self.labels.matches(&object) && self.fields.matches(&object)
    }

    /// Whether there are selectors, so that not every object of the namespace is taken.
    pub(crate) fn selects(&self) -> bool {
        !self.labels.is_everything() || !self.fields.is_everything()
    }

    /// What the names of all that can be taken begin with.
    pub(crate) fn names(&self) -> &str {
        self.only.as_deref().unwrap_or(&self.prefix)
    }

    /// Which changes can concern it: the narrowest that is known without looking at each.
    pub(crate) fn interest(&self, resource: &Resource) -> Interest {
        if let Some(only) = &self.only {
            return Interest::Name(only.clone());
        }
        // Fields of another version are not those by which changes are told apart.
        if resource.storage.served.is_none()
            && let Some((field, value)) = self.fields.indexed()
        {
            return Interest::Field(field.clone(), value.to_owned());
        }
        match self.prefix.strip_suffix('/') {
            Some(namespace) => Interest::Namespace(namespace.to_owned()),
            None => Interest::All,
        }
    }

    /// The one object that can be taken, by its name in the partition.
    pub(crate) fn only(&self) -> Option<&str> {
        self.only.as_deref()
    }
}

/// A field that objects of a kind that an object defines cannot be selected by.
fn undefined<'a>(call: &Call, fields: &'a FieldSelector) -> Option<&'a str> {
    let resource = &call.resource;
    let is_known = |field: &str| match field {
        "metadata.name" => true,
        "metadata.namespace" => resource.namespaced,
        field => resource.selectable.iter().any(|known| known.name() == field),
    };
    let mut names = fields.conditions().iter().map(|condition| condition.field.as_str());
    names.find(|field| resource.retired.is_some() && !is_known(field))
}

impl Search {
    fn is_over(&self) -> bool {
        self.rest.len() == 0 || (self.limit > 0 && self.found.len() == self.limit)
    }

    fn step(&mut self, most: usize) {
        for _ in 0..most {
            if self.is_over() {
                return;
            }
            let Some(stored) = self.rest.next() else { return };
            if self.selection.takes(&stored) {
                self.found.push(stored);
            }
        }
    }
}
