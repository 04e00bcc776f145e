//! The configuration of an image, from what a front end says and the layers that there are.

use base::Timestamp;
use oci::cache::INLINE;
use oci::{Digest, Platform};
use serde_json::{Map, Value, json};

use crate::solve::SolveError;

/// What a step is called that no front end wrote down.
const UNTOLD: &str = "buildkit.exporter.image.v0";

/// A layer of the image.
pub(super) struct LayerFact {
    pub(super) diff_id: Digest,
    /// When it was made, if it was made here.
    pub(super) created: Option<Timestamp>,
}

/// The configuration as it is stored. Of what the front end wrote all that is not about layers stays, known or
/// not. The same in gives the same out, but for `now`, which counts only where nothing says when. With `epoch`
/// nothing is later than that, but for what comes of the image `base`, and nothing hangs on when it was done.
pub(super) fn finish(
    written: Option<&[u8]>,
    base: Option<&[u8]>,
    platform: &Platform,
    layers: &[LayerFact],
    epoch: Option<Timestamp>,
    now: Timestamp,
) -> Result<Vec<u8>, SolveError> {
    let invalid = broken;
    let now = epoch.unwrap_or(now);
    let mut config: Map<String, Value> = match written {
        Some(bytes) => serde_json::from_slice(bytes).map_err(invalid)?,
        None => serde_json::from_value(json!({
            "architecture": platform.architecture,
            "os": platform.os,
            "config": { "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "WorkingDir": "/" },
        }))
        .map_err(invalid)?,
    };
    let read = |history: Option<Value>| -> Result<Vec<Map<String, Value>>, SolveError> {
        match history {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(history) => serde_json::from_value(history).map_err(invalid),
        }
    };
    let history = read(config.remove("history"))?;
    let base = match base {
        Some(bytes) => {
            let mut base: Map<String, Value> = serde_json::from_slice(bytes).map_err(invalid)?;
            read(base.remove("history"))?
        }
        None => Vec::new(),
    };
    let of_base = history.iter().zip(&base).take_while(|(step, base)| step == base).count();
    let mut history = history_of(history, layers, now);
    if let Some(epoch) = epoch {
        for step in history.iter_mut().skip(of_base) {
            let made = step.get("created").and_then(Value::as_str);
            // What was done here was done at any time.
            if made.and_then(|made| made.parse::<Timestamp>().ok()).is_none_or(|made| made > epoch) {
                step.insert("created".to_owned(), epoch.to_string().into());
            }
        }
    }
    let created = history.iter().rev().find_map(|step| step.get("created").cloned());
    let diff_ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
    config.insert("rootfs".to_owned(), json!({ "type": "layers", "diff_ids": diff_ids }));
    config.insert("history".to_owned(), history.into_iter().map(Value::Object).collect());
    config.insert("created".to_owned(), created.unwrap_or_else(|| now.to_string().into()));
    // Of other builders, about how they came to it: not true of this one.
    config.remove("moby.buildkit.buildinfo.v1");
    config.remove(INLINE);
    serde_json::to_vec(&Value::Object(config)).map_err(invalid)
}

/// What is no JSON, or not what it should be.
pub(super) fn broken(error: serde_json::Error) -> SolveError {
    SolveError::Invalid(format!("failed to parse image config: {error}"))
}

/// The configuration with the records of what its layers were made by, for who builds the same elsewhere.
pub(super) fn with_cache(config: Vec<u8>, records: Option<&[u8]>) -> Result<Vec<u8>, SolveError> {
    use base64::Engine as _;
    let Some(records) = records else { return Ok(config) };
    let invalid = broken;
    let mut read: Map<String, Value> = serde_json::from_slice(&config).map_err(invalid)?;
    read.insert(INLINE.to_owned(), base64::prelude::BASE64_STANDARD.encode(records).into());
    serde_json::to_vec(&Value::Object(read)).map_err(invalid)
}

/// The steps so that as many make a layer as there are layers, each with its time.
fn history_of(
    mut history: Vec<Map<String, Value>>,
    layers: &[LayerFact],
    now: Timestamp,
) -> Vec<Map<String, Value>> {
    let is_empty = |step: &Map<String, Value>| step.get("empty_layer") == Some(&Value::Bool(true));
    let mut making = history.iter().filter(|step| !is_empty(step)).count();
    // What says that it made a layer and did not, from the last on.
    for step in history.iter_mut().rev() {
        if making <= layers.len() {
            break;
        }
        if !is_empty(step) {
            step.insert("empty_layer".to_owned(), true.into());
            making -= 1;
        }
    }
    for _ in making..layers.len() {
        let step = json!({ "created_by": UNTOLD, "comment": UNTOLD });
        history.extend(step.as_object().cloned());
    }
    let first_made = layers.iter().find_map(|layer| layer.created);
    let mut last = first_made.unwrap_or(now).to_string();
    let mut layers = layers.iter();
    for step in &mut history {
        let layer = if is_empty(step) { None } else { layers.next() };
        match step.get("created").and_then(Value::as_str) {
            Some(said) => last = said.to_owned(),
            None => {
                if let Some(created) = layer.and_then(|layer| layer.created) {
                    last = created.to_string();
                }
                step.insert("created".to_owned(), last.clone().into());
            }
        }
    }
    history
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-05-05T05:05:05Z";

    fn now() -> Timestamp {
        NOW.parse().expect("a time")
    }

    fn layer(name: &str, created: Option<&str>) -> LayerFact {
        let created = created.map(|text| text.parse().expect("a time"));
        LayerFact { diff_id: Digest::sha256_of(name.as_bytes()), created }
    }

    /// What becomes of a history: `created_by created [-]`, a line each, the dash where there is no layer.
    fn check(history: Value, layers: &[LayerFact], expected: &[&str]) {
        let written = json!({ "architecture": "amd64", "os": "linux", "history": history, "x.y": 1 });
        let bytes = serde_json::to_vec(&written).expect("JSON");
        let platform = Platform::host();
        let done = finish(Some(&bytes), None, &platform, layers, None, now()).expect("done");
        let done: Value = serde_json::from_slice(&done).expect("JSON");
        assert_eq!(done["x.y"], 1);
        assert_eq!(done["rootfs"]["diff_ids"].as_array().map(Vec::len), Some(layers.len()));
        let text = |step: &Value, key: &str| step[key].as_str().unwrap_or_default().to_owned();
        let line = |step: &Value| {
            let dash = if step["empty_layer"] == true { " -" } else { "" };
            format!("{} {}{dash}", text(step, "created_by"), text(step, "created"))
        };
        let lines: Vec<String> = done["history"].as_array().expect("steps").iter().map(line).collect();
        assert_eq!(lines, expected);
        let last =
            done["history"].as_array().and_then(|steps| steps.last()).map(|step| text(step, "created"));
        assert_eq!(text(&done, "created"), last.unwrap_or_else(|| NOW.to_owned()));
    }

    #[test]
    fn steps_get_the_times_of_their_layers_and_others_those_before_them() {
        let made = Some("2026-03-03T03:03:03Z");
        let history = json!([
            { "created_by": "base", "created": "2020-01-01T00:00:00Z" },
            { "created_by": "ENV a=b", "empty_layer": true },
            { "created_by": "RUN x" },
            { "created_by": "CMD y", "empty_layer": true },
        ]);
        check(
            history,
            &[layer("base", None), layer("x", made)],
            &[
                "base 2020-01-01T00:00:00Z",
                "ENV a=b 2020-01-01T00:00:00Z -",
                "RUN x 2026-03-03T03:03:03Z",
                "CMD y 2026-03-03T03:03:03Z -",
            ],
        );
        let history = json!([{ "created_by": "ENV", "empty_layer": true }, { "created_by": "RUN x" }]);
        check(history, &[layer("x", made)], &["ENV 2026-03-03T03:03:03Z -", "RUN x 2026-03-03T03:03:03Z"]);
    }

    #[test]
    fn there_are_as_many_steps_with_layers_as_layers() {
        let two = json!([{ "created_by": "one" }, { "created_by": "two" }]);
        check(two, &[layer("a", None)], &[&format!("one {NOW}"), &format!("two {NOW} -")]);
        check(json!([]), &[layer("a", None)], &[&format!("{UNTOLD} {NOW}")]);
        check(Value::Null, &[], &[]);
    }

    #[test]
    fn with_an_epoch_nothing_hangs_on_when_it_was_done() {
        let base = json!({ "history": [{ "created_by": "base", "created": "2031-01-01T00:00:00Z" }] });
        let history = json!([
            { "created_by": "base", "created": "2031-01-01T00:00:00Z" },
            { "created_by": "RUN x" },
            { "created_by": "RUN y" },
            { "created_by": "CMD z", "empty_layer": true },
        ]);
        let written = json!({ "architecture": "amd64", "os": "linux", "history": history });
        let bytes = |value: &Value| serde_json::to_vec(value).expect("JSON");
        let epoch = "2020-02-02T02:02:02Z".parse().ok();
        let done = |made: &str, now: &str| {
            let layers = [layer("base", None), layer("x", Some(made)), layer("y", Some(made))];
            let now = now.parse().expect("a time");
            let (written, base) = (bytes(&written), bytes(&base));
            finish(Some(&written), Some(&base), &Platform::host(), &layers, epoch, now).expect("done")
        };
        let first = done("2026-01-01T00:00:00Z", NOW);
        assert_eq!(first, done("2027-01-01T00:00:00Z", "2028-01-01T00:00:00Z"));
        let read: Value = serde_json::from_slice(&first).expect("JSON");
        let times: Vec<&str> = read["history"]
            .as_array()
            .expect("steps")
            .iter()
            .map(|step| step["created"].as_str().expect("a time"))
            .collect();
        let at = "2020-02-02T02:02:02Z";
        assert_eq!(times, ["2031-01-01T00:00:00Z", at, at, at]);
        assert_eq!(read["created"], at);
    }

    #[test]
    fn the_records_of_layers_are_put_beside_what_is_there() {
        let config = br#"{"os":"linux"}"#.to_vec();
        assert_eq!(with_cache(config.clone(), None).expect("as it is"), config);
        let with = with_cache(config, Some(b"[]")).expect("with records");
        let read: Value = serde_json::from_slice(&with).expect("JSON");
        assert_eq!(read, json!({ "os": "linux", "moby.buildkit.cache.v0": "W10=" }));
    }
}
