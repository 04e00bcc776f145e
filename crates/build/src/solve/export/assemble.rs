//! From an outcome to the documents of an image: configurations, manifests, and an index where there are several or
//! something is said of one.

use std::sync::Arc;

use base::cancel::Cancel;
use futures::future::try_join_all;
use image::{Layer, MadeAs, MediaTypes, Packed, Packing, Store};
use oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, media_type};
use serde::Serialize;
use serde_json::Value;

use super::attest::Statement;
use super::attributes::{Attributes, Said};
use super::config::{LayerFact, finish, with_cache};
use super::image::facts;
use super::parts::Part;
use crate::solve::job::Job;
use crate::solve::shown::Shown;
use crate::solve::value::Chain;
use crate::solve::{SolveError, now};

/// What an attestation's configuration and index entry say that it is for.
const NOWHERE: &str = "unknown";
/// The type of a statement.
const IN_TOTO: &str = "application/vnd.in-toto+json";
/// What an attestation's manifest says that it is, where it is an artefact.
const ATTESTATION: &str = "application/vnd.docker.attestation.manifest.v1+json";
/// The type of `{}`, the configuration of artefacts.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// The documents of an image. What they lead to is kept while this is held.
pub(super) struct Assembled {
    /// What the image's names lead to.
    pub(super) target: Descriptor,
    /// That document, and all others, each before those that lead to it.
    pub(super) documents: Vec<(Descriptor, Vec<u8>)>,
    /// The layers of all platforms.
    pub(super) layers: Vec<Arc<Packed>>,
    /// The image for each platform.
    pub(super) images: Vec<Built>,
}

/// The image for one platform.
pub(super) struct Built {
    pub(super) platform: Platform,
    pub(super) config: Vec<u8>,
    pub(super) config_digest: Digest,
    pub(super) layers: Vec<Arc<Packed>>,
}

/// What a manifest may have that images have not.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Artefact<'a> {
    schema_version: u8,
    media_type: &'a str,
    artifact_type: &'a str,
    config: Value,
    layers: &'a [Descriptor],
    subject: &'a Descriptor,
}

/// Makes the documents. An index is made where `several` says so, or there are statements.
pub(super) async fn assemble(
    shown: &Shown,
    parts: &[Part],
    several: bool,
    statements: impl FnOnce(&[Descriptor]) -> Vec<Vec<Statement>>,
    has_statements: bool,
    attributes: &Attributes,
) -> Result<Assembled, SolveError> {
    let job = shown.job();
    let is_index = several || has_statements;
    let types = if attributes.oci_types == Some(false) { MediaTypes::Docker } else { MediaTypes::Oci };
    check(parts, is_index, has_statements, attributes)?;
    let mut assembled = Assembled {
        target: Descriptor::new("", Digest::sha256_of(b""), 0),
        documents: Vec::new(),
        layers: Vec::new(),
        images: Vec::new(),
    };
    let images = {
        let _part = shown.part("exporting layers");
        try_join_all(parts.iter().map(|part| built(job, part, attributes, types))).await?
    };
    let mut entries = Vec::new();
    for (part, image) in parts.iter().zip(images) {
        let config_type = match types {
            MediaTypes::Docker => media_type::DOCKER_CONFIG,
            MediaTypes::Oci => media_type::OCI_CONFIG,
        };
        let config = Descriptor::of(config_type, &image.config);
        drop(shown.part(format!("exporting config {}", config.digest)));
        let manifest = Manifest {
            schema_version: 2,
            media_type: manifest_type(types).to_owned(),
            config: config.clone(),
            layers: image.layers.iter().map(|layer| layer.descriptor().clone()).collect(),
            annotations: attributes.annotations.of_manifest(&part.platform),
        };
        assembled.documents.push((config, image.config.clone()));
        let mut entry = assembled.document(manifest_type(types), &manifest);
        drop(shown.part(format!("exporting manifest {}", entry.digest)));
        entry.annotations = attributes.annotations.of_descriptor(&part.platform);
        entry.platform = Some(part.platform.clone());
        assembled.layers.extend(image.layers.iter().cloned());
        assembled.images.push(image);
        entries.push(entry);
    }
    if !is_index {
        assembled.target = entries.remove(0);
        return Ok(assembled);
    }
    let mut about = Vec::new();
    for (entry, statements) in entries.iter().zip(statements(&entries)) {
        if !statements.is_empty() {
            let attestation = assembled.attestation(entry, &statements, types, attributes)?;
            drop(shown.part(format!("exporting attestation manifest {}", attestation.digest)));
            about.push(attestation);
        }
    }
    entries.extend(about);
    let index_type = match types {
        MediaTypes::Docker => media_type::DOCKER_LIST,
        MediaTypes::Oci => media_type::OCI_INDEX,
    };
    let index = Index {
        schema_version: 2,
        media_type: index_type.to_owned(),
        manifests: entries,
        annotations: attributes.annotations.index.clone(),
    };
    assembled.target = assembled.document(index_type, &index);
    assembled.target.annotations.clone_from(&attributes.annotations.index_descriptor);
    drop(shown.part(format!("exporting manifest list {}", assembled.target.digest)));
    Ok(assembled)
}

/// Refuses what cannot be said of such an image.
fn check(
    parts: &[Part],
    is_index: bool,
    has_statements: bool,
    attributes: &Attributes,
) -> Result<(), SolveError> {
    let platforms: Vec<&Platform> = parts.iter().map(|part| &part.platform).collect();
    let annotations = &attributes.annotations;
    let problem = match annotations.stray(&platforms) {
        Some(stray) => format!("invalid annotation: no platform {stray} found in source"),
        None if !(is_index || annotations.index.is_empty() && annotations.index_descriptor.is_empty()) => {
            "index annotations not supported for single platform export".to_owned()
        }
        None if has_statements && attributes.oci_types == Some(false) => {
            "cannot export attestations with \"oci-mediatypes=false\"".to_owned()
        }
        None => return Ok(()),
    };
    Err(SolveError::Invalid(problem))
}

fn manifest_type(types: MediaTypes) -> &'static str {
    match types {
        MediaTypes::Docker => media_type::DOCKER_MANIFEST,
        MediaTypes::Oci => media_type::OCI_MANIFEST,
    }
}

/// Packs the layers of a result, and says in its configuration what they are.
async fn built(
    job: &Job,
    part: &Part,
    attributes: &Attributes,
    types: MediaTypes,
) -> Result<Built, SolveError> {
    let chain = match &part.reference {
        Some(reference) => reference.chain().await?,
        None => Chain::default(),
    };
    let store = job.solver().inner.store.clone();
    let layers = match chain.top() {
        Some(_) => {
            let (store, chain) = (store.clone(), chain.clone());
            job.blocking(move || chain.top().map(|top| store.layer_chain(top)).unwrap_or_default()).await
        }
        None => Vec::new(),
    };
    let base = base_layers(part)?;
    // What comes of another image stays as it is there.
    let own = layers.iter().zip(&base).take_while(|(layer, base)| layer.diff_id() == *base).count();
    let epoch = part.epoch.filter(|_| attributes.rewrite);
    let packing = attributes.packing(types);
    let packed = try_join_all(layers.into_iter().enumerate().map(|(at, layer)| {
        let packing = Packing { epoch: epoch.filter(|_| at >= own), ..packing };
        pack(job, layer, packing)
    }))
    .await?;
    let (platform, written) = (part.platform.clone(), part.config.clone());
    let (base, epoch, cache) = (part.base_config.clone(), part.epoch, part.cache.clone());
    let (config, packed) = job
        .blocking(move || {
            let mut facts = facts(&store, packed.iter().map(|packed| packed.layer()));
            for (fact, packed) in facts.iter_mut().zip(&packed) {
                *fact = LayerFact { diff_id: packed.diff_id().clone(), created: fact.created };
            }
            let config = finish(written.as_deref(), base.as_deref(), &platform, &facts, epoch, now());
            with_cache(config?, cache.as_deref()).map(|config| (config, packed))
        })
        .await?;
    let config_digest = Digest::sha256_of(&config);
    Ok(Built { platform: part.platform.clone(), config, config_digest, layers: packed })
}

async fn pack(job: &Job, layer: Layer, packing: Packing) -> Result<Arc<Packed>, SolveError> {
    let (store, cancel) = (job.solver().inner.store.clone(), job.inner.cancel.clone());
    let packed = job.blocking(move || -> Result<Packed, SolveError> {
        let mut packed = store.layer_blob(&layer, &packing, &cancel)?;
        // An image leads to it, whose layers the store knows by nothing else where it is for another platform.
        packed.make_blob(&cancel)?;
        Ok(packed)
    });
    packed.await.map(Arc::new)
}

/// The layers of the image that a result begins with.
fn base_layers(part: &Part) -> Result<Vec<Digest>, SolveError> {
    let Some(base) = &part.base_config else { return Ok(Vec::new()) };
    let base = ImageConfig::parse(base)
        .map_err(|error| SolveError::Invalid(format!("failed to unmarshal base image config: {error}")))?;
    Ok(base.rootfs.diff_ids)
}

impl Assembled {
    /// Adds a document.
    fn document(&mut self, media_type: &str, document: &impl Serialize) -> Descriptor {
        let bytes = serde_json::to_vec_pretty(document).expect("a tree of strings and numbers always prints");
        let descriptor = Descriptor::of(media_type, &bytes);
        self.documents.push((descriptor.clone(), bytes));
        descriptor
    }

    /// Adds the manifest of what is said of an image.
    fn attestation(
        &mut self,
        of: &Descriptor,
        statements: &[Statement],
        types: MediaTypes,
        attributes: &Attributes,
    ) -> Result<Descriptor, SolveError> {
        let mut layers = Vec::new();
        for statement in statements {
            let bytes = statement.print()?;
            let mut layer = Descriptor::of(IN_TOTO, &bytes);
            layer
                .annotations
                .insert("in-toto.io/predicate-type".to_owned(), statement.predicate_type.clone());
            self.documents.push((layer.clone(), bytes));
            layers.push(layer);
        }
        let mut entry = match attributes.oci_artifact == Some(true) {
            true => {
                let config = Descriptor::of(EMPTY, b"{}");
                let mut shown = serde_json::to_value(&config).map_err(super::config::broken)?;
                shown["data"] = "e30=".into();
                self.documents.push((config, b"{}".to_vec()));
                let subject = Descriptor::new(&of.media_type, of.digest.clone(), of.size);
                let manifest = Artefact {
                    schema_version: 2,
                    media_type: manifest_type(types),
                    artifact_type: ATTESTATION,
                    config: shown,
                    layers: &layers,
                    subject: &subject,
                };
                self.document(manifest_type(types), &manifest)
            }
            false => {
                let diff_ids: Vec<&Digest> = layers.iter().map(|layer| &layer.digest).collect();
                let config = serde_json::to_vec(&serde_json::json!({
                    "architecture": NOWHERE,
                    "os": NOWHERE,
                    "config": {},
                    "rootfs": { "type": "layers", "diff_ids": diff_ids },
                }))
                .map_err(super::config::broken)?;
                let described = Descriptor::of(media_type::OCI_CONFIG, &config);
                self.documents.push((described.clone(), config));
                let manifest = Manifest {
                    schema_version: 2,
                    media_type: manifest_type(types).to_owned(),
                    config: described,
                    layers,
                    annotations: Said::new(),
                };
                self.document(manifest_type(types), &manifest)
            }
        };
        entry.annotations = Said::from([
            ("vnd.docker.reference.digest".to_owned(), of.digest.to_string()),
            ("vnd.docker.reference.type".to_owned(), "attestation-manifest".to_owned()),
        ]);
        entry.platform = Some(Platform::new(NOWHERE, NOWHERE, ""));
        Ok(entry)
    }

    /// As what an image is made that the store is to have.
    pub(super) fn made_as(&self) -> MadeAs {
        MadeAs {
            target: self.target.clone(),
            documents: self.documents.iter().map(|(_, bytes)| bytes.clone()).collect(),
        }
    }

    /// The image that runs here, or the first.
    pub(super) fn chosen(&self) -> Option<&Built> {
        let host = Platform::host();
        let fitness = |image: &&Built| image.platform.fitness(&host);
        let best = self.images.iter().filter(|image| fitness(image).is_some()).max_by_key(fitness);
        best.or_else(|| self.images.first())
    }
}

impl Built {
    /// The layers in the store, on top of each other.
    pub(super) fn chain(&self, store: &Store, cancel: &Cancel) -> Result<Option<Layer>, SolveError> {
        let mut top: Option<Layer> = None;
        for packed in &self.layers {
            top = Some(store.layer_of_packed(top.as_ref(), packed, cancel)?);
        }
        Ok(top)
    }
}
