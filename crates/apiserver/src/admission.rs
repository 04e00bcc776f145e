//! Others that are asked of a write: to change what is to be written, and whether it may be.
//!
//! The place of webhooks, policies and quotas. What the resource itself has to say is in its entry of the
//! table.

mod again;
mod options;

use std::borrow::Cow;

use model::{GroupResource, GroupVersionKind, Object};
use parking_lot::Mutex;

pub(crate) use again::Again;
pub(crate) use options::Options;

use crate::error::Result;
use crate::identity::Identity;
use crate::resource::Resource;
use crate::resource::{Admitting, Context, at_once};

/// What is to be done to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It is made.
    Create,
    /// It is changed.
    Update,
    /// It is deleted.
    Delete,
    /// A conversation with it is begun.
    Connect,
}

impl Operation {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
        }
    }
}

/// What the object of a write is to those who look at what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// What was sent: an object of the resource's kind.
    Own,
    /// The number of replicas, by a subresource whose kind is `Scale`; the object is the one that has it.
    Scale,
    /// What was sent to a subresource that takes a kind of its own, such as a `Binding`.
    Sent,
    /// What comes of that: whoever looks at what is sent has been asked before.
    Effect,
}

/// A write, as others see it.
pub struct Write<'a> {
    /// The resource, its namespace, other objects, the time.
    pub context: Context<'a>,
    /// Who asks for it.
    pub identity: &'a Identity,
    /// What is to be done.
    pub operation: Operation,
    /// The subresource by which it is done, empty for the object itself.
    pub subresource: &'a str,
    /// How the object is stored now; none where it is to be made.
    pub old: Option<&'a Object>,
    /// Nothing will be stored: whoever is asked must not do anything that lasts either.
    pub dry_run: bool,
    /// What the object is to those who look at what is sent.
    pub form: Form,
    /// What whoever asks for it is told, though it is done.
    pub(crate) warnings: Mutex<Vec<String>>,
    /// How the client wants it done.
    pub(crate) options: Options<'a>,
    /// Whether others are asked twice.
    pub(crate) again: Again,
}

/// What changes along with an object, in the very transaction in which that is stored or deleted: another
/// object, on condition that it is still what it was when this was decided.
#[derive(Clone, Debug)]
pub struct Along {
    /// The resource of the other object, which has one version.
    pub resource: GroupResource,
    /// The other object as it was found.
    pub old: Object,
    /// What becomes of it.
    pub new: Object,
}

/// So many other objects can change along with one.
pub const MOST_ALONG: usize = 16;

impl Write<'_> {
    /// Tells whoever asks for it something, if it is done.
    pub fn warn(&self, warning: impl Into<String>) {
        self.warnings.lock().push(warning.into());
    }

    /// The options that came with the request, as an object of Kubernetes' kind of them; null where there are none.
    pub fn options(&self) -> serde_json::Value {
        self.options.document(self.operation)
    }

    /// An object of the write as whoever looks at what is sent sees it: the number of replicas is a `Scale`.
    pub fn seen<'o>(&self, object: &'o Object) -> Cow<'o, Object> {
        match self.form {
            Form::Scale => Cow::Owned(crate::scale::seen(self.context.resource(), object)),
            Form::Own | Form::Sent | Form::Effect => Cow::Borrowed(object),
        }
    }

    /// What [`Write::seen`] gives, as one of another version of the resource: what is no object of it stays what it is.
    pub async fn convert(&self, seen: Object, to: &Resource) -> Result<Object> {
        match self.form {
            Form::Scale | Form::Sent => Ok(seen),
            Form::Own | Form::Effect => self.context.convert(seen, to).await,
        }
    }

    /// The kind of what [`Write::convert`] gives.
    pub fn converted_kind(&self, seen: &Object, to: &Resource) -> GroupVersionKind {
        match self.form {
            Form::Scale | Form::Sent => self.seen_kind(seen),
            Form::Own | Form::Effect => to.gvk(),
        }
    }

    /// The kind of what [`Write::seen`] gives.
    pub fn seen_kind(&self, object: &Object) -> GroupVersionKind {
        match self.form {
            Form::Scale => crate::scale::kind(),
            Form::Sent => object.gvk(),
            Form::Own | Form::Effect => self.context.resource().gvk(),
        }
    }

    /// Puts into `object` what somebody made of what [`Write::seen`] gave of it. What it may hold that the write may
    /// not change, or nobody may, is put right after all have been asked.
    pub fn take(&self, object: &mut Object, seen: Object) {
        self.again.reforms();
        match self.form {
            Form::Scale => crate::scale::put(self.context.resource(), object, &seen),
            Form::Own | Form::Sent | Form::Effect => *object = seen,
        }
    }

    /// Whether others are asked for the second time, since somebody changed what those had seen who were asked before.
    pub fn is_again(&self) -> bool {
        self.again.is_second()
    }

    /// Has all be asked once more to change what is written. Twice is the most.
    pub fn ask_again(&self) {
        self.again.want();
    }

    /// Something of `name`'s own that is kept as long as the write is.
    pub fn kept<T: Default + Send + 'static, R>(
        &self,
        name: &'static str,
        look: impl FnOnce(&mut T) -> R,
    ) -> R {
        self.again.kept(name, look)
    }

    /// Whether it makes an object of this resource.
    pub fn makes(&self, group: &str, plural: &str) -> bool {
        self.operation == Operation::Create && self.is_of(group, plural)
    }

    /// Whether it is of an object of this resource itself, not of a subresource.
    pub fn is_of(&self, group: &str, plural: &str) -> bool {
        let resource = self.context.resource();
        self.subresource.is_empty() && resource.group == group && resource.plural == plural
    }
}

/// Somebody who is asked of each write. May be asked again about the same one, where others were faster.
///
/// Who has nothing to ask anybody decides [`at_once`].
pub trait Admission: Send + Sync + 'static {
    /// What it is called, as Kubernetes' admission plugins are: under this it is counted. As its type, unless it is said.
    fn name(&self) -> &'static str {
        std::any::type_name::<Self>().rsplit("::").next().unwrap_or_default()
    }

    /// Changes what is to be written: after the defaults, before the resource's own strategy and its rules. Not asked
    /// of a deletion. Asked twice where somebody wants it ([`Write::ask_again`]).
    fn mutate<'a>(&'a self, _write: &'a Write<'a>, _object: &'a mut Object) -> Admitting<'a> {
        at_once(Ok(()))
    }

    /// Whether it may be written as it now is. `object` is none where it is to be deleted.
    fn validate<'a>(&'a self, _write: &'a Write<'a>, _object: Option<&'a Object>) -> Admitting<'a> {
        at_once(Ok(()))
    }

    /// Whether it is asked as well of what is sent to a subresource that takes a kind of its own, [`Form::Sent`]: a
    /// binding, an eviction, the options of a conversation.
    fn looks_at_sent(&self) -> bool {
        false
    }

    /// Fills in what only the last moment knows, when nobody is asked of the write any more: whoever takes a turn for
    /// that ([`Context::take_turn`]) has it while it is stored, and keeps nobody waiting for what others say. What it
    /// puts in holds by itself: the rules have been looked at.
    fn settle<'a>(&'a self, _write: &'a Write<'a>, _object: &'a mut Object) -> Admitting<'a> {
        at_once(Ok(()))
    }

    /// Whether something may change along with the write. Writes of which that is so wait for each other, those of
    /// one namespace: what is counted has one hand on it at a time.
    fn takes_turns(&self, _write: &Write<'_>) -> bool {
        false
    }

    /// What changes along with the object, or why it may not be written. Asked last of all, of those that take
    /// turns.
    fn along(&self, _write: &Write<'_>, _object: &Object) -> Result<Vec<Along>> {
        Ok(Vec::new())
    }

    /// Whether it changes only what the write may change, and puts in only what the schema has. After all others
    /// the object is pruned, gets its defaults once more, and what the write may not change is put back.
    fn keeps_form(&self) -> bool {
        false
    }
}
