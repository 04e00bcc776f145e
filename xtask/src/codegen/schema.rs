//! Turns Kubernetes' JSON definitions into the table that `model::schema` reads.
//!
//! Only facts are taken: names, types, keys. The table's form is described where it is read, in
//! `crates/model/src/schema/table.rs`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};

const HEADER: &str = "# Types of the built-in Kubernetes kinds. Made by `cargo xtask codegen schema`; the form is told in table.rs.\n";

/// Keys of list items that may be left out, and what stands for them then. The definitions lack it.
const DEFAULTS: &[(&str, &str, &str)] =
    &[("core.v1.ContainerPort", "protocol", "\"TCP\""), ("core.v1.ServicePort", "protocol", "\"TCP\"")];

/// Definitions that are a type of their own rather than an object of fields.
const SCALARS: &[(&str, &str)] = &[
    ("~meta.v1.Time", "t"),
    ("~meta.v1.MicroTime", "u"),
    ("~meta.v1.FieldsV1", "x"),
    ("~meta.v1.Patch", "x"),
    ("io.k8s.apimachinery.pkg.runtime.RawExtension", "r"),
    ("io.k8s.apimachinery.pkg.api.resource.Quantity", "q"),
    ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", "o"),
];

pub(super) const FILE: &str = "crates/model/src/schema/builtin.txt";

/// Reads `_definitions.json` in `folder` and makes the table.
pub(super) fn make(folder: &Path) -> anyhow::Result<String> {
    let path = folder.join("_definitions.json");
    let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let document: Value = serde_json::from_slice(&text).context("parse the definitions")?;
    let definitions = document["$defs"].as_object().context("the definitions have no `$defs`")?;
    let mut table = String::from(HEADER);
    for (name, definition) in definitions {
        let short = shorten(name);
        if scalar(&short, definition).is_none() {
            write_definition(&mut table, &short, definition, definitions)
                .with_context(|| format!("definition {name}"))?;
        }
    }
    Ok(table)
}

fn write_definition(
    table: &mut String,
    short: &str,
    definition: &Value,
    all: &Map<String, Value>,
) -> anyhow::Result<()> {
    table.push_str(short);
    if let Some(kinds) = definition["x-kubernetes-group-version-kind"].as_array() {
        let kinds: Vec<String> = kinds
            .iter()
            .map(|kind| {
                let part = |name: &str| kind[name].as_str().unwrap_or_default();
                format!("{}/{}/{}", part("group"), part("version"), part("kind"))
            })
            .collect();
        write!(table, " k={}", kinds.join(","))?;
    }
    if definition["x-kubernetes-map-type"] == "atomic" {
        table.push_str(" a=1");
    }
    table.push('\n');
    let package = short.rsplit_once('.').map_or("", |(package, _)| package);
    let required: Vec<&str> =
        definition["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let empty = Map::new();
    let mut fields: Vec<_> = definition["properties"].as_object().unwrap_or(&empty).iter().collect();
    fields.sort_by_key(|(name, _)| name.as_str());
    for (name, field) in fields {
        let mark = if required.contains(&name.as_str()) { "!" } else { "" };
        let ty = type_text(field, package, all).with_context(|| format!("field {name}"))?;
        write!(table, "\t{name}{mark} {ty}")?;
        let keys: Vec<&str> = field["x-kubernetes-list-map-keys"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        match field["x-kubernetes-list-type"].as_str() {
            None | Some("atomic") => {}
            Some("set") => table.push_str(" l="),
            Some("map") => write!(table, " l={}", keys.join(","))?,
            Some(other) => bail!("field {name} has the unknown list type {other}"),
        }
        match field["x-kubernetes-map-type"].as_str() {
            None => {}
            Some("atomic") => table.push_str(" a=1"),
            Some("granular") => table.push_str(" a=0"),
            Some(other) => bail!("field {name} has the unknown map type {other}"),
        }
        if let Some(strategy) = field["x-kubernetes-patch-strategy"].as_str() {
            write!(table, " p={strategy}")?;
            if let Some(key) = field["x-kubernetes-patch-merge-key"].as_str() {
                write!(table, ":{key}")?;
            }
        }
        let default = DEFAULTS.iter().find(|(of, key, _)| *of == short && key == name);
        if let Some((_, _, default)) = default {
            write!(table, " d={default}")?;
        }
        table.push('\n');
    }
    Ok(())
}

fn type_text(field: &Value, package: &str, all: &Map<String, Value>) -> anyhow::Result<String> {
    if let Some(reference) = field["$ref"].as_str() {
        let name = reference.rsplit('/').next().context("an empty reference")?;
        let short = shorten(name);
        let definition = all.get(name).with_context(|| format!("no definition {name}"))?;
        if let Some(letter) = scalar(&short, definition) {
            return Ok(letter.to_owned());
        }
        return Ok(match short.rsplit_once('.') {
            Some((home, local)) if home == package => format!("@.{local}"),
            _ => format!("@{short}"),
        });
    }
    let kind = match &field["type"] {
        Value::String(one) => one.as_str(),
        Value::Array(several) => {
            several.iter().filter_map(Value::as_str).find(|one| *one != "null").unwrap_or("")
        }
        _ => return Ok("*".to_owned()),
    };
    let element = |name: &str| type_text(&field[name], package, all);
    Ok(match (kind, field["format"].as_str()) {
        ("string", Some("byte")) => "y".into(),
        ("string", Some("date-time")) => "t".into(),
        ("string", _) => "s".into(),
        ("integer", Some("int32")) => "i".into(),
        ("integer", _) => "l".into(),
        ("number", _) => "f".into(),
        ("boolean", _) => "b".into(),
        ("array", _) => format!("[{}]", element("items")?),
        ("object", _) if field["additionalProperties"].is_object() => {
            format!("{{{}}}", element("additionalProperties")?)
        }
        ("object", _) => "x".into(),
        (other, _) => bail!("unknown type {other:?}"),
    })
}

/// The letter of a definition that is a type of its own.
fn scalar(short: &str, definition: &Value) -> Option<&'static str> {
    if let Some((_, letter)) = SCALARS.iter().find(|(name, _)| *name == short) {
        return Some(letter);
    }
    definition.get("type").is_none().then_some("*")
}

fn shorten(name: &str) -> String {
    if let Some(rest) = name.strip_prefix("io.k8s.apimachinery.pkg.apis.") {
        format!("~{rest}")
    } else {
        name.strip_prefix("io.k8s.api.").unwrap_or(name).to_owned()
    }
}
