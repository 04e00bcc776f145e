//! Objects as rows: the `meta.k8s.io/v1 Table` that `kubectl get` asks for, with Kubernetes' columns.
//!
//! A resource has [`Columns`]: which there are, and a function from an object to its cells; without its
//! own it shows name and age. Columns of priority 1 are for `-o wide`; they are always sent, and the client
//! leaves them out. Ages are written by the server, so a cell is true at the time of the request only.
//! Source: Kubernetes API concepts, "Receiving resources as Tables".

mod since;

use std::borrow::Cow;
use std::sync::Arc;

use base::Timestamp;
use model::Object;
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

/// In which version the API's own forms of objects are told: those of rows and of metadata alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetaVersion {
    /// `meta.k8s.io/v1`.
    #[default]
    V1,
    /// `meta.k8s.io/v1beta1`, which says the same.
    V1Beta1,
}

/// How a table is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableForm {
    /// What of each object goes into its row.
    pub include: Include,
    /// The version of the table, and of what is in it.
    pub version: MetaVersion,
}

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    /// The heading, which clients print in capitals.
    pub name: Cow<'static, str>,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: &'static str,
    /// `name` for the column that names the object; the form of values that objects define; otherwise empty.
    pub format: &'static str,
    /// 0 is always shown, 1 where there is room.
    pub priority: i32,
    /// What it tells.
    pub description: Cow<'static, str>,
}

/// What a row's cells are made by, one for each column.
type Cells = dyn Fn(&Object, Timestamp) -> Vec<Value> + Send + Sync;

/// How the objects of a resource are shown.
#[derive(Clone)]
pub struct Columns {
    columns: Cow<'static, [Column]>,
    cells: Arc<Cells>,
    conditions: fn(&Object) -> Vec<Value>,
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

/// The object's name.
pub const NAME: Column = text("Name", "The object's name.").naming();
/// How long ago the object was created.
pub const AGE: Column = text("Age", "How long ago it was created.");

/// What is shown for nothing.
pub const NONE: &str = "<none>";
/// What is shown for what is not known.
pub const UNKNOWN: &str = "<unknown>";

impl MetaVersion {
    /// Group and version.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "meta.k8s.io/v1",
            Self::V1Beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

impl From<Include> for TableForm {
    fn from(include: Include) -> Self {
        Self { include, version: MetaVersion::V1 }
    }
}

impl Columns {
    /// These columns; `cells` gives one for each.
    pub fn new(
        columns: impl Into<Cow<'static, [Column]>>,
        cells: impl Fn(&Object, Timestamp) -> Vec<Value> + Send + Sync + 'static,
    ) -> Self {
        Self { columns: columns.into(), cells: Arc::new(cells), conditions: |_| Vec::new() }
    }

    /// The same, with what a row says of its object besides its cells, as `TableRowCondition`s.
    #[must_use]
    pub fn conditions(self, conditions: fn(&Object) -> Vec<Value>) -> Self {
        Self { conditions, ..self }
    }

    /// The cells of an object, one for each column.
    pub fn cells(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        (self.cells)(object, now)
    }

    /// Which columns there are.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }
}

impl Default for Columns {
    /// Name and age.
    fn default() -> Self {
        const DEFAULT: &[Column] = &[NAME, AGE];
        Self::new(DEFAULT, |object, now| vec![object.name().into(), age(object, now)])
    }
}

impl std::fmt::Debug for Columns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.columns.iter().map(|column| &column.name)).finish()
    }
}

/// The table of some objects of one kind. A watch sends one object in each, and the columns only in
/// the first (`with_columns`).
pub fn table<'a>(
    columns: &Columns,
    objects: impl IntoIterator<Item = &'a Object>,
    metadata: &ListMetadata,
    form: impl Into<TableForm>,
    with_columns: bool,
    now: Timestamp,
) -> Value {
    let form = form.into();
    let rows: Vec<Value> = objects.into_iter().map(|object| row(columns, object, form, now)).collect();
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
        if with_columns { columns.columns.iter().map(definition).collect() } else { Vec::new() };
    json!({
        "kind": "Table",
        "apiVersion": form.version.api_version(),
        "metadata": list,
        "columnDefinitions": columns,
        "rows": rows,
    })
}

/// An object with nothing but its metadata.
pub fn metadata_only(object: &Object, version: MetaVersion) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": version.api_version(),
        "metadata": object.get(&["metadata"]).cloned().unwrap_or_else(|| json!({})),
    })
}

/// One row of a table.
pub(crate) fn row(columns: &Columns, object: &Object, form: TableForm, now: Timestamp) -> Value {
    let mut row = Map::new();
    row.insert("cells".into(), (columns.cells)(object, now).into());
    let conditions = (columns.conditions)(object);
    if !conditions.is_empty() {
        row.insert("conditions".into(), conditions.into());
    }
    let embedded = match form.include {
        Include::Metadata => metadata_only(object, form.version),
        Include::None => Value::Null,
        Include::Object => object.value().clone(),
    };
    row.insert("object".into(), embedded);
    row.into()
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

/// A column of texts.
pub const fn text(name: &'static str, description: &'static str) -> Column {
    let (name, description) = (Cow::Borrowed(name), Cow::Borrowed(description));
    Column { name, kind: "string", format: "", priority: 0, description }
}

/// A column of whole numbers.
pub const fn integer(name: &'static str, description: &'static str) -> Column {
    let (name, description) = (Cow::Borrowed(name), Cow::Borrowed(description));
    Column { name, kind: "integer", format: "", priority: 0, description }
}

/// A column of what is so or not.
pub const fn boolean(name: &'static str, description: &'static str) -> Column {
    let (name, description) = (Cow::Borrowed(name), Cow::Borrowed(description));
    Column { name, kind: "boolean", format: "", priority: 0, description }
}

/// A column of moments.
pub const fn date(name: &'static str, description: &'static str) -> Column {
    let (name, description) = (Cow::Borrowed(name), Cow::Borrowed(description));
    Column { name, kind: "date", format: "", priority: 0, description }
}

impl Column {
    /// The same, shown where there is room.
    #[must_use]
    pub const fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }

    /// The same, as the one that names the object.
    #[must_use]
    pub const fn naming(mut self) -> Self {
        self.format = "name";
        self
    }
}

/// A column of texts that is shown where there is room.
pub const fn wide(name: &'static str, description: &'static str) -> Column {
    text(name, description).wide()
}

/// How long ago the object was created.
pub fn age(object: &Object, now: Timestamp) -> Value {
    since(object.creation_timestamp(), now).into()
}

/// A text, or what is shown in its place.
pub fn or<'a>(text: Option<&'a str>, otherwise: &'a str) -> &'a str {
    text.filter(|text| !text.is_empty()).unwrap_or(otherwise)
}

/// A map of texts as `a=1,b=2`, sorted.
pub fn pairs(map: Option<&Value>) -> String {
    let mut pairs: Vec<String> = map
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.sort();
    if pairs.is_empty() { NONE.to_owned() } else { pairs.join(",") }
}
