//! Objects as rows: the `meta.k8s.io/v1 Table` that `kubectl get` asks for, with Kubernetes' columns.
//!
//! A kind is an entry in a table of columns and a function from an object to its cells; all others
//! show name and age. Columns of priority 1 are for `-o wide`; they are always sent, and the client
//! leaves them out. Ages are written by the server, so a cell is true at the time of the request only.
//! Source: Kubernetes API concepts, "Receiving resources as Tables".

mod config;
mod discovery;
mod event;
mod lease;
mod namespace;
mod node;
mod pod;
mod service;
mod since;
mod workload;

use base::Timestamp;
use model::{GroupVersionKind, Object};
use serde_json::{Map, Value, json};

pub use since::{human_duration, since};

/// What of each object goes into its row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    /// Its metadata: the default.
    #[default]
    Metadata,
    /// Nothing.
    None,
    /// All of it.
    Object,
}

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The heading, which clients print in capitals.
    pub name: &'static str,
    /// `string` or `integer`.
    pub kind: &'static str,
    /// `name` for the column that names the object, otherwise empty.
    pub format: &'static str,
    /// 0 is always shown, 1 where there is room.
    pub priority: u8,
    /// What it tells.
    pub description: &'static str,
}

/// What a list's metadata says; empty in a watch.
#[derive(Clone, Debug, Default)]
pub struct ListMetadata {
    /// The revision of the list.
    pub resource_version: String,
    /// Where the next page begins.
    pub continue_token: String,
    /// How many objects come after this page.
    pub remaining: Option<i64>,
}

/// How one kind is shown.
struct Kind {
    group: &'static str,
    name: &'static str,
    columns: &'static [Column],
    cells: fn(&Object, Timestamp) -> Vec<Value>,
}

const KINDS: &[Kind] = &[
    Kind { group: "", name: "Pod", columns: pod::COLUMNS, cells: pod::cells },
    Kind { group: "", name: "Node", columns: node::COLUMNS, cells: node::cells },
    Kind { group: "", name: "Namespace", columns: namespace::COLUMNS, cells: namespace::cells },
    Kind { group: "", name: "Service", columns: service::COLUMNS, cells: service::cells },
    Kind { group: "", name: "Endpoints", columns: discovery::ENDPOINTS, cells: discovery::endpoints },
    Kind { group: "", name: "ConfigMap", columns: config::CONFIG_MAP, cells: config::config_map },
    Kind { group: "", name: "Secret", columns: config::SECRET, cells: config::secret },
    Kind {
        group: "",
        name: "ServiceAccount",
        columns: config::SERVICE_ACCOUNT,
        cells: config::service_account,
    },
    Kind { group: "", name: "Event", columns: event::COLUMNS, cells: event::cells },
    Kind { group: "events.k8s.io", name: "Event", columns: event::COLUMNS, cells: event::cells },
    Kind { group: "apps", name: "Deployment", columns: workload::DEPLOYMENT, cells: workload::deployment },
    Kind { group: "apps", name: "ReplicaSet", columns: workload::REPLICA_SET, cells: workload::replica_set },
    Kind {
        group: "discovery.k8s.io",
        name: "EndpointSlice",
        columns: discovery::SLICE,
        cells: discovery::slice,
    },
    Kind { group: "coordination.k8s.io", name: "Lease", columns: lease::COLUMNS, cells: lease::cells },
];

const NAME: Column =
    Column { name: "Name", kind: "string", format: "name", priority: 0, description: "The object's name." };
const AGE: Column = text("Age", "How long ago it was created.");
const DEFAULT: &[Column] = &[NAME, AGE];

const NONE: &str = "<none>";
const UNKNOWN: &str = "<unknown>";

/// The columns of a kind.
pub fn columns(kind: &GroupVersionKind) -> &'static [Column] {
    find(kind).map_or(DEFAULT, |kind| kind.columns)
}

/// The table of some objects of one kind. A watch sends one object in each, and the columns only in
/// the first (`with_columns`).
pub fn table<'a>(
    kind: &GroupVersionKind,
    objects: impl IntoIterator<Item = &'a Object>,
    metadata: &ListMetadata,
    include: Include,
    with_columns: bool,
    now: Timestamp,
) -> Value {
    let rows: Vec<Value> = objects.into_iter().map(|object| row(kind, object, include, now)).collect();
    let mut list = Map::new();
    if !metadata.resource_version.is_empty() {
        list.insert("resourceVersion".into(), metadata.resource_version.clone().into());
    }
    if !metadata.continue_token.is_empty() {
        list.insert("continue".into(), metadata.continue_token.clone().into());
    }
    if let Some(remaining) = metadata.remaining {
        list.insert("remainingItemCount".into(), remaining.into());
    }
    let columns: Vec<Value> =
        if with_columns { columns(kind).iter().map(definition).collect() } else { Vec::new() };
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": list,
        "columnDefinitions": columns,
        "rows": rows,
    })
}

/// An object with nothing but its metadata.
pub fn metadata_only(object: &Object) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object.get(&["metadata"]).cloned().unwrap_or_else(|| json!({})),
    })
}

/// One row of a table.
pub(crate) fn row(kind: &GroupVersionKind, object: &Object, include: Include, now: Timestamp) -> Value {
    let cells = find(kind).map_or(default_cells as fn(&Object, Timestamp) -> Vec<Value>, |kind| kind.cells);
    let mut row = Map::new();
    row.insert("cells".into(), cells(object, now).into());
    let conditions = pod::conditions(object);
    if !conditions.is_empty() {
        row.insert("conditions".into(), conditions.into());
    }
    let embedded = match include {
        Include::Metadata => metadata_only(object),
        Include::None => Value::Null,
        Include::Object => object.value().clone(),
    };
    row.insert("object".into(), embedded);
    row.into()
}

fn find(kind: &GroupVersionKind) -> Option<&'static Kind> {
    KINDS.iter().find(|known| known.group == kind.group && known.name == kind.kind)
}

fn default_cells(object: &Object, now: Timestamp) -> Vec<Value> {
    vec![object.name().into(), age(object, now)]
}

fn definition(column: &Column) -> Value {
    json!({
        "name": column.name,
        "type": column.kind,
        "format": column.format,
        "description": column.description,
        "priority": column.priority,
    })
}

const fn text(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", format: "", priority: 0, description }
}

const fn integer(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "integer", format: "", priority: 0, description }
}

const fn wide(name: &'static str, description: &'static str) -> Column {
    Column { name, kind: "string", format: "", priority: 1, description }
}

/// How long ago the object was created.
fn age(object: &Object, now: Timestamp) -> Value {
    since(object.creation_timestamp(), now).into()
}

/// A text, or what is shown in its place.
fn or<'a>(text: Option<&'a str>, otherwise: &'a str) -> &'a str {
    text.filter(|text| !text.is_empty()).unwrap_or(otherwise)
}

/// A map of texts as `a=1,b=2`, sorted.
fn pairs(map: Option<&Value>) -> String {
    let mut pairs: Vec<String> = map
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.sort();
    if pairs.is_empty() { NONE.to_owned() } else { pairs.join(",") }
}

#[cfg(test)]
mod tests;
