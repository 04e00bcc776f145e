//! What clients say of how a result is handed over.

use std::collections::{BTreeMap, BTreeSet};

use base::Timestamp;
use image::{Compression, MediaTypes, Packing};
use oci::{Platform, Reference};

use super::Exporter;
use crate::solve::SolveError;

/// Everything that is said of images, as far as it is known here.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes {
    /// The names that the image is to have.
    pub(super) names: Vec<Reference>,
    pub(super) push: bool,
    pub(super) push_by_digest: bool,
    /// Whether it goes into the image store.
    pub(super) store: bool,
    pub(super) name_canonical: bool,
    pub(super) dangling_prefix: Option<String>,
    pub(super) dangling_empty_only: bool,
    /// OCI's names; nothing is said where there is none.
    pub(super) oci_types: Option<bool>,
    /// Whether attestations hang on the image as artefacts do.
    pub(super) oci_artifact: Option<bool>,
    pub(super) packing: Packing,
    /// Whether anything is said of how layers are packed.
    pub(super) is_packed: bool,
    pub(super) rewrite: bool,
    /// What is said of the latest time: nothing, that there is none, or which.
    pub(super) epoch: Option<Option<Timestamp>>,
    pub(super) annotations: Annotations,
    /// Whether what an exporter makes is one file.
    pub(super) tar: bool,
    pub(super) attestation_prefix: String,
    pub(super) platform_split: Option<bool>,
    /// Whether attestations that are for images alone go along.
    pub(super) inline_attestations: Option<bool>,
    /// What is known to nobody.
    pub(super) unknown: BTreeSet<String>,
}

/// What is said of documents and of what points at them, by key.
pub(super) type Said = BTreeMap<String, String>;

/// Annotations, by what they are of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Annotations {
    pub(super) index: Said,
    pub(super) index_descriptor: Said,
    /// Of all manifests (no platform), or of one.
    pub(super) manifest: BTreeMap<Option<String>, Said>,
    pub(super) manifest_descriptor: BTreeMap<Option<String>, Said>,
}

impl Attributes {
    /// Reads what an exporter is told. `named` is the name that a front end gave, for `name=*`.
    pub(super) fn read(exporter: &Exporter, named: Option<&str>) -> Result<Self, SolveError> {
        let mut read = Self { tar: true, store: true, ..Self::default() };
        for (key, value) in &exporter.attributes {
            match key.as_str() {
                "name" => read.names = names(if value == "*" { named.unwrap_or_default() } else { value })?,
                "push" => read.push = is_on(key, value)?,
                "push-by-digest" => read.push_by_digest = is_on(key, value)?,
                "store" => read.store = is_on(key, value)?,
                "name-canonical" => read.name_canonical = is_on(key, value)?,
                "dangling-name-prefix" => {
                    read.dangling_prefix = Some(value.clone()).filter(|prefix| !prefix.is_empty());
                }
                // As it has been spelt from the first day.
                "danging-name-empty-only" => read.dangling_empty_only = is_on(key, value)?,
                "oci-mediatypes" => read.oci_types = Some(is_on(key, value)?),
                "oci-artifact" => read.oci_artifact = Some(is_on(key, value)?),
                "compression" => {
                    read.packing.compression = value
                        .parse::<Compression>()
                        .map_err(|error| SolveError::Unsupported(error.to_string()))?;
                    read.is_packed = true;
                }
                "compression-level" => {
                    let level = value.parse::<i32>().map_err(|_| {
                        SolveError::Invalid(format!("non-int value {value} specified for {key}"))
                    })?;
                    (read.packing.level, read.is_packed) = (Some(level), true);
                }
                "force-compression" => {
                    read.packing.force = is_on(key, value)?;
                    read.is_packed |= read.packing.force;
                }
                "rewrite-timestamp" => read.rewrite = is_on(key, value)?,
                "source-date-epoch" => read.epoch = Some(epoch(key, value)?),
                "tar" => read.tar = is_on(key, value)?,
                "attestation-prefix" => read.attestation_prefix.clone_from(value),
                "platform-split" => read.platform_split = Some(is_on(key, value)?),
                "attestation-inline" => read.inline_attestations = Some(is_on(key, value)?),
                "prefer-nondist-layers" if is_on(key, value)? => {
                    return Err(SolveError::Unsupported(
                        "prefer-nondist-layers: layers that are not to be given on are not supported".into(),
                    ));
                }
                // Nothing is to be done: what is here is unpacked, what is said of registries is the daemon's to
                // say, and the client has said to itself where its files go.
                "unpack" | "prefer-nondist-layers" | "dest" | "mode" | "buildinfo" => {}
                "registry.insecure" => {
                    if is_on(key, value)? {
                        read.unknown.insert(format!("{key}: the daemon's own setting counts"));
                    }
                }
                _ => match annotation(key)? {
                    Some(annotation) => read.annotations.add(annotation, value),
                    None => drop(read.unknown.insert(format!("{key}: not known"))),
                },
            }
        }
        if read.oci_types == Some(false) {
            if read.packing.compression == Compression::Zstd {
                return Err(SolveError::Invalid(
                    "exporter option \"compression=zstd\" conflicts with \"oci-mediatypes=false\"".into(),
                ));
            }
            if read.oci_artifact == Some(true) {
                return Err(SolveError::Invalid(
                    "exporter option \"oci-artifact=true\" conflicts with \"oci-mediatypes=false\"".into(),
                ));
            }
            if !read.annotations.index.is_empty()
                || !read.annotations.index_descriptor.is_empty()
                || !read.annotations.manifest_descriptor.is_empty()
            {
                return Err(SolveError::Invalid(
                    "cannot export annotations with \"oci-mediatypes=false\"".into(),
                ));
            }
        }
        Ok(read)
    }

    /// Whether nothing is said that an image without a manifest could not be.
    pub(super) fn is_plain(&self) -> bool {
        !self.is_packed
            && !self.rewrite
            && self.oci_types.is_none()
            && self.annotations == Annotations::default()
            && !self.push
            && self.store
            && !self.name_canonical
            && self.dangling_prefix.is_none()
    }

    /// How layers are packed, with names of these types.
    pub(super) fn packing(&self, types: MediaTypes) -> Packing {
        Packing { types, ..self.packing }
    }
}

impl Annotations {
    fn add(&mut self, (of, key): (Of, String), value: &str) {
        let said = match of {
            Of::Index => &mut self.index,
            Of::IndexDescriptor => &mut self.index_descriptor,
            Of::Manifest(platform) => self.manifest.entry(platform).or_default(),
            Of::ManifestDescriptor(platform) => self.manifest_descriptor.entry(platform).or_default(),
        };
        said.insert(key, value.to_owned());
    }

    /// Takes what a front end says as well, which goes first.
    pub(super) fn add_all(&mut self, metadata: &BTreeMap<String, Vec<u8>>) -> Result<(), SolveError> {
        for (key, value) in metadata {
            if let Some(annotation) = annotation(key)? {
                self.add(annotation, &String::from_utf8_lossy(value));
            }
        }
        Ok(())
    }

    /// What is said of the manifest for a platform.
    pub(super) fn of_manifest(&self, platform: &Platform) -> Said {
        of_platform(&self.manifest, platform)
    }

    /// What is said where it is pointed at.
    pub(super) fn of_descriptor(&self, platform: &Platform) -> Said {
        of_platform(&self.manifest_descriptor, platform)
    }

    /// A platform of which something is said and that is not among these.
    pub(super) fn stray(&self, platforms: &[&Platform]) -> Option<String> {
        let said = self.manifest.keys().chain(self.manifest_descriptor.keys()).flatten();
        let is_there = |name: &&String| platforms.iter().any(|platform| is_for(name, platform));
        said.filter(|name| !is_there(name)).min().cloned()
    }
}

fn of_platform(said: &BTreeMap<Option<String>, Said>, platform: &Platform) -> Said {
    let of_all = said.get(&None).cloned().unwrap_or_default();
    let own = said.iter().filter(|(name, _)| name.as_ref().is_some_and(|name| is_for(name, platform)));
    own.fold(of_all, |mut all, (_, own)| {
        all.extend(own.clone());
        all
    })
}

fn is_for(name: &str, platform: &Platform) -> bool {
    name.parse::<Platform>().is_ok_and(|named| named.normalised() == platform.normalised())
}

/// What an annotation is of.
enum Of {
    Index,
    IndexDescriptor,
    Manifest(Option<String>),
    ManifestDescriptor(Option<String>),
}

/// Takes `annotation[-of][[platform]].key` apart; none of something else.
fn annotation(text: &str) -> Result<Option<(Of, String)>, SolveError> {
    let Some(rest) = text.strip_prefix("annotation") else { return Ok(None) };
    let kind_end = rest.find(['[', '.']).unwrap_or(rest.len());
    let (kind, rest) = rest.split_at(kind_end);
    let (platform, rest) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((platform, rest)) => (Some(platform.to_owned()), rest),
        None => (None, rest),
    };
    let Some(key) = rest.strip_prefix('.').filter(|key| !key.is_empty()) else { return Ok(None) };
    if let Some(platform) = &platform {
        platform.parse::<Platform>().map_err(|error| SolveError::Invalid(format!("{text}: {error}")))?;
    }
    let of = match (kind, &platform) {
        ("" | "-manifest", _) => Of::Manifest(platform),
        ("-manifest-descriptor", _) => Of::ManifestDescriptor(platform),
        ("-index", None) => Of::Index,
        ("-index-descriptor", None) => Of::IndexDescriptor,
        (kind, _) if kind.starts_with('-') => {
            let kind = kind.trim_start_matches('-');
            return Err(SolveError::Invalid(format!("unrecognized annotation type {kind}")));
        }
        _ => return Ok(None),
    };
    Ok(Some((of, key.to_owned())))
}

/// What a client says by an attribute that may be there without a value.
fn is_on(key: &str, value: &str) -> Result<bool, SolveError> {
    let truth = if value.is_empty() { Some(true) } else { base::truth::parse(value) };
    truth.ok_or_else(|| SolveError::Invalid(format!("non-bool value {value:?} specified for {key}")))
}

/// Seconds since 1970; none where it is empty.
pub(super) fn epoch(key: &str, value: &str) -> Result<Option<Timestamp>, SolveError> {
    if value.is_empty() {
        return Ok(None);
    }
    let invalid = || SolveError::Invalid(format!("invalid {key}: {value} is no number of seconds"));
    let seconds = value.parse::<i64>().map_err(|_| invalid())?;
    Timestamp::from_second(seconds).map(Some).map_err(|_| invalid())
}

/// The names that an image is to have, which stand in one attribute, separated by commas.
fn names(text: &str) -> Result<Vec<Reference>, SolveError> {
    let mut names = Vec::new();
    for name in text.split(',').map(|name| name.trim().trim_matches('"')).filter(|name| !name.is_empty()) {
        let name = Reference::parse(name)
            .map_err(|error| SolveError::Invalid(format!("failed to parse {name}: {error}")))?;
        if name.digest().is_some() {
            return Err(SolveError::Invalid(format!("{name}: a digest cannot be given to an image")));
        }
        let name = name.with_default_tag();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(attributes: &[(&str, &str)]) -> Result<Attributes, String> {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let exporter = Exporter { attributes: attributes.collect(), ..Exporter::default() };
        Attributes::read(&exporter, Some("a:front")).map_err(|error| error.to_string())
    }

    fn check(name: &str, expected: Result<&[&str], &str>) {
        let names = read(&[("name", name)]).map(|read| read.names);
        let names = names.map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>());
        let expected = expected.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        assert_eq!(names, expected.map_err(str::to_owned));
    }

    #[test]
    fn names_are_separated_by_commas() {
        check("", Ok(&[]));
        check("a", Ok(&["docker.io/library/a:latest"]));
        check("*", Ok(&["docker.io/library/a:front"]));
        check("a,b:2,\"a:latest\"", Ok(&["docker.io/library/a:latest", "docker.io/library/b:2"]));
        check("A", Err("failed to parse A: invalid reference format: repository name (A) must be lowercase"));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |attributes: &[(&str, &str)]| read(attributes).expect_err("refused");
        assert_eq!(refused(&[("push", "perhaps")]), "non-bool value \"perhaps\" specified for push");
        assert_eq!(refused(&[("compression", "estargz")]), "unsupported layer compression type estargz");
        assert_eq!(refused(&[("compression-level", "x")]), "non-int value x specified for compression-level");
        assert_eq!(
            refused(&[("compression", "zstd"), ("oci-mediatypes", "false")]),
            "exporter option \"compression=zstd\" conflicts with \"oci-mediatypes=false\""
        );
        assert_eq!(
            refused(&[("annotation-index.a", "b"), ("oci-mediatypes", "false")]),
            "cannot export annotations with \"oci-mediatypes=false\""
        );
        assert_eq!(refused(&[("annotation-x.a", "b")]), "unrecognized annotation type x");
        assert!(refused(&[("source-date-epoch", "soon")]).starts_with("invalid source-date-epoch: "));
        let read = read(&[("somewhat", "1"), ("unpack", "true")]).expect("told, and not refused");
        assert_eq!(read.unknown.into_iter().collect::<Vec<_>>(), ["somewhat: not known"]);
    }

    #[test]
    fn annotations_are_of_what_they_say() {
        let read = read(&[
            ("annotation.a", "all"),
            ("annotation-manifest[linux/arm64].a", "arm"),
            ("annotation-manifest.b.c", "dots"),
            ("annotation-manifest-descriptor[linux/arm64/v8].d", "x"),
            ("annotation-index.e", "index"),
            ("annotation-index-descriptor.f", "descriptor"),
        ])
        .expect("annotations")
        .annotations;
        let platform = |text: &str| text.parse::<Platform>().expect(text);
        let said =
            |said: Said| said.into_iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>();
        assert_eq!(said(read.of_manifest(&platform("linux/amd64"))), ["a=all", "b.c=dots"]);
        assert_eq!(said(read.of_manifest(&platform("linux/arm64"))), ["a=arm", "b.c=dots"]);
        assert_eq!(said(read.of_descriptor(&platform("linux/arm64"))), ["d=x"]);
        assert_eq!(said(read.index.clone()), ["e=index"]);
        assert_eq!(said(read.index_descriptor.clone()), ["f=descriptor"]);
        assert_eq!(read.stray(&[&platform("linux/amd64")]).as_deref(), Some("linux/arm64"));
        assert_eq!(read.stray(&[&platform("linux/arm64")]), None);
    }
}
