//! Events, as `GET /events` streams them.

use serde::Serialize;

use super::Map;

/// One event. The first three members repeat the others for clients of long ago.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Event {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) status: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) from: String,
    #[serde(rename = "Type")]
    pub(crate) kind: String,
    #[serde(rename = "Action")]
    pub(crate) action: String,
    #[serde(rename = "Actor")]
    pub(crate) actor: Actor,
    pub(crate) scope: String,
    pub(crate) time: i64,
    #[serde(rename = "timeNano")]
    pub(crate) time_nano: i64,
}

/// What an event happened to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Actor {
    #[serde(rename = "ID")]
    pub(crate) id: String,
    #[serde(rename = "Attributes")]
    pub(crate) attributes: Map<String>,
}
