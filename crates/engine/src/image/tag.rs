//! Naming images.

use std::collections::BTreeMap;

use super::convert;
use crate::engine::Engine;
use crate::error::{Error, Fact, Kind, Result};
use crate::event::EventKind;
use crate::work::blocking;

impl Engine {
    /// Gives an image one more name.
    pub async fn image_tag(&self, reference: &str, name: &str) -> Result<()> {
        let target = convert::reference(name)?;
        if target.digest().is_some() {
            return Err(Error::invalid("refusing to create a tag with a digest reference"));
        }
        if target.familiar_name() == "sha256" {
            return Err(Error::invalid("refusing to create an ambiguous tag using digest algorithm as name"));
        }
        let target = target.with_default_tag();
        let (store, asked, named) = (self.inner.images.clone(), reference.to_owned(), target.clone());
        let tagged = blocking(move || {
            store.image_tag(&asked, &named).map_err(|source| match convert::kind(source.kind()) {
                Kind::NotFound => Fact::NoImage { reference: convert::with_tag(&asked) }.into(),
                _ => convert::error(source.kind(), source),
            })
        });
        let image = tagged.await?;
        self.emit_image("tag", &image.id.to_string(), &target.familiar());
        Ok(())
    }

    /// Makes sure that an image which was made as a step of a build outlives the machine's power, and
    /// gives it names (see [`image::Store::image_keep`]); all of it is on disk when this returns.
    pub async fn image_keep(&self, id: &image::ImageId, names: &[oci::Reference]) -> Result<()> {
        let (store, kept, wanted) = (self.inner.images.clone(), id.clone(), names.to_vec());
        blocking(move || {
            store.image_keep(&kept, &wanted).map_err(|source| convert::error(source.kind(), source))
        })
        .await?;
        self.image_made(&id.to_string(), names);
        Ok(())
    }

    /// Tells subscribers of an image that was put into the store by who is beside the engine, and is known by its id or
    /// by the digest of what leads to it there.
    pub async fn image_put(&self, digest: &str, names: &[oci::Reference]) {
        let (store, known) = (self.inner.images.clone(), digest.to_owned());
        let found =
            blocking(move || store.image_get(&known).map_err(|source| convert::error(source.kind(), source)));
        // Who has taken it away meanwhile has told so.
        if let Ok(image) = found.await {
            self.image_made(&image.id.to_string(), names);
        }
    }

    /// Tells subscribers of an image.
    fn image_made(&self, id: &str, names: &[oci::Reference]) {
        self.emit_image("create", id, id);
        for name in names {
            self.emit_image("tag", id, &name.familiar());
        }
    }

    /// Tells subscribers that something happened to the image `id`, which is called `name`.
    pub(crate) fn emit_image(&self, action: &'static str, id: &str, name: &str) {
        let mut attributes = BTreeMap::new();
        if !name.is_empty() {
            attributes.insert("name".to_owned(), name.to_owned());
        }
        self.inner.events.emit(EventKind::Image, action, id, attributes);
    }
}
