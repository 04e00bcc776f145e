//! Patches of all three kinds: a list of a document and a patch.

use model::merge::{json_patch, merge_patch, strategic};
use model::{GroupVersionKind, depth, schema};
use serde_json::Value;

use crate::target::texts;
use crate::{Shape, Target};

pub(super) const TARGET: Target = Target {
    name: "json-patch",
    shape: Shape::Json,
    examples,
    words: &[
        "\"op\":\"add\"",
        "\"op\":\"move\"",
        "\"op\":\"copy\"",
        "\"op\":\"test\"",
        "\"op\":\"remove\"",
        "\"op\":\"replace\"",
        "\"path\":\"\"",
        "\"path\":\"/a/-\"",
        "\"from\":\"/\"",
        "~0",
        "~1",
        "/0",
        "/-1",
        "\"$patch\":\"delete\"",
        "\"$patch\":\"replace\"",
        "\"$retainKeys\":[",
        "\"$setElementOrder/containers\":[",
        "\"$deleteFromPrimitiveList/a\":[",
        "null",
    ],
    read,
    turns: 1250,
};

/// As deep as a request's document may be and a patch may go.
const DEEP: usize = 4096;

fn read(text: &[u8]) -> bool {
    let Ok(Value::Array(both)) = serde_json::from_slice::<Value>(text) else { return false };
    let [document, patch] = both.as_slice() else { return false };
    let before = document.clone();
    let patched = json_patch::apply(document, patch);
    assert_eq!(*document, before, "the document is not changed");
    if let Ok(patched) = &patched {
        let _ = depth::of(patched, DEEP);
    }
    let merged = merge_patch::apply(document, patch);
    assert_eq!(merge_patch::apply(&merged, patch), merged, "a merge patch is done after once");
    assert_eq!(merge_patch::apply(document, document).is_object(), document.is_object());
    let schema = schema::builtin(&GroupVersionKind::new("", "v1", "Pod")).expect("built in");
    let strategic = strategic::apply(&schema, document, patch);
    patched.is_ok() || strategic.is_ok()
}

fn examples() -> Vec<Vec<u8>> {
    texts(&[
        r#"[{"a":{"b":[1,2,{"c":"d"}]},"e~/f":null},[{"op":"add","path":"/a/b/-","value":3},{"op":"move","from":"/a/b/0","path":"/x"},{"op":"test","path":"/e~0~1f","value":null},{"op":"copy","from":"/a","path":"/a/b/0"},{"op":"remove","path":"/a/b/1"},{"op":"replace","path":"","value":{}}]]"#,
        r#"[{"spec":{"containers":[{"name":"a","image":"b"},{"name":"c"}]},"metadata":{"finalizers":["x","y"]}},{"spec":{"$setElementOrder/containers":[{"name":"c"},{"name":"a"}],"containers":[{"name":"a","$patch":"delete"},{"name":"d","image":"e","ports":[{"containerPort":80}]}]},"metadata":{"$deleteFromPrimitiveList/finalizers":["x"]}}]"#,
        r#"[{"spec":{"volumes":[{"name":"v","emptyDir":{}}]}},{"spec":{"volumes":[{"name":"v","$retainKeys":["name","hostPath"],"hostPath":{"path":"/"}}],"$patch":"replace"}}]"#,
    ])
}
