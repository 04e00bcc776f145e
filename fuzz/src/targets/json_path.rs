//! Paths into documents, as columns and selectable fields of definitions have them.

use std::sync::LazyLock;

use model::json_path::{JsonPath, print};
use serde_json::{Value, json};

use crate::target::texts;
use crate::{Shape, Target};

pub(super) const TARGET: Target = Target {
    name: "json_path",
    shape: Shape::Plain,
    examples,
    words: &[
        "{",
        "}",
        "$",
        "@",
        ".",
        "..",
        "[",
        "]",
        "*",
        ":",
        ",",
        "'",
        "\"",
        "\\.",
        "[*]",
        "[-1]",
        "[0:2]",
        "[::2]",
        "[?(@.",
        ")]",
        "==",
        "!=",
        "<",
        ">=",
        "a",
        "items",
        "status",
        "9223372036854775807",
        "-9223372036854775808",
    ],
    read,
    turns: 15_000,
};

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "a": {"b.c": 1, "items": [{"type": "Ready", "status": "True", "n": 3}, {"type": "x", "n": 1.5}, [1, [2, 3]]]},
        "items": [0, 1, 2, 3, "é", null, true],
        "status": {"a": {"a": {"a": "deep"}}},
    })
});

fn read(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let path = match text.parse::<JsonPath>() {
        Ok(path) => path,
        Err(error) => {
            assert!(!error.to_string().is_empty(), "refused without a reason");
            return false;
        }
    };
    let found = path.find(&DOCUMENT);
    for value in &found {
        let _ = print(value);
    }
    // One that may look at less finds no more, and says what is left.
    let mut left = 10;
    assert!(path.find_among(&DOCUMENT, &mut left).len() <= found.len() && left <= 10, "`{text}`");
    true
}

fn examples() -> Vec<Vec<u8>> {
    texts(&[
        ".a.items[0].status",
        "{.a.items[?(@.type==\"Ready\")].status}",
        "$.a['b.c']",
        ".a.b\\.c",
        "..a",
        ".items[-2:]",
        ".items[0,2,4]",
        ".items[1:6:2]",
        ".a.items[*].n",
        "{.a.items[?(@.n>1)].type}",
        ".a.items[?(@.status)]['type','n']",
    ])
}
