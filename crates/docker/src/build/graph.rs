//! `POST /build?version=2`: what docker 18.09 to 22 send, with the session from which the build gets its files.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use build::BuildOptions;
use buildkit::{Build, BuildFailed, Told};
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde::Deserialize;

use super::cancel::Running;
use super::options;
use super::run::CANCELLED;
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::fault::Fault;
use crate::version::ApiVersion;
use crate::wire::progress::Progress;

/// Who gets the result, as the query says it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Output {
    r#type: String,
    attrs: Option<BTreeMap<String, String>>,
}

/// A limit of the processes of a build.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ulimit {
    name: String,
    soft: i64,
    hard: i64,
}

/// Builds what the session and the query say.
pub(super) async fn build(call: Call) -> Answer {
    let options = options::read(&call)?;
    let build = read(&call, options)?;
    let running = call.api.builds.begin(call.query.text("buildid"));
    let told = call.api.buildkit.build(super::connection::owner(&call), build);
    let told = stream::unfold(Some((told.boxed(), running)), |state| async move {
        let (mut told, running): (_, Running) = state?;
        tokio::select! {
            next = told.next() => Some((line(next?), Some((told, running)))),
            () = running.cancelled() => Some((Progress::error(CANCELLED, None), None)),
        }
    });
    answer::stream("application/json", told.map(|line| Ok(Bytes::from(line.line()))))
}

fn line(told: Result<Told, BuildFailed>) -> Progress {
    match told {
        Ok(Told::Trace(bytes)) => Progress {
            id: Some("moby.buildkit.trace".to_owned()),
            aux: Some(STANDARD.encode(bytes).into()),
            ..Progress::default()
        },
        Ok(Told::Exported(told)) => match told.get("containerimage.digest") {
            Some(id) => Progress {
                id: Some("moby.image.id".to_owned()),
                aux: Some(serde_json::json!({"ID": id})),
                ..Progress::default()
            },
            // The client has it: there is no image.
            None => Progress::default(),
        },
        Err(error) => Progress::error(error.to_string(), None),
    }
}

fn read(call: &Call, options: BuildOptions) -> Result<Build, Fault> {
    let mut front = BTreeMap::new();
    let mut set = |name: &str, value: String| drop(front.insert(name.to_owned(), value));
    match &*options.remote {
        "client-session" => {}
        "" | "upload-request" => {
            return Err(Fault::unsupported(
                "a build of this version takes its context from a session or a URL",
            ));
        }
        remote => set("context", remote.to_owned()),
    }
    if !options.target.is_empty() {
        set("target", options.target);
    }
    if !matches!(&*options.dockerfile, "" | ".") {
        set("filename", options.dockerfile);
    }
    if !options.cache_from.is_empty() {
        set("cache-from", options.cache_from.join(","));
    }
    let inline_cache = options.args.get("BUILDKIT_INLINE_CACHE").cloned().flatten();
    for (name, value) in options.args {
        if let Some(value) = value {
            set(&format!("build-arg:{name}"), value);
        }
    }
    for (name, value) in options.labels {
        set(&format!("label:{name}"), value);
    }
    if options.no_cache {
        set("no-cache", String::new());
    }
    set("image-resolve-mode", if options.pull { "pull" } else { "default" }.to_owned());
    if let Some(platform) = options.platform {
        set("platform", platform);
    }
    let mut entitlements = Vec::new();
    match &*options.network {
        "" | "default" => {}
        "none" => set("force-network-mode", "none".to_owned()),
        "host" => {
            set("force-network-mode", "host".to_owned());
            entitlements.push("network.host".to_owned());
        }
        other => return Err(Fault::invalid(format!("network mode {other:?} not supported by buildkit"))),
    }
    if !options.extra_hosts.is_empty() {
        let gateway = &call.api.buildkit.about().host_gateway;
        let hosts: Vec<String> = options
            .extra_hosts
            .iter()
            .map(|host| match host.split_once(':') {
                Some((name, "host-gateway")) if !gateway.is_empty() => Ok(format!("{name}={gateway}")),
                Some((name, address)) if !name.is_empty() && !address.is_empty() => {
                    Ok(format!("{name}={address}"))
                }
                _ => Err(Fault::invalid(format!("invalid host {host}"))),
            })
            .collect::<Result<_, _>>()?;
        set("add-hosts", hosts.join(","));
    }
    if let Some(size) = options.shm_size {
        set("shm-size", size.to_string());
    }
    let ulimits: Option<Vec<Ulimit>> = match call.query.text("ulimits") {
        "" => None,
        text => serde_json::from_str(text).map_err(|error| Fault::invalid(format!("ulimits: {error}")))?,
    };
    let ulimits = ulimits.unwrap_or_default();
    if !ulimits.is_empty() {
        let one = |limit: &Ulimit| format!("{}={}:{}", limit.name, limit.soft, limit.hard);
        set("ulimit", ulimits.iter().map(one).collect::<Vec<_>>().join(","));
    }
    Ok(Build {
        session: call.query.text("session").to_owned(),
        front: "dockerfile.v0".to_owned(),
        options: front,
        exporter: exporter(call, options.tags)?,
        entitlements,
        inline_cache: inline_cache
            .is_some_and(|value| matches!(&*value, "1" | "t" | "true" | "TRUE" | "True")),
    })
}

fn exporter(call: &Call, tags: Vec<String>) -> Result<Option<(String, BTreeMap<String, String>)>, Fault> {
    let text =
        Some(call.query.text("outputs")).filter(|_| call.version >= ApiVersion(1, 40)).unwrap_or_default();
    let outputs: Option<Vec<Output>> = match text {
        "" => None,
        text => serde_json::from_str(text).map_err(|error| Fault::invalid(format!("outputs: {error}")))?,
    };
    let mut outputs = outputs.unwrap_or_default().into_iter();
    let (kind, mut attributes) = match (outputs.next(), outputs.next()) {
        (None, _) => ("moby".to_owned(), BTreeMap::new()),
        (Some(output), None) if output.r#type == "cacheonly" => return Ok(None),
        (Some(output), None) => (output.r#type, output.attrs.unwrap_or_default()),
        (Some(_), Some(_)) => return Err(Fault::invalid("multiple outputs not supported")),
    };
    if matches!(&*kind, "moby" | "image") && !tags.is_empty() {
        attributes.insert("name".to_owned(), tags.join(","));
    }
    Ok(Some((kind, attributes)))
}
