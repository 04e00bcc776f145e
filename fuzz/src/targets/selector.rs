//! Selectors of labels and of fields, as text and as documents.

use model::select::{FieldSelector, LabelSelector};
use model::{GroupVersionKind, Object};
use serde_json::Value;

use crate::target::texts;
use crate::{Shape, Target};

pub(super) const TARGET: Target = Target {
    name: "selector",
    shape: Shape::Plain,
    examples,
    words: &[
        "=",
        "==",
        "!=",
        "!",
        " in ",
        " notin ",
        "(",
        ")",
        ",",
        "a",
        "a.b/c",
        ">",
        "<",
        "1",
        "\\",
        "\\,",
        "\"matchLabels\":{",
        "\"matchExpressions\":[",
        "\"operator\":\"In\"",
    ],
    read,
    turns: 15_000,
};

fn read(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let mut object = Object::new(&GroupVersionKind::new("", "v1", "Pod"), "a");
    object.set_label("a", "b");
    object.set_label("n", "3");
    let labels = text.parse::<LabelSelector>();
    if let Ok(selector) = &labels {
        let printed = selector.to_string();
        let again = printed.parse::<LabelSelector>();
        let again = again.unwrap_or_else(|error| panic!("`{printed}` of `{text}` is no selector: {error}"));
        assert_eq!(again.to_string(), printed);
        assert_eq!(
            again.matches(&object),
            selector.matches(&object),
            "`{printed}` is another selector than `{text}`"
        );
    }
    let fields = text.parse::<FieldSelector>();
    if let Ok(selector) = &fields {
        let printed = selector.to_string();
        let again = printed.parse::<FieldSelector>();
        assert_eq!(again.as_ref().ok(), Some(selector), "`{printed}` is another selector than `{text}`");
    }
    let document = serde_json::from_str::<Value>(text);
    let of_document = document.is_ok_and(|document| {
        let selector = LabelSelector::from_json(Some(&document));
        let matches = selector.as_ref().map(|selector| selector.matches(&object));
        matches.is_ok()
    });
    labels.is_ok() || fields.is_ok() || of_document
}

fn examples() -> Vec<Vec<u8>> {
    texts(&[
        "a=b",
        "a==b,c!=d",
        "a in (b,c), d notin (e), f, !g",
        "example.org/a in (,b)",
        "n>1,n<5",
        "metadata.name=a,spec.nodeName!=b",
        "status.phase==Running,metadata.namespace=a\\,b\\=c\\\\",
        r#"{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"n","operator":"In","values":["3"]},{"key":"x","operator":"DoesNotExist"}]}"#,
    ])
}
