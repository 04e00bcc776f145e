//! Into the image store.

use std::collections::{BTreeMap, HashMap};

use base::Timestamp;
use image::{Layer, Store};
use oci::{Digest, Reference};

use super::config::{LayerFact, finish, with_cache};
use super::{Exporter, is_set, only_one};
use crate::solve::reference::Outcome;
use crate::solve::remote::INLINE_CACHE;
use crate::solve::shown::Shown;
use crate::solve::{SolveError, blocking, now};

/// What clients read of the answer.
const CONFIG_DIGEST: &str = "containerimage.config.digest";
const IMAGE_DIGEST: &str = "containerimage.digest";
const NAME: &str = "image.name";

pub(super) async fn to_store(
    shown: &Shown,
    outcome: &Outcome,
    exporter: &Exporter,
) -> Result<BTreeMap<String, String>, SolveError> {
    let names = names(exporter)?;
    // Clients of an engine (`moby`) say what they push afterwards, by the engine's own request.
    let of_engine = exporter.kind == "moby" && !is_set(exporter, "push-by-digest")?;
    if is_set(exporter, "push")? && !of_engine {
        return Err(SolveError::Unsupported(
            "the exporter does not push: push the image when it is built (`docker push`)".to_owned(),
        ));
    }
    let job = shown.job();
    let refusal = "exporting multiple references to image store is currently unsupported";
    let part = only_one(job, outcome, refusal)?;
    let chain = {
        let _part = shown.part("exporting layers");
        match part.reference {
            Some(reference) => reference.chain().await?,
            None => Default::default(),
        }
    };
    let (platform, written) = (part.platform, part.config.map(<[u8]>::to_vec));
    let inline = outcome.metadata.iter().find(|(key, _)| key.starts_with(INLINE_CACHE));
    let inline = inline.map(|(_, records)| records.clone());
    let (store, known_as) = (job.solver().inner.store.clone(), names.clone());
    let image = blocking(move || {
        let layers = chain.top().map(|top| store.layer_chain(top)).unwrap_or_default();
        let config = finish(written.as_deref(), &platform, &facts(&store, &layers), now())?;
        let config = with_cache(config, inline.as_deref())?;
        store.image_create_of(config, chain.top(), &known_as).map_err(SolveError::from)
    })
    .await?;
    drop(shown.part(format!("writing image {}", image.id)));
    for name in &names {
        drop(shown.part(format!("naming to {name}")));
    }
    let mut told = BTreeMap::from([
        (CONFIG_DIGEST.to_owned(), image.id.to_string()),
        (IMAGE_DIGEST.to_owned(), image.id.to_string()),
    ]);
    if !names.is_empty() {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        told.insert(NAME.to_owned(), names.join(","));
    }
    Ok(told)
}

/// The names that an image is to have, which stand in one attribute, separated by commas.
fn names(exporter: &Exporter) -> Result<Vec<Reference>, SolveError> {
    let text = exporter.attributes.get("name").map(String::as_str).unwrap_or_default();
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

/// What is said of layers in a configuration: when they were made is known of those that steps came to.
fn facts(store: &Store, layers: &[Layer]) -> Vec<LayerFact> {
    let mut made: HashMap<Digest, Timestamp> = HashMap::new();
    // Oldest first: who made a layer first made it.
    for result in store.result_list() {
        for top in result.outputs.into_iter().flatten() {
            made.entry(top).or_insert(result.created);
        }
    }
    let fact = |layer: &Layer| LayerFact {
        diff_id: layer.diff_id().clone(),
        created: made.get(layer.chain_id()).copied(),
    };
    layers.iter().map(fact).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: Result<&[&str], &str>) {
        let attributes = BTreeMap::from([("name".to_owned(), name.to_owned())]);
        let names = names(&Exporter { attributes, ..Exporter::default() });
        let names = names.map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>());
        let expected = expected.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        assert_eq!(names.map_err(|error| error.to_string()), expected.map_err(str::to_owned));
    }

    #[test]
    fn names_are_separated_by_commas() {
        check("", Ok(&[]));
        check("a", Ok(&["docker.io/library/a:latest"]));
        check("a,b:2,\"a:latest\"", Ok(&["docker.io/library/a:latest", "docker.io/library/b:2"]));
        check("A", Err("failed to parse A: invalid reference format: repository name (A) must be lowercase"));
    }
}
