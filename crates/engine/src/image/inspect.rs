//! Telling all about one image.

use super::transfer::parse_platform;
use super::{HistoryEntry, Image, ImageId, convert};
use crate::engine::Engine;
use crate::error::{Fact, Kind, Result};

impl Engine {
    /// The image that `reference` names: reference, id, or unique prefix of an id.
    /// `No such image: …` where it is not here.
    pub fn image_inspect(&self, reference: &str) -> Result<Image> {
        self.image_present(reference).map(|image| convert::image(&image))
    }

    /// The same, if it is for a platform (`os/arch[/variant]`).
    pub fn image_inspect_for(&self, reference: &str, platform: &str) -> Result<Image> {
        let platform = parse_platform(platform)?;
        let image = self.image_inspect(reference)?;
        self.other_platform(reference, &platform).map_or(Ok(image), |other| Err(other.into()))
    }

    /// How an image was made, newest step first.
    pub fn image_history(&self, reference: &str) -> Result<Vec<HistoryEntry>> {
        let steps = self.inner.images.image_history(reference).map_err(|source| {
            match convert::kind(source.kind()) {
                Kind::NotFound => Fact::NoImage { reference: convert::with_tag(reference) }.into(),
                _ => convert::error(source.kind(), source),
            }
        })?;
        let entry = |step: image::HistoryEntry| HistoryEntry {
            id: step.id.map(|id| ImageId(id.to_string())),
            created: step.created.as_deref().and_then(|text| text.parse().ok()),
            created_by: step.created_by,
            comment: step.comment,
            size: step.size,
            tags: step.tags.iter().map(oci::Reference::familiar).collect(),
        };
        Ok(steps.into_iter().map(entry).collect())
    }
}
