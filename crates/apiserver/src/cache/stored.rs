//! One object as it is kept in memory: the store's own text of it, and where selectors look.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes};
use model::select::Selectable;
use model::{Encoded, Object};
use serde_json::Map;

use super::outline::{self, Labels, Outline, Places};
use super::served::Forms;

/// An object at one revision.
#[derive(Debug)]
pub(crate) struct Stored {
    /// `NAMESPACE/NAME` or `NAME`.
    pub(crate) name: Arc<str>,
    encoded: Encoded,
    places: Arc<Places>,
    outline: OnceLock<Outline>,
    /// What it is in other versions, once somebody has asked for one.
    forms: OnceLock<Box<Forms>>,
}

impl Stored {
    /// From a value in the store, of which it keeps no copy.
    pub(super) fn new(name: Arc<str>, encoded: Encoded, places: Arc<Places>) -> Self {
        Self { name, encoded, places, outline: OnceLock::new(), forms: OnceLock::new() }
    }

    /// The revision at which it was written; its `resourceVersion`.
    pub(crate) fn revision(&self) -> u64 {
        self.encoded.revision()
    }

    /// The text, shared.
    pub(crate) fn encoded(&self) -> &Encoded {
        &self.encoded
    }

    /// Whether its text is an object's at all. What is not was written by somebody else, or is kept in a form for which
    /// this server has no key: nobody is shown it.
    pub(crate) fn is_readable(&self) -> bool {
        self.encoded.text().first() == Some(&b'{')
    }

    /// Whether its text begins like this: with its kind and version.
    pub(crate) fn is_of(&self, head: &str) -> bool {
        self.encoded.text().starts_with(head.as_bytes())
    }

    /// What it is in other versions.
    pub(super) fn forms(&self) -> &Forms {
        self.forms.get_or_init(Box::default)
    }

    /// How long the JSON text is.
    pub(crate) fn len(&self) -> usize {
        self.encoded.len()
    }

    /// The JSON text, `resourceVersion` included: a copy.
    pub(crate) fn bytes(&self) -> Bytes {
        self.encoded.to_bytes()
    }

    /// Writes the JSON text, `resourceVersion` included.
    pub(crate) fn write_to(&self, out: &mut impl BufMut) {
        self.encoded.write_to(out);
    }

    /// The object. Parsed anew at each call: only its bytes are kept.
    ///
    /// What is in the store was written by this program; a value that cannot be read all the same
    /// comes back as an empty object, so that one bad object never fails a list.
    pub(crate) fn object(&self) -> Object {
        self.encoded.object().unwrap_or_else(|error| {
            self.tell_damage(&error);
            Object::from_fields(Map::new())
        })
    }

    /// The value of a field that lies in the first two levels.
    pub(crate) fn value<'a>(&'a self, field: &'a Selectable) -> Cow<'a, str> {
        field.or_absent(self.scalar(field.place()))
    }

    /// The scalar at a place of one or two names.
    pub(crate) fn scalar(&self, place: &[impl AsRef<str>]) -> Option<Cow<'_, str>> {
        if let [first, second] = place
            && first.as_ref() == "metadata"
        {
            let (namespace, name) = self.name.split_once('/').unwrap_or(("", &self.name));
            match second.as_ref() {
                "name" => return Some(Cow::Borrowed(name)),
                "namespace" => return Some(Cow::Borrowed(namespace)),
                _ => {}
            }
        }
        outline::scalar(self.raw(place))
    }

    /// The labels.
    pub(crate) fn labels(&self) -> Labels<'_> {
        outline::labels(self.raw(&["metadata", "labels"]))
    }

    /// The same object as if written at `revision`: what a watcher is told of a deletion.
    pub(crate) fn at(&self, revision: u64) -> Self {
        Self {
            name: self.name.clone(),
            encoded: self.encoded.at(revision),
            places: self.places.clone(),
            outline: self.outline.clone(),
            forms: OnceLock::new(),
        }
    }

    /// What stands at a place; empty where there is nothing.
    fn raw(&self, place: &[impl AsRef<str>]) -> &str {
        let text = self.encoded.text();
        let outline = self.outline.get_or_init(|| {
            let (outline, error) = self.places.outline(text);
            if let Some(error) = error {
                self.tell_damage(&error);
            }
            outline
        });
        self.places.find(place, text, outline).unwrap_or_else(|| outline::find(place, text))
    }

    fn tell_damage(&self, error: &(dyn std::error::Error + 'static)) {
        tracing::error!(name = %self.name, error = %base::error::chain(error), "stored object is damaged");
    }
}
