//! Bodies of YAML.

use crate::target::texts;
use crate::{Shape, Target};

pub(super) const TARGET: Target = Target {
    name: "yaml",
    shape: Shape::Plain,
    examples,
    words: &[
        "---\n",
        "- ",
        ": ",
        "  ",
        "\n",
        "&a ",
        "*a",
        "<<: *a",
        "|\n  ",
        ">-\n  ",
        "!!binary ",
        "!!float ",
        "? ",
        "[",
        "{",
        "\"",
        "'",
        "# ",
        "0x",
        "1e",
        ".inf",
        "~",
        "null",
        "\t",
        "%YAML 1.2\n",
        "...\n",
    ],
    read,
    turns: 2500,
};

fn read(body: &[u8]) -> bool {
    let Some(document) = apiserver::fuzzing::yaml(body) else { return false };
    assert!(serde_json::to_vec(&document).is_ok(), "whatever comes of it can be said in JSON");
    true
}

fn examples() -> Vec<Vec<u8>> {
    texts(&[
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  labels: {b: c, \"d\": 'e'}\nspec:\n  containers:\n  - name: f\n    image: g\n    args: [\"-x\", 1, 2.5, true, ~]\n",
        "a: &x\n  b: |\n    text\n    more\n  c: >-\n    folded\n    text\nd: *x\ne:\n  <<: *x\n  f: 0x1F\n",
        "---\n- 1\n- [2, [3]]\n- ? key\n  : value\n- !!str 5\n- \"\\u00e9\\n\"\n...\n",
        "{\"a\": [1, {\"b\": null}]}",
    ])
}
