//! Docker's JSON: the only home of the Engine API's documents.
//!
//! Types here say what travels, in the order in which the real daemon writes it; what it means is
//! decided in [`crate::convert`] and in the endpoints. A field that is `null` in a request counts
//! as absent, since the clients' language writes empty collections so.

macro_rules! wire {
    ($($(#[$meta:meta])* pub(crate) struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* })*) => {
        $(
            $(#[$meta])*
            #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
            #[serde(rename_all = "PascalCase", default)]
            pub(crate) struct $name {
                $($(#[$field_meta])* #[serde(deserialize_with = "crate::wire::null_is_default")] pub(crate) $field: $type,)*
            }
        )*
    };
}

pub(crate) mod build;
pub(crate) mod container;
pub(crate) mod event;
pub(crate) mod exec;
pub(crate) mod image;
pub(crate) mod network;
pub(crate) mod path_stat;
pub(crate) mod progress;
pub(crate) mod registry;
pub(crate) mod stats;
pub(crate) mod system;
pub(crate) mod volume;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

/// A JSON object with keys in order, as the real daemon writes its maps.
pub(crate) type Map<T> = BTreeMap<String, T>;

/// An object without members, the value of Docker's sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Empty {}

/// The body of every failure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Failure {
    pub(crate) message: String,
}

/// Reads a value for which `null` means the default.
pub(crate) fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Whether a number is zero, for fields that are left out then.
pub(crate) fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// How Docker writes a moment that has not come: year one.
pub(crate) const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// A moment as Docker writes it: nine digits at most, trailing zeros cut, `Z`.
pub(crate) fn time(at: base::Timestamp) -> String {
    at.to_string()
}

/// An optional moment, with Docker's zero time for none.
pub(crate) fn time_or_zero(at: Option<base::Timestamp>) -> String {
    at.map_or_else(|| NO_TIME.to_owned(), time)
}
