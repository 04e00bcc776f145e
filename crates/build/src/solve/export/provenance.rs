//! Where a result comes from, in the words of SLSA, as BuildKit says it.

use std::collections::{BTreeMap, BTreeSet};

use base::Timestamp;
use llb::pb;
use llb::pb::op::Op;
use oci::{Digest, Platform, Reference};
use serde_json::{Map, Value, json};

use super::attest::{Said, own};
use super::parts::Part;
use crate::solve::job::{Asked, Job, OWN_FRONT};
use crate::solve::{SolveError, now};

const TYPE_1: &str = "https://slsa.dev/provenance/v1";
const TYPE_02: &str = "https://slsa.dev/provenance/v0.2";
const BUILD_TYPE_1: &str =
    "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
const BUILD_TYPE_02: &str = "https://mobyproject.org/buildkit@v1";
/// Options of a front end that say something of this host.
const OF_HOST: [&str; 4] = ["cgroup-parent", "image-resolve-mode", "platform", "cache-imports"];

/// How much is said, and in which words.
struct Settings {
    is_max: bool,
    is_v02: bool,
    reproducible: bool,
    inline_only: bool,
    complete: bool,
    builder: String,
    file: String,
}

/// What was used.
#[derive(Debug, Default)]
struct Capture {
    /// Each with its digests: `(uri, algorithm, digest)`.
    materials: Vec<(String, String, String)>,
    /// By what a context would be named.
    named: BTreeMap<String, (String, String)>,
    /// Which of them are repositories.
    repositories: BTreeSet<String>,
    locals: Vec<String>,
    secrets: BTreeMap<String, bool>,
    agents: BTreeMap<String, bool>,
    network: bool,
    incomplete: bool,
}

/// What was brought for a source: `(algorithm, digest)`.
pub(crate) type Pin = (String, String);

/// What is said of where a part comes from, if that is wanted.
pub(super) async fn said(job: &Job, part: &Part, all: &[Part]) -> Result<Option<Said>, SolveError> {
    let Some(attributes) = job.options().attestations.get("provenance") else { return Ok(None) };
    // Nothing comes from nowhere.
    let Some(reference) = &part.reference else { return Ok(None) };
    let settings = Settings::read(attributes)?;
    reference.evaluate().await?;
    let (definition, asked) = (reference.graph().definition(), reference.asked().cloned());
    let pins = job.pins();
    // What a front end looked into counts, results for other platforms do not.
    let result = |graph: &llb::Graph| Some(graph.vertex(graph.result()?.vertex).digest.clone());
    let others: Vec<Option<Digest>> =
        all.iter().filter_map(|part| Some(result(part.reference.as_ref()?.graph()))).collect();
    let looked_into = job.solved().into_iter().filter(|graph| !others.contains(&result(graph)));
    let mut definitions = vec![definition.clone()];
    definitions.extend(looked_into.map(|graph| graph.definition()));
    let capture = Capture::of(&definitions, &pins, &job.platform());
    if settings.complete && (capture.incomplete || !capture.locals.is_empty()) {
        let mut problem = "provenance materials are incomplete\n\nThe build requested complete provenance materials, but not all dependencies could be captured.".to_owned();
        for local in &capture.locals {
            problem.push_str(&format!("\n  - {local}\n    reason: local_source"));
        }
        return Err(SolveError::Invalid(problem));
    }
    let build = settings.is_max.then(|| build_config(&definition));
    let times = (job.started(), now());
    let predicate = predicate(&settings, &capture, asked.as_deref(), build, &job.invocation(), times);
    let bytes = serde_json::to_vec_pretty(&predicate).map_err(super::config::broken)?;
    let of = if settings.is_v02 { TYPE_02 } else { TYPE_1 };
    Ok(Some(own(of, settings.file, settings.inline_only, bytes)))
}

impl Settings {
    fn read(attributes: &BTreeMap<String, String>) -> Result<Self, SolveError> {
        let invalid = |problem: String| SolveError::Invalid(problem);
        let get = |key: &str| attributes.get(key).map(String::as_str);
        let flag = |key: &str| {
            get(key).map_or(Ok(false), |text| {
                base::truth::parse(text)
                    .ok_or_else(|| invalid(format!("failed to parse {key} flag {text:?}")))
            })
        };
        if flag("capture-usage")? {
            return Err(SolveError::Unsupported(
                "provenance: capture-usage is not supported: what commands used is not recorded".to_owned(),
            ));
        }
        Ok(Self {
            is_max: match get("mode") {
                None | Some("max" | "full") => true,
                Some("min") => false,
                Some(other) => return Err(invalid(format!("invalid mode {other:?}"))),
            },
            is_v02: match get("version") {
                None | Some("v1") => false,
                Some("v0.2") => true,
                Some("") => return Err(invalid("provenance SLSA version cannot be empty".to_owned())),
                Some(other) => return Err(invalid(format!("invalid provenance SLSA version: {other}"))),
            },
            reproducible: flag("reproducible")?,
            inline_only: flag("inline-only")?,
            complete: flag("complete-materials")?,
            builder: get("builder-id").unwrap_or_default().to_owned(),
            file: get("filename").unwrap_or("provenance.json").to_owned(),
        })
    }
}

impl Capture {
    fn of(definitions: &[pb::Definition], pins: &BTreeMap<Digest, Pin>, platform: &Platform) -> Self {
        let mut capture = Self::default();
        for bytes in definitions.iter().flat_map(|definition| &definition.def) {
            let Ok(op) = <pb::Op as prost::Message>::decode(bytes.as_ref()) else { continue };
            let pin = pins.get(&Digest::sha256_of(bytes));
            match &op.op {
                Some(Op::Source(source)) => {
                    let wanted = op.platform.as_ref().filter(|of| !of.os.is_empty());
                    let platform = match wanted {
                        Some(of) => Platform::new(&of.os, &of.architecture, &of.variant),
                        None => platform.clone(),
                    };
                    capture.source(source, pin, &platform);
                }
                Some(Op::Exec(exec)) => capture.exec(exec),
                Some(Op::Build(_)) => capture.incomplete = true,
                _ => {}
            }
        }
        // Images first, then repositories, then what addresses gave.
        let of_sort = |(uri, ..): &(String, String, String)| match uri.starts_with("pkg:") {
            true => 0,
            false => 1 + usize::from(!capture.repositories.contains(uri)),
        };
        capture.materials.sort_by_cached_key(|material| (of_sort(material), material.clone()));
        capture.materials.dedup();
        capture.locals.sort();
        capture.locals.dedup();
        capture
    }

    fn source(&mut self, source: &pb::SourceOp, pin: Option<&Pin>, platform: &Platform) {
        let identifier = source.identifier.as_str();
        let (scheme, rest) = identifier.split_once("://").unwrap_or(("", identifier));
        let (uri, named) = match scheme {
            "docker-image" => match Reference::parse(rest) {
                Ok(reference) => (package_url("docker", &tagged(&reference), Some(platform)), None),
                Err(_) => return,
            },
            "oci-layout" => match Reference::parse(rest) {
                Ok(reference) => (package_url("oci", &tagged(&reference), Some(platform)), None),
                Err(_) => return,
            },
            "git" => {
                for (key, of) in [("git.authtokensecret", true), ("git.authheadersecret", true)] {
                    if let Some(id) = source.attrs.get(key) {
                        self.secrets.entry(id.clone()).or_insert(of);
                    }
                }
                if let Some(id) = source.attrs.get("git.mountsshsock") {
                    self.agents.entry(id.clone()).or_insert(true);
                }
                let (address, fragment) = rest.split_once('#').unwrap_or((rest, ""));
                let remote = source.attrs.get("git.fullurl").cloned();
                let remote = remote.unwrap_or_else(|| format!("https://{address}"));
                let reference = fragment.split(':').next().unwrap_or_default();
                let uri = match reference {
                    "" => remote,
                    reference => format!("{remote}#{reference}"),
                };
                let uri = redacted(&uri);
                self.repositories.insert(uri.clone());
                (uri.clone(), Some(uri))
            }
            // What only this client has is no material.
            "http" if rest.starts_with("buildkit-session/") => {
                self.incomplete = true;
                return;
            }
            "http" | "https" => {
                let uri = redacted(identifier);
                (uri.clone(), Some(uri))
            }
            "local" => {
                self.locals.push(rest.to_owned());
                return;
            }
            _ => {
                self.incomplete = true;
                return;
            }
        };
        let (algorithm, digest) = pin.cloned().unwrap_or_default();
        if let Some(named) = named {
            self.named.insert(named, (algorithm.clone(), digest.clone()));
        }
        self.materials.push((uri, algorithm, digest));
    }

    fn exec(&mut self, exec: &pb::ExecOp) {
        let mut secret = |id: &str, optional: bool| {
            let known = self.secrets.entry(id.to_owned()).or_insert(optional);
            *known &= optional;
        };
        for mount in &exec.mounts {
            if let Some(option) = &mount.secret_opt {
                secret(&option.id, option.optional);
            }
        }
        for variable in &exec.secretenv {
            secret(&variable.id, variable.optional);
        }
        for option in exec.mounts.iter().filter_map(|mount| mount.ssh_opt.as_ref()) {
            let id = if option.id.is_empty() { "default" } else { &option.id };
            let known = self.agents.entry(id.to_owned()).or_insert(option.optional);
            *known &= option.optional;
        }
        self.network |= exec.network != pb::NetMode::None as i32;
    }
}

/// The whole of it, in version 1 or 0.2.
fn predicate(
    settings: &Settings,
    capture: &Capture,
    asked: Option<&Asked>,
    build: Option<(Value, Value)>,
    invocation: &str,
    (started, finished): (Timestamp, Timestamp),
) -> Value {
    let materials: Vec<Value> = capture
        .materials
        .iter()
        .map(|(uri, algorithm, digest)| match digest.is_empty() {
            true => json!({ "uri": uri }),
            false => json!({ "uri": uri, "digest": { algorithm: digest } }),
        })
        .collect();
    let mut request = Map::new();
    let mut source = Map::new();
    let mut vcs = Map::new();
    let mut is_whole = false;
    if let Some(asked) = asked {
        request.insert("frontend".to_owned(), asked.front.clone().into());
        is_whole = true;
        let mut arguments = arguments(&asked.options);
        let context = match arguments.get("contextkey").filter(|key| !key.is_empty()) {
            Some(key) => key.clone(),
            None => "context".to_owned(),
        };
        if let Some(named) = arguments.remove(&context).filter(|named| !named.is_empty()) {
            let digest = capture.named.get(&named).filter(|(_, digest)| !digest.is_empty());
            source.insert("uri".to_owned(), named.into());
            if let Some((algorithm, digest)) = digest {
                source.insert("digest".to_owned(), json!({ algorithm: digest }));
            }
        }
        if let Some(file) = arguments.remove("filename").filter(|file| !file.is_empty()) {
            source.insert(if settings.is_v02 { "entryPoint" } else { "path" }.to_owned(), file.into());
        }
        arguments.retain(|key, value| match key.strip_prefix("vcs:") {
            Some(key) => {
                if !value.is_empty() {
                    let value = if key == "source" { redacted(value) } else { value.clone() };
                    vcs.insert(key.to_owned(), value.into());
                }
                false
            }
            None => true,
        });
        if !settings.is_max {
            let before = arguments.len();
            arguments.retain(|key, _| !key.starts_with("build-arg:") && !key.starts_with("label:"));
            is_whole = arguments.len() == before;
        }
        if !arguments.is_empty() {
            request.insert("args".to_owned(), json!(arguments));
        }
    }
    let listed = |known: &BTreeMap<String, bool>| -> Vec<Value> {
        let one = |(id, optional): (&String, &bool)| match optional {
            true => json!({ "id": id, "optional": true }),
            false => json!({ "id": id }),
        };
        known.iter().map(one).collect()
    };
    for (key, known) in [("secrets", &capture.secrets), ("ssh", &capture.agents)] {
        if settings.is_max && !known.is_empty() {
            request.insert(key.to_owned(), listed(known).into());
        }
    }
    if !capture.locals.is_empty() {
        let locals: Vec<Value> = capture.locals.iter().map(|name| json!({ "name": name })).collect();
        request.insert("locals".to_owned(), locals.into());
    }
    let is_complete = !capture.incomplete && capture.locals.is_empty();
    let is_hermetic = is_complete && !capture.network;
    let mut more = Map::new();
    if !vcs.is_empty() {
        more.insert("vcs".to_owned(), vcs.into());
    }
    let (build_config, sources) = build.unzip();
    if let Some(sources) = sources.filter(|sources| !sources.is_null()) {
        more.insert("source".to_owned(), sources);
    }
    let platform = Platform::host().normalised().to_string();
    let is_own = asked.is_some_and(|asked| asked.front == OWN_FRONT);
    if settings.is_v02 {
        let mut environment = json!({ "platform": platform });
        if is_own {
            environment["dockerfileVersion"] = ::dockerfile::REFERENCE.into();
        }
        let mut all = Map::new();
        all.insert("builder".to_owned(), json!({ "id": settings.builder }));
        all.insert("buildType".to_owned(), BUILD_TYPE_02.into());
        if !materials.is_empty() {
            all.insert("materials".to_owned(), materials.into());
        }
        all.insert(
            "invocation".to_owned(),
            json!({ "configSource": source, "parameters": request, "environment": environment }),
        );
        if let Some(build) = build_config {
            all.insert("buildConfig".to_owned(), build);
        }
        let mut metadata = json!({
            "buildInvocationID": invocation,
            "buildStartedOn": started.to_string(),
            "buildFinishedOn": finished.to_string(),
            "completeness": { "parameters": is_whole, "environment": true, "materials": is_complete },
            "reproducible": settings.reproducible,
            "https://mobyproject.org/buildkit@v1#metadata": more,
        });
        if is_hermetic {
            metadata["https://mobyproject.org/buildkit@v1#hermetic"] = true.into();
        }
        all.insert("metadata".to_owned(), metadata);
        return all.into();
    }
    let mut definition = Map::new();
    definition.insert("buildType".to_owned(), BUILD_TYPE_1.into());
    if !materials.is_empty() {
        definition.insert("resolvedDependencies".to_owned(), materials.into());
    }
    definition.insert("externalParameters".to_owned(), json!({ "configSource": source, "request": request }));
    let mut internal = Map::new();
    if let Some(build) = build_config {
        internal.insert("buildConfig".to_owned(), build);
    }
    internal.insert("builderPlatform".to_owned(), platform.into());
    if is_own {
        internal.insert("dockerfileVersion".to_owned(), ::dockerfile::REFERENCE.into());
    }
    definition.insert("internalParameters".to_owned(), internal.into());
    let mut metadata = json!({
        "invocationId": invocation,
        "startedOn": started.to_string(),
        "finishedOn": finished.to_string(),
        "buildkit_metadata": more,
    });
    if is_hermetic {
        metadata["buildkit_hermetic"] = true.into();
    }
    metadata["buildkit_completeness"] = json!({ "request": is_whole, "resolvedDependencies": is_complete });
    if settings.reproducible {
        metadata["buildkit_reproducible"] = true.into();
    }
    json!({
        "buildDefinition": definition,
        "runDetails": { "builder": { "id": settings.builder }, "metadata": metadata },
    })
}

/// What a front end was told, without what is this host's and without passwords.
fn arguments(options: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let context = options.get("contextkey").map_or("context", String::as_str);
    let shown = |(key, value): (&String, &String)| {
        let names_context = key == context || key.starts_with("context:");
        (key.clone(), if names_context { redacted(value) } else { value.clone() })
    };
    let is_ours = |key: &str| !OF_HOST.contains(&key) && !key.starts_with("attest:");
    options.iter().filter(|(key, _)| is_ours(key)).map(shown).collect()
}

/// An address without the password in it.
fn redacted(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (host, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    match host.rsplit_once('@') {
        Some((user, host)) if user.contains(':') => format!("{scheme}://xxxxx:xxxxx@{host}{path}"),
        Some((_, host)) if scheme.starts_with("http") => format!("{scheme}://xxxxx@{host}{path}"),
        _ => address.to_owned(),
    }
}

/// A name without its digest, where it has a tag: what was found under it says the digest.
fn tagged(reference: &Reference) -> Reference {
    match reference.tag() {
        Some(tag) if reference.digest().is_some() => {
            reference.with_tag(tag).unwrap_or_else(|_| reference.clone())
        }
        _ => reference.clone(),
    }
}

/// An image's name as a package URL.
pub(super) fn package_url(kind: &str, name: &Reference, platform: Option<&Platform>) -> String {
    let name = if name.digest().is_some() { name.clone() } else { name.with_default_tag() };
    let mut url = format!("pkg:{kind}/{}", name.familiar_name());
    if let Some(tag) = name.tag() {
        url.push('@');
        url.push_str(tag);
    }
    let digest = name.digest().map(|digest| ("digest", digest.to_string()));
    let platform = platform.map(|platform| ("platform", platform.normalised().to_string()));
    for (number, (key, value)) in digest.into_iter().chain(platform).enumerate() {
        url.push(if number == 0 { '?' } else { '&' });
        let value = value.replace('/', "%2F");
        url.push_str(&format!("{key}={value}"));
    }
    url
}

/// The definition step by step, and where it was written down.
fn build_config(definition: &pb::Definition) -> (Value, Value) {
    let (steps, numbers) = steps(definition);
    let config = json!({ "llbDefinition": steps, "digestMapping": mapping(&numbers) });
    let Some(source) = definition.source.as_ref().filter(|source| !source.infos.is_empty()) else {
        return (config, Value::Null);
    };
    let mut locations = Map::new();
    for (digest, of) in &source.locations {
        let Some(number) = numbers.iter().position(|known| known.to_string() == *digest) else { continue };
        locations.insert(format!("step{number}"), locations_of(of));
    }
    let infos: Vec<Value> = source
        .infos
        .iter()
        .map(|info| {
            use base64::Engine as _;
            let mut shown = json!({
                "filename": info.filename,
                "language": info.language,
                "data": base64::prelude::BASE64_STANDARD.encode(&info.data),
            });
            if let Some(definition) = &info.definition {
                let (steps, numbers) = self::steps(definition);
                shown["llbDefinition"] = steps.into();
                shown["digestMapping"] = mapping(&numbers);
            }
            shown
        })
        .collect();
    (config, json!({ "locations": locations, "infos": infos }))
}

fn mapping(numbers: &[Digest]) -> Value {
    let one = |(number, digest): (usize, &Digest)| (digest.to_string(), format!("step{number}").into());
    numbers.iter().enumerate().map(one).collect::<Map<_, _>>().into()
}

fn locations_of(locations: &pb::Locations) -> Value {
    let position = |position: Option<pb::Position>| {
        let position = position.unwrap_or_default();
        json!({ "line": position.line, "character": position.character })
    };
    let range = |range: &pb::Range| json!({ "start": position(range.start), "end": position(range.end) });
    let location = |location: &pb::Location| {
        let ranges: Vec<Value> = location.ranges.iter().map(range).collect();
        json!({ "sourceIndex": location.source_index, "ranges": ranges })
    };
    json!({ "locations": locations.locations.iter().map(location).collect::<Vec<_>>() })
}

/// The operations of a definition, each after what it stands on, and their digests.
fn steps(definition: &pb::Definition) -> (Vec<Value>, Vec<Digest>) {
    let numbers: Vec<Digest> = definition.def.iter().map(|bytes| Digest::sha256_of(bytes)).collect();
    let steps = definition.def.iter().enumerate().filter_map(|(number, bytes)| {
        let mut op = <pb::Op as prost::Message>::decode(bytes.as_ref()).ok()?;
        if let Some(Op::Source(source)) = &mut op.op {
            source.attrs.retain(|key, _| key != "local.session" && key != "local.unique");
        }
        let input = |input: &pb::Input| {
            let at = numbers.iter().position(|digest| digest.to_string() == input.digest);
            Some(format!("step{}:{}", at?, input.index))
        };
        let inputs: Vec<String> = op.inputs.iter().filter_map(input).collect();
        let mut step = json!({ "id": format!("step{number}"), "op": super::ops::shown(&op) });
        if !inputs.is_empty() {
            step["inputs"] = inputs.into();
        }
        Some(step)
    });
    (steps.collect(), numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_have_package_addresses() {
        let digest = Digest::sha256_of(b"x").to_string();
        let amd = "linux/amd64".parse::<Platform>().expect("a platform");
        for (name, platform, expected) in [
            ("alpine", None, "pkg:docker/alpine@latest".to_owned()),
            ("ghcr.io/foo/bar:v2", None, "pkg:docker/ghcr.io/foo/bar@v2".to_owned()),
            ("busybox", Some(&amd), "pkg:docker/busybox@latest?platform=linux%2Famd64".to_owned()),
            (
                &format!("busybox@{digest}"),
                Some(&amd),
                format!("pkg:docker/busybox?digest={digest}&platform=linux%2Famd64"),
            ),
        ] {
            let name = Reference::parse(name).expect(name);
            assert_eq!(package_url("docker", &name, platform), expected);
        }
    }

    #[test]
    fn passwords_are_not_told() {
        for (address, expected) in [
            ("https://me:secret@example.org/x?y=a@b", "https://xxxxx:xxxxx@example.org/x?y=a@b"),
            ("https://token@example.org/x", "https://xxxxx@example.org/x"),
            ("ssh://git@example.org/x", "ssh://git@example.org/x"),
            ("https://example.org/a@b", "https://example.org/a@b"),
            ("a/context", "a/context"),
        ] {
            assert_eq!(redacted(address), expected);
        }
    }

    /// What is told of a request with these options, with one image and a client's files.
    fn told(settings: &[(&str, &str)], options: &[(&str, &str)]) -> Value {
        let of = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let settings = Settings::read(&of(settings)).expect("settings");
        let mut builder = llb::Builder::new();
        let source =
            |name: &str| Op::Source(pb::SourceOp { identifier: name.to_owned(), ..pb::SourceOp::default() });
        let digest = Digest::sha256_of(b"image");
        let image = builder.add(
            source(&format!("docker-image://docker.io/library/a:1@{digest}")),
            &[],
            None,
            Default::default(),
        );
        let files = builder.add(source("local://context"), &[], None, Default::default());
        let pins = BTreeMap::from([(image.digest.clone(), ("sha256".to_owned(), digest.hex().to_owned()))]);
        let definitions = [builder.clone().finish(Some(&image)), builder.finish(Some(&files))];
        let platform = "linux/arm64".parse().expect("a platform");
        let capture = Capture::of(&definitions, &pins, &platform);
        let mut options = of(options);
        options.insert("source".to_owned(), "docker/dockerfile:1".to_owned());
        let asked = Asked::of("gateway.v0", &options);
        let at: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        predicate(&settings, &capture, Some(&asked), None, "id", (at, at))
    }

    #[test]
    fn materials_have_an_order() {
        let names = ["http://a/b", "git://b/c.git", "docker-image://docker.io/library/z:1", "https://a/a"];
        let definitions = names.map(|name| {
            let mut builder = llb::Builder::new();
            let source = pb::SourceOp { identifier: name.to_owned(), ..pb::SourceOp::default() };
            let output = builder.add(Op::Source(source), &[], None, Default::default());
            builder.finish(Some(&output))
        });
        let host = "linux/amd64".parse().expect("a platform");
        let capture = Capture::of(&definitions, &BTreeMap::new(), &host);
        let uris: Vec<&str> = capture.materials.iter().map(|(uri, ..)| uri.as_str()).collect();
        let expected =
            ["pkg:docker/z@1?platform=linux%2Famd64", "https://b/c.git", "http://a/b", "https://a/a"];
        assert_eq!(uris, expected);
    }

    #[test]
    fn little_is_told_without_arguments_and_much_with_them() {
        let options = [
            ("build-arg:A", "1"),
            ("filename", "Dockerfile"),
            ("context", "https://u:p@example.org/x.git"),
            ("vcs:source", "https://u:p@example.org/x.git"),
            ("attest:provenance", "mode=min"),
            ("platform", "linux/arm64"),
            ("target", "t"),
        ];
        let least = told(&[("mode", "min"), ("builder-id", "me")], &options);
        let request = &least["buildDefinition"]["externalParameters"]["request"];
        assert_eq!(
            request.to_string(),
            r#"{"frontend":"dockerfile.v0","args":{"target":"t"},"locals":[{"name":"context"}]}"#
        );
        let source = &least["buildDefinition"]["externalParameters"]["configSource"];
        assert_eq!(
            source.to_string(),
            r#"{"uri":"https://xxxxx:xxxxx@example.org/x.git","path":"Dockerfile"}"#
        );
        let materials = &least["buildDefinition"]["resolvedDependencies"];
        assert_eq!(materials[0]["uri"], "pkg:docker/a@1?platform=linux%2Farm64");
        assert_eq!(materials[0]["digest"]["sha256"], Digest::sha256_of(b"image").hex());
        let details = &least["runDetails"];
        assert_eq!(details["builder"]["id"], "me");
        assert_eq!(
            details["metadata"]["buildkit_completeness"].to_string(),
            r#"{"request":false,"resolvedDependencies":false}"#
        );
        assert_eq!(
            details["metadata"]["buildkit_metadata"]["vcs"]["source"],
            "https://xxxxx:xxxxx@example.org/x.git"
        );
        let most = told(&[("version", "v0.2")], &options);
        assert_eq!(most["invocation"]["parameters"]["args"]["build-arg:A"], "1");
        assert_eq!(most["invocation"]["configSource"]["entryPoint"], "Dockerfile");
        assert_eq!(most["metadata"]["completeness"]["parameters"], true);
        let version = ::dockerfile::REFERENCE;
        assert_eq!(most["invocation"]["environment"]["dockerfileVersion"], version);
        assert_eq!(least["buildDefinition"]["internalParameters"]["dockerfileVersion"], version);
        assert_eq!(most["materials"][0]["uri"], "pkg:docker/a@1?platform=linux%2Farm64");
    }

    #[test]
    fn what_is_not_done_is_refused() {
        let refused = |key: &str, value: &str| {
            let settings = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            Settings::read(&settings).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(refused("mode", "some"), "invalid mode \"some\"");
        assert_eq!(refused("version", "v2"), "invalid provenance SLSA version: v2");
        assert!(refused("capture-usage", "true").contains("not supported"));
        assert_eq!(refused("reproducible", "x"), "failed to parse reproducible flag \"x\"");
    }
}
