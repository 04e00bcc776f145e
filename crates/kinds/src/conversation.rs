//! Conversations: streams and requests that are passed on. Others are asked whether one may be begun.

use apiserver::{Call, Error, Result};
use model::{GroupVersionKind, Object, Status};
use serde_json::{Map, Value};

/// What parameters of a request become in its options.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Parameter {
    /// Whether it is wanted.
    Flag(&'static str),
    /// A text.
    Text(&'static str),
    /// All texts of that name.
    Texts(&'static str),
    /// All numbers of that name.
    Numbers(&'static str),
}

/// What opens a stream to a container's command, and to its own.
pub(crate) const OF_COMMANDS: [Parameter; 6] = [
    Parameter::Flag("stdin"),
    Parameter::Flag("stdout"),
    Parameter::Flag("stderr"),
    Parameter::Flag("tty"),
    Parameter::Text("container"),
    Parameter::Texts("command"),
];
/// What opens one to ports.
pub(crate) const OF_PORTS: [Parameter; 1] = [Parameter::Numbers("ports")];

/// Asks others whether a conversation may be begun that is asked for by options of this kind of the core group.
pub(crate) async fn admit(call: &Call, kind: &str, parameters: &[Parameter]) -> Result<()> {
    let query = call.query();
    let mut fields = Map::new();
    for parameter in parameters {
        let (name, value) = match *parameter {
            Parameter::Flag(name) => (name, Some(Value::from(true)).filter(|_| query.flag(name))),
            Parameter::Text(name) => (name, query.filled(name).map(Value::from)),
            Parameter::Texts(name) => (name, list(query.all(name).map(Value::from).collect())),
            Parameter::Numbers(name) => {
                let numbers = query.all(name).filter_map(|text| text.parse::<i64>().ok());
                (name, list(numbers.map(Value::from).collect()))
            }
        };
        fields.extend(value.map(|value| (name.to_owned(), value)));
    }
    begin(call, kind, fields).await
}

/// The same for a request that is passed on, to what its path has behind the subresource.
pub(crate) async fn admit_proxied(call: &Call, kind: &str) -> Result<()> {
    let mut fields = Map::new();
    fields.insert("path".to_owned(), format!("/{}", call.target().rest).into());
    begin(call, kind, fields).await
}

fn list(all: Vec<Value>) -> Option<Value> {
    (!all.is_empty()).then_some(Value::Array(all))
}

async fn begin(call: &Call, kind: &str, fields: Map<String, Value>) -> Result<()> {
    let mut options = Object::from_fields(fields);
    options.set_gvk(&GroupVersionKind::new("", "v1", kind));
    let admitted = call.admit_connection(options.clone()).await?;
    if admitted == options {
        return Ok(());
    }
    // The request has been read already, and is not done in another way than it says.
    let why = "somebody who was asked changed the options of a stream, which this server does not do";
    Err(Error::from(Status::internal(why)))
}
