//! Keys of a configuration that this runtime does not know.
//!
//! The specification has them ignored. What is unknown at the outermost level, or is meant for
//! another platform, is. But below the keys that say how a container is confined an unknown one may
//! be a limit that its author relies on, whether it is spelt wrong or newer than this runtime: such a
//! container is not made.

use std::fmt::Write;

use base::wish::is_wish;
use serde::de::DeserializeOwned;
use serde_ignored::Path;
use serde_json::Value;

/// The keys below which nothing may be unknown.
const STRICT: [&str; 5] = ["process", "root", "mounts", "hooks", "linux"];

/// Keys below them that are another platform's, or say what is so anyway.
const FOREIGN: [&str; 3] =
    ["process.commandLine", "process.user.username", "linux.resources.memory.useHierarchy"];

/// Reads a document that stands at `place` of a configuration; gives the first key below one of
/// [`STRICT`] that is unknown and asks for something.
pub(super) fn read<T: DeserializeOwned>(
    bytes: &[u8],
    place: &str,
) -> serde_json::Result<(T, Option<String>)> {
    let mut unknown: Vec<Vec<String>> = Vec::new();
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let document = serde_ignored::deserialize(&mut reader, |path| unknown.push(parts(&path)))?;
    reader.end()?;
    if unknown.is_empty() {
        return Ok((document, None));
    }
    let whole: Value = serde_json::from_slice(bytes)?;
    let refused = unknown.into_iter().find_map(|key| {
        let name = name(place, &key);
        let strict = STRICT
            .iter()
            .any(|strict| name.strip_prefix(strict).is_some_and(|rest| rest.starts_with(['.', '['])));
        let asks = key.iter().try_fold(&whole, |value, part| match value {
            Value::Array(items) => items.get(part.parse::<usize>().ok()?),
            value => value.get(part),
        });
        (strict && !FOREIGN.contains(&name.as_str()) && asks.is_some_and(is_wish)).then_some(name)
    });
    Ok((document, refused))
}

fn parts(path: &Path<'_>) -> Vec<String> {
    let (parent, own) = match path {
        Path::Root => return Vec::new(),
        Path::Seq { parent, index } => (parent, Some(index.to_string())),
        Path::Map { parent, key } => (parent, Some(key.clone())),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            (parent, None)
        }
    };
    let mut parts = parts(parent);
    parts.extend(own);
    parts
}

/// `linux.seccomp.syscalls[3].index`
fn name(place: &str, key: &[String]) -> String {
    key.iter().fold(place.to_owned(), |mut name, part| {
        if part.parse::<usize>().is_ok() {
            let _ = write!(name, "[{part}]");
        } else {
            if !name.is_empty() {
                name.push('.');
            }
            name.push_str(part);
        }
        name
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Process, Spec};
    use super::*;

    #[track_caller]
    fn check(document: &str, expected: Option<&str>) {
        let (_, found) = read::<Spec>(document.as_bytes(), "").expect("a configuration");
        assert_eq!(found.as_deref(), expected, "{document}");
    }

    #[test]
    fn an_unknown_key_that_may_confine_is_refused() {
        let refused = [
            (r#"{"linux":{"memoryPolicy":{"mode":"MPOL_BIND"}}}"#, "linux.memoryPolicy"),
            (r#"{"linux":{"netDevices":{"eth0":{"name":"e"}}}}"#, "linux.netDevices"),
            (r#"{"linux":{"resources":{"rdma":{"mlx5_0":{"hcaHandles":3}}}}}"#, "linux.resources.rdma"),
            (r#"{"linux":{"resources":{"memory":{"limits":5}}}}"#, "linux.resources.memory.limits"),
            (r#"{"linux":{"maskedpaths":["/proc/kcore"]}}"#, "linux.maskedpaths"),
            (
                r#"{"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"action":"SCMP_ACT_KILL","includes":{"caps":["X"]}}]}}}"#,
                "linux.seccomp.syscalls[0].includes",
            ),
            (r#"{"process":{"args":["a"],"cwd":"/","landlock":{"x":1}}}"#, "process.landlock"),
            (r#"{"mounts":[{"destination":"/a","readonly":true}]}"#, "mounts[0].readonly"),
        ];
        for (document, key) in refused {
            check(document, Some(key));
        }
    }

    #[test]
    fn what_asks_for_nothing_or_is_for_others_is_ignored() {
        check(
            r#"{"linux":{"rdma":null,"x":{},"y":[],"z":0,"on":false},"process":{"commandLine":"x","user":{"uid":0,"gid":0,"username":"a"}}}"#,
            None,
        );
        check(r#"{"windows":{"layerFolders":["a"]},"vm":{"kernel":{"path":"/a"}},"extra":1}"#, None);
        check(r#"{"annotations":{"a":"b"}}"#, None);
    }

    #[test]
    fn a_process_by_itself_is_read_as_strictly() {
        let (_, found) =
            read::<Process>(br#"{"args":["a"],"cwd":"/","x":"y"}"#, "process").expect("a process");
        assert_eq!(found.as_deref(), Some("process.x"));
    }
}
