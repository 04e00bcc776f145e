//! `POST /build?version=2`: what docker 18.09 to 22 send, with the session from which the build gets its files,
//! and what programs send that have the context in the body.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use build::BuildOptions;
use build::solve::{SessionError, Upload};
use buildkit::{Build, BuildFailed, Told};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;

use super::cancel::Running;
use super::run::CANCELLED;
use super::{options, uploads};
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::fault::Fault;
use crate::query::Query;
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

/// Builds what the session, the body and the query say.
pub(super) async fn build(mut call: Call) -> Answer {
    let id = call.query.text("buildid").to_owned();
    if let Some(id) = uploads::brought(&id) {
        return uploads::bring(call, id).await;
    }
    let options = options::read(&call)?;
    let gateway = call.api.buildkit.about().host_gateway.clone();
    let context = match &*options.remote {
        "" => Some(call.body_stream()?),
        uploads::REMOTE => Some(call.api.uploads.wait(super::connection::owner(&call), &id).await?),
        _ => None,
    };
    let context = context.map(|pieces| -> Upload {
        Box::pin(pieces.map_err(|error| SessionError::Failed(format!("read the build's context: {error}"))))
    });
    let build = read(&call.query, call.version, &gateway, options)?;
    let running = call.api.builds.begin(&id);
    let told = call.api.buildkit.build(super::connection::owner(&call), build, context);
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

/// What is to be built; containers reach the host by the address `gateway`.
fn read(query: &Query, version: ApiVersion, gateway: &str, options: BuildOptions) -> Result<Build, Fault> {
    let mut front = BTreeMap::new();
    let mut set = |name: &str, value: String| drop(front.insert(name.to_owned(), value));
    match &*options.remote {
        // Where it is then is known to who has it.
        "client-session" | "" | uploads::REMOTE => {}
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
    let ulimits: Option<Vec<Ulimit>> = match query.text("ulimits") {
        "" => None,
        text => serde_json::from_str(text).map_err(|error| Fault::invalid(format!("ulimits: {error}")))?,
    };
    let ulimits = ulimits.unwrap_or_default();
    if !ulimits.is_empty() {
        let one = |limit: &Ulimit| format!("{}={}:{}", limit.name, limit.soft, limit.hard);
        set("ulimit", ulimits.iter().map(one).collect::<Vec<_>>().join(","));
    }
    Ok(Build {
        session: query.text("session").to_owned(),
        front: "dockerfile.v0".to_owned(),
        options: front,
        exporter: exporter(query, version, options.tags)?,
        entitlements,
        inline_cache: inline_cache.is_some_and(|value| base::truth::parse(&value) == Some(true)),
    })
}

/// The kind of an exporter, and its attributes.
type Exporter = (String, BTreeMap<String, String>);

/// Where the result goes; nowhere if only the cache is wanted.
fn exporter(query: &Query, version: ApiVersion, tags: Vec<String>) -> Result<Option<Exporter>, Fault> {
    let text = Some(query.text("outputs")).filter(|_| version >= ApiVersion(1, 40)).unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str, version: ApiVersion) -> Result<Build, String> {
        let query = Query::parse(query);
        let options = options::from_query(&query).expect("options");
        read(&query, version, "172.17.0.1", options).map_err(|fault| fault.message)
    }

    #[test]
    fn a_query_becomes_a_front_end_s_options() {
        let query = "version=2&session=abc&remote=client-session&t=a:1&t=b&target=last&dockerfile=D&nocache=1&pull=1\
                     &buildargs=%7B%22A%22%3A%221%22%2C%22B%22%3Anull%2C%22BUILDKIT_INLINE_CACHE%22%3A%221%22%7D\
                     &labels=%7B%22L%22%3A%22v%22%7D&networkmode=host&extrahosts=h%3A1.2.3.4&extrahosts=g%3Ahost-gateway\
                     &shmsize=64&platform=linux%2Famd64&cachefrom=%5B%22x%22%5D\
                     &ulimits=%5B%7B%22Name%22%3A%22nofile%22%2C%22Hard%22%3A9%2C%22Soft%22%3A8%7D%5D";
        let build = of(query, ApiVersion(1, 41)).expect("a build");
        let expected = [
            ("add-hosts", "h=1.2.3.4,g=172.17.0.1"),
            ("build-arg:A", "1"),
            ("build-arg:BUILDKIT_INLINE_CACHE", "1"),
            ("cache-from", "x"),
            ("filename", "D"),
            ("force-network-mode", "host"),
            ("image-resolve-mode", "pull"),
            ("label:L", "v"),
            ("no-cache", ""),
            ("platform", "linux/amd64"),
            ("shm-size", "64"),
            ("target", "last"),
            ("ulimit", "nofile=8:9"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(build.options, BTreeMap::from(expected));
        assert_eq!((build.session.as_str(), build.front.as_str()), ("abc", "dockerfile.v0"));
        assert_eq!(build.entitlements, ["network.host"]);
        assert!(build.inline_cache);
        let name = BTreeMap::from([("name".to_owned(), "a:1,b".to_owned())]);
        assert_eq!(build.exporter, Some(("moby".to_owned(), name)));
    }

    #[test]
    fn who_gets_the_result_is_what_the_version_knows() {
        let local =
            "remote=client-session&outputs=%5B%7B%22Type%22%3A%22local%22%2C%22Attrs%22%3A%7B%7D%7D%5D";
        let exporter = |query: &str, version| of(query, version).expect("a build").exporter;
        assert_eq!(exporter(local, ApiVersion(1, 40)), Some(("local".to_owned(), BTreeMap::new())));
        assert_eq!(exporter(local, ApiVersion(1, 39)), Some(("moby".to_owned(), BTreeMap::new())));
        let none = "remote=client-session&outputs=%5B%7B%22Type%22%3A%22cacheonly%22%7D%5D";
        assert_eq!(exporter(none, ApiVersion(1, 41)), None);
        let git = of("remote=https%3A%2F%2Fx%2Fy.git", ApiVersion(1, 41)).expect("a build");
        assert_eq!(git.options["context"], "https://x/y.git");
        for (query, expected) in [
            ("remote=client-session&networkmode=mine", "network mode \"mine\" not supported by buildkit"),
            ("remote=client-session&extrahosts=h", "invalid host h"),
        ] {
            let refused = of(query, ApiVersion(1, 41)).expect_err(expected);
            assert!(refused.contains(expected), "{refused}");
        }
    }
}
