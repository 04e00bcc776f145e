//! Questions about a Dockerfile: what is not well about it, what its targets are, and what a target takes.

use std::collections::BTreeMap;

use base64::Engine as _;
use llb::pb;
use serde_json::{Value, json};

use super::table::{row, table};
use super::{FrontError, dockerfile_error};
use crate::client::DockerfileSource;
use crate::convert::{Failure, Job, Listed, convert};
use crate::lint::Warning;
use crate::syntax::Lines;

const VERSION: &str = "1.0.0";

/// Answers a question. The result's metadata.
pub(super) async fn answer(name: &str, job: Job<'_>) -> Result<BTreeMap<String, Vec<u8>>, FrontError> {
    match name {
        "frontend.subrequests.describe" => Ok(describe()),
        "frontend.outline" => outline(&job).await,
        "frontend.targets" => targets(job.source),
        "frontend.lint" => Ok(lint(job).await),
        other => Err(FrontError::UnsupportedRequest(other.to_owned())),
    }
}

fn metadata(json: &Value, text: String) -> BTreeMap<String, Vec<u8>> {
    let json = serde_json::to_string_pretty(json).expect("values always print");
    // As Go's `encoding/json` writes them, which some look for.
    let json = json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    [("result.json", json), ("result.txt", text), ("version", VERSION.to_owned())]
        .map(|(name, text)| (name.to_owned(), text.into_bytes()))
        .into()
}

fn describe() -> BTreeMap<String, Vec<u8>> {
    let named = |name: &str, description: &str| json!({ "name": name, "description": description });
    let results = json!([named("result.json", ""), named("result.txt", "")]);
    let request = |name: &str, description: &str, options: Value| {
        json!({
            "name": name,
            "version": VERSION,
            "type": "rpc",
            "description": description,
            "opts": options,
            "inputs": null,
            "metadata": results,
            "refs": null,
        })
    };
    let known = [
        (
            "frontend.outline",
            "List all parameters current build target supports",
            json!([named("target", "Target build stage")]),
        ),
        ("frontend.targets", "List all targets current build supports", json!([])),
        ("frontend.subrequests.describe", "List available subrequest types", Value::Null),
    ];
    let mut rows = vec![row(&["NAME", "VERSION", "DESCRIPTION"])];
    let mut requests = Vec::new();
    for (name, description, options) in known {
        rows.push(row(&[name.trim_start_matches("frontend."), VERSION, description]));
        requests.push(request(name, description, options));
    }
    metadata(&Value::Array(requests), table(&rows, 1))
}

fn targets(source: &DockerfileSource) -> Result<BTreeMap<String, Vec<u8>>, FrontError> {
    let text = String::from_utf8_lossy(&source.data);
    let listed = Listed::all(&text).map_err(|error| {
        let lines = Vec::from_iter((error.lines.first > 0).then_some(error.lines));
        dockerfile_error(Failure { problem: error.problem, lines, source: None }, source)
    })?;
    let mut rows = vec![row(&["TARGET", "DESCRIPTION"])];
    let mut targets = Vec::new();
    for target in listed {
        let shown = match (target.name.as_str(), target.is_default) {
            ("", true) => "(default)".to_owned(),
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        };
        rows.push(row(&[&shown, &target.description]));
        targets.push(without_empty(json!({
            "name": target.name,
            "default": target.is_default,
            "description": target.description,
            "base": target.base,
            "platform": target.platform,
            "location": location(target.lines),
        })));
    }
    let json = json!({ "targets": targets, "sources": [encoded(&source.data)] });
    Ok(metadata(&json, table(&rows, 1)))
}

async fn outline(job: &Job<'_>) -> Result<BTreeMap<String, Vec<u8>>, FrontError> {
    let (converted, _) = convert(job).await;
    let outline = converted.map_err(|failure| dockerfile_error(failure, job.source))?.outline;
    let mut text = String::new();
    let mut add = |rows: Vec<Vec<String>>, padding| {
        text.push_str(&table(&rows, padding));
        text.push('\n');
    };
    if !outline.name.is_empty() || !outline.description.is_empty() {
        let name = if outline.name.is_empty() { "(default)" } else { &outline.name };
        let mut rows = vec![row(&["TARGET:", name])];
        if !outline.description.is_empty() {
            rows.push(row(&["DESCRIPTION:", &outline.description]));
        }
        add(rows, 1);
    }
    let mut args = Vec::new();
    if !outline.args.is_empty() {
        let mut rows = vec![row(&["BUILD ARG", "VALUE", "DESCRIPTION"])];
        for arg in &outline.args {
            rows.push(row(&[&arg.name, &arg.value, &arg.description]));
            args.push(without_empty(json!({
                "name": arg.name,
                "description": arg.description,
                "value": arg.value,
                "location": location(arg.lines),
            })));
        }
        add(rows, 3);
    }
    let mut needs = Vec::new();
    for (title, list) in [("SECRET", &outline.secrets), ("SSH", &outline.agents)] {
        let mut listed = Vec::new();
        let mut rows = vec![row(&[title, "REQUIRED"])];
        for (name, is_required, lines) in list {
            rows.push(row(&[name, if *is_required { "true" } else { "" }]));
            listed.push(without_empty(json!({
                "name": name,
                "required": is_required,
                "location": location(*lines),
            })));
        }
        if !listed.is_empty() {
            add(rows, 3);
        }
        needs.push(listed);
    }
    let agents = needs.pop().unwrap_or_default();
    let json = without_empty(json!({
        "name": outline.name,
        "description": outline.description,
        "args": args,
        "secrets": needs.pop().unwrap_or_default(),
        "ssh": agents,
        "sources": [encoded(&job.source.data)],
    }));
    Ok(metadata(&json, text))
}

async fn lint(mut job: Job<'_>) -> BTreeMap<String, Vec<u8>> {
    // Without a target all of them are looked at.
    job.all_stages = job.settings.target.is_empty();
    let (converted, warnings) = convert(&job).await;
    let warning = |warning: &Warning| {
        let mut json = without_empty(json!({
            "ruleName": warning.rule.name,
            "description": warning.rule.description,
            "url": warning.rule.url,
            "detail": warning.message,
        }));
        json["location"] = location(warning.lines);
        json
    };
    let listed = match warnings.is_empty() {
        true => Value::Null,
        false => warnings.iter().map(warning).collect(),
    };
    let mut json = json!({ "warnings": listed, "sources": [source_info(job.source)] });
    let is_well = warnings.is_empty() && converted.is_ok();
    if let Err(failure) = converted {
        let ranges = merged(&failure.lines);
        let problem = match dockerfile_error(failure, job.source) {
            FrontError::Dockerfile { problem, .. } => problem,
            other => other.to_string(),
        };
        json["buildError"] = json!({ "message": problem, "location": ranges });
    }
    let mut sorted: Vec<&Warning> = warnings.iter().collect();
    sorted.sort_by_key(|warning| warning.lines.first);
    let mut text = String::new();
    for warning in sorted {
        text.push_str(&format!("\nWARNING: {}", warning.rule.name));
        if !warning.rule.url.is_empty() {
            text.push_str(&format!(" - {}", warning.rule.url));
        }
        text.push_str(&format!("\n{}\n", warning.message));
        text.push_str(&excerpt(job.source, warning.lines));
    }
    let mut metadata = metadata(&json, text);
    let status = if is_well { "0" } else { "1" };
    metadata.insert("result.statuscode".to_owned(), status.into());
    metadata
}

/// The lines of a Dockerfile with some around them.
pub(super) fn excerpt(source: &DockerfileSource, lines: Lines) -> String {
    let text = String::from_utf8_lossy(&source.data);
    let all: Vec<&str> = text.split('\n').collect();
    let (first, last) = (lines.first as usize, (lines.last as usize).min(all.len()));
    if first == 0 || first > all.len() {
        return String::new();
    }
    let padding = if last == first { 4 } else { 2 };
    let (mut from, mut to, mut added) = (first, last, 0);
    while added < padding {
        if from > 1 {
            from -= 1;
            added += 1;
        }
        if to != all.len() {
            to += 1;
            added += 1;
        }
        added += 1;
    }
    let mut text = format!("{}:{first}\n--------------------\n", source.filename);
    for number in from..=to {
        let mark = if (first..=last).contains(&number) { ">>>" } else { "   " };
        text.push_str(&format!(" {number:3} | {mark} {}\n", all[number - 1]));
    }
    text + "--------------------\n"
}

fn encoded(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Lines as clients read them: a range for each.
fn location(lines: Lines) -> Value {
    if lines.first == 0 {
        return json!({});
    }
    let range = |line: u32| json!({ "start": { "line": line }, "end": { "line": line } });
    json!({ "ranges": (lines.first..=lines.last).map(range).collect::<Vec<_>>() })
}

/// Lines that overlap as one, in order.
fn merged(lines: &[Lines]) -> Value {
    let mut sorted = lines.to_vec();
    sorted.sort();
    let mut merged: Vec<Lines> = Vec::new();
    for lines in sorted {
        match merged.last_mut() {
            Some(before) if lines.first <= before.last => before.last = before.last.max(lines.last),
            _ => merged.push(lines),
        }
    }
    if merged.is_empty() {
        return json!({});
    }
    let all = merged.into_iter().flat_map(|lines| lines.first..=lines.last);
    let range = |line: u32| json!({ "start": { "line": line }, "end": { "line": line } });
    json!({ "ranges": all.map(range).collect::<Vec<_>>() })
}

fn source_info(source: &DockerfileSource) -> Value {
    without_empty(json!({
        "filename": source.filename,
        "data": encoded(&source.data),
        "definition": definition(&source.definition),
        "language": "Dockerfile",
    }))
}

fn definition(definition: &pb::Definition) -> Value {
    let operations: Vec<String> = definition.def.iter().map(|bytes| encoded(bytes)).collect();
    let metadata: serde_json::Map<String, Value> = definition
        .metadata
        .iter()
        .map(|(digest, known)| {
            let known = json!({
                "ignore_cache": known.ignore_cache,
                "description": known.description,
                "caps": known.caps,
            });
            (digest.clone(), without_empty(known))
        })
        .collect();
    without_empty(json!({ "def": operations, "metadata": metadata }))
}

/// The members of an object that are something.
fn without_empty(value: Value) -> Value {
    let Value::Object(members) = value else { return value };
    let is_something = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        _ => true,
    };
    Value::Object(members.into_iter().filter(|(_, value)| is_something(value)).collect())
}
