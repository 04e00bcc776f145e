//! Operations in JSON, as BuildKit's provenance has them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use llb::pb;
use serde_json::{Map, Value};

/// An operation, without its inputs; what says nothing is left out.
pub(crate) fn shown(op: &pb::Op) -> Value {
    let mut all = Map::new();
    let mut done = op.op.as_ref().and_then(|op| serde_json::to_value(op).ok()).unwrap_or_default();
    if let Some(actions) = done.pointer_mut("/file/actions").and_then(Value::as_array_mut) {
        actions.iter_mut().for_each(shape_action);
    }
    prune(&mut done);
    all.insert("Op".to_owned(), done);
    for (key, part) in [
        ("platform", serde_json::to_value(&op.platform)),
        ("constraints", serde_json::to_value(&op.constraints)),
    ] {
        let mut part = part.unwrap_or_default();
        prune(&mut part);
        if !is_nothing(&part) {
            all.insert(key.to_owned(), part);
        }
    }
    all.into()
}

/// What is written is bytes, and what an action does has a capital.
fn shape_action(action: &mut Value) {
    let Some(action) = action.as_object_mut() else { return };
    if let Some(data) = action.get_mut("action").and_then(|action| action.pointer_mut("/mkfile/data")) {
        let bytes: Option<Vec<u8>> = data
            .as_array()
            .map(|bytes| bytes.iter().filter_map(|byte| u8::try_from(byte.as_u64()?).ok()).collect());
        *data = bytes.map_or(Value::Null, |bytes| BASE64_STANDARD.encode(bytes).into());
    }
    if let Some(what) = action.remove("action") {
        action.insert("Action".to_owned(), what);
    }
}

fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.values_mut().for_each(prune);
            map.retain(|_, value| !is_nothing(value));
        }
        Value::Array(values) => values.iter_mut().for_each(prune),
        _ => {}
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is) => !is,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_told_as_buildkit_tells_them() {
        let op = pb::Op {
            platform: Some(pb::Platform { os: "linux".to_owned(), ..pb::Platform::default() }),
            op: Some(pb::op::Op::File(pb::FileOp {
                actions: vec![pb::FileAction {
                    secondary_input: -1,
                    action: Some(pb::file_action::Action::Mkfile(pb::FileActionMkFile {
                        path: "/x".to_owned(),
                        data: b"abc".to_vec().into(),
                        ..pb::FileActionMkFile::default()
                    })),
                    ..pb::FileAction::default()
                }],
            })),
            ..pb::Op::default()
        };
        assert_eq!(
            shown(&op).to_string(),
            r#"{"Op":{"file":{"actions":[{"secondaryInput":-1,"Action":{"mkfile":{"path":"/x","data":"YWJj"}}}]}},"platform":{"os":"linux"}}"#
        );
    }
}
