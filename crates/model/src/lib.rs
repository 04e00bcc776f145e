//! Kubernetes objects: untyped object, typed views, schema; pure default, prune, validate, merge, select.
//!
//! Everything here is a function from documents to documents: no clock, no network, no storage. An
//! [`Object`] is what travels and what is kept; a [`schema::Schema`] says what its fields mean; the
//! functions of [`decode`], [`default`], [`validate`] and [`merge`] are what an API server does to it
//! between the wire and the store. Built-in kinds and custom ones go through the same functions: a
//! kind is a schema plus a few entries in tables.
#![forbid(unsafe_code)]

pub mod decode;
pub mod default;
pub mod depth;
mod encoded;
pub mod field;
#[doc(hidden)]
pub mod fuzzing;
pub mod gvk;
pub mod json_path;
pub mod lenient;
pub mod merge;
pub mod names;
pub mod object;
pub mod quantity;
pub mod release;
pub mod schedule;
pub mod schema;
pub mod select;
pub mod shared;
mod size;
pub mod status;
pub mod structural;
pub mod time;
pub mod validate;

pub use encoded::Encoded;
pub use gvk::{GroupKind, GroupResource, GroupVersion, GroupVersionKind, GroupVersionResource};
pub use object::{Object, OwnerReference};
pub use quantity::Quantity;
pub use schema::Schema;
pub use status::Status;
