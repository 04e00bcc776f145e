//! Listing images.

use std::collections::{HashMap, HashSet};

use base::Timestamp;
use oci::Reference;

use super::pattern::Pattern;
use super::{Image, ImageFilter, ImageId, convert};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::filter;

impl Engine {
    /// The images that `filter` lets through, newest first. Where it asks for names, each has only those of
    /// its names that are meant.
    pub fn image_list(&self, filter: &ImageFilter) -> Result<Vec<Image>> {
        let times = |names: &[String]| -> Result<Vec<Timestamp>> {
            let created = names.iter().map(|name| Ok(self.image_inspect(name)?.created));
            Ok(created.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
        };
        let before = times(&filter.before)?.into_iter().chain(filter.until).min();
        let since = times(&filter.since)?.into_iter().max();
        let wanted: Vec<Pattern> = filter
            .references
            .iter()
            .map(|text| Pattern::parse(text).ok_or_else(|| Error::invalid("syntax error in pattern")))
            .collect::<Result<_>>()?;
        let all = self.inner.images.image_list();
        let parents: HashSet<image::ImageId> = all.iter().filter_map(|image| image.parent.clone()).collect();
        let admitted = |mut found: image::Image| {
            let is_parent = parents.contains(&found.id);
            if !wanted.is_empty() {
                let is_meant = |name: &Reference| wanted.iter().any(|wanted| is_named(name, wanted));
                found.tags.retain(is_meant);
                found.digests.retain(is_meant);
            }
            let has_name = !found.tags.is_empty() || !found.digests.is_empty();
            let image = convert::image(&found);
            let admits = (wanted.is_empty() || has_name)
                && (filter.all || has_name || !is_parent)
                && filter::labels_match(&filter.labels, &image.config.labels)
                && match filter.dangling {
                    None => true,
                    Some(true) => image.tags.is_empty() && !is_parent,
                    Some(false) => has_name,
                }
                && before.is_none_or(|before| image.created.is_some_and(|created| created < before))
                && since.is_none_or(|since| image.created.is_some_and(|created| created > since));
            admits.then_some(image)
        };
        Ok(all.into_iter().filter_map(admitted).collect())
    }

    /// For each image the bytes of its layers that others have too.
    pub fn image_shared_sizes(&self) -> HashMap<ImageId, u64> {
        let shared = self.inner.images.disk_usage().shared;
        shared.into_iter().map(|(id, size)| (ImageId::from(&id), size)).collect()
    }
}

/// Whether a name is meant: as a whole, or without tag and digest.
fn is_named(name: &Reference, wanted: &Pattern) -> bool {
    wanted.matches(&name.familiar()) || wanted.matches(&name.familiar_name())
}
