//! Images from and to archives.

use super::transfer::parse_platform;
use super::{ImageId, ImportSpec, Progress, ProgressStream, convert};
use crate::engine::Engine;
use crate::error::{Error, Fact, Kind, Result};
use crate::stream::ByteStream;
use crate::work::transfer;

impl Engine {
    /// Loads images of an archive (Docker's or OCI's layout, also compressed); with a platform
    /// (`os/arch[/variant]`), those that are for it.
    pub fn image_load(&self, archive: ByteStream, platform: Option<&str>) -> Result<ProgressStream> {
        let engine = self.clone();
        let platform = platform.map(parse_platform).transpose()?;
        Ok(self.progress(move |sink, progress| async move {
            let loading = transfer("images to load").await?.upload(archive, move |archive| {
                let images = &engine.inner.images;
                let loaded = match &platform {
                    None => images.image_load(archive, &progress),
                    Some(platform) => images.image_load_for(archive, platform, &progress),
                };
                let loaded = loaded.map_err(|source| convert::error(source.kind(), source))?;
                for image in &loaded {
                    let id = image.id.to_string();
                    engine.emit_image(
                        "load",
                        &id,
                        &image.names.first().map(oci::Reference::familiar).unwrap_or(id.clone()),
                    );
                }
                Ok::<_, Error>(loaded)
            });
            let loaded = loading.await?;
            let id = loaded.first().map(|image| ImageId(image.id.to_string()));
            let _ = sink.send(Ok(Progress::Done { id, digest: None }));
            Ok(())
        }))
    }

    /// The named images as one archive; with a platform (`os/arch[/variant]`), if they are for it.
    pub async fn image_save(&self, references: &[String], platform: Option<&str>) -> Result<ByteStream> {
        let platform = platform.map(parse_platform).transpose()?;
        // What is not there is told now, not in the middle of the archive.
        for reference in references {
            let present = self.inner.images.image_get(reference).is_ok();
            if !present && !self.is_repository(reference) {
                return Err(Fact::NoImage { reference: convert::with_tag(reference) }.into());
            }
            let other = platform.as_ref().and_then(|platform| self.other_platform(reference, platform));
            if let Some(other) = other {
                return Err(other.into());
            }
        }
        let transfer = transfer("images to save").await?;
        let (store, names) = (self.inner.images.clone(), references.to_vec());
        for name in references {
            self.emit_image("save", name, name);
        }
        Ok(self.stream_from(transfer, move |out| {
            store
                .image_save(&names, out)
                .map_err(|error| std::io::Error::other(base::error::chain(&error).to_string()))
        }))
    }

    fn is_repository(&self, reference: &str) -> bool {
        let Ok(wanted) = convert::reference(reference) else { return false };
        self.inner
            .images
            .image_list()
            .iter()
            .any(|image| image.tags.iter().any(|tag| tag.name() == wanted.name()))
    }

    /// Makes an image of a root file system's archive (also compressed).
    pub async fn image_import(&self, archive: ByteStream, spec: ImportSpec) -> Result<ImageId> {
        let name = spec.reference.as_deref().filter(|name| !name.is_empty());
        let name = name.map(convert::reference).transpose()?.map(|name| name.with_default_tag());
        let options = image::ImportOptions {
            name: name.clone(),
            message: spec.message,
            config: convert::config_to_oci(&spec.config),
            platform: spec
                .platform
                .as_deref()
                .filter(|text| !text.is_empty())
                .map(parse_platform)
                .transpose()?,
        };
        let store = self.inner.images.clone();
        let importing = transfer("images to import").await?.upload(archive, move |archive| {
            store.image_import(archive, options).map_err(|source| match convert::kind(source.kind()) {
                Kind::Internal => Error::internal("import the root file system").with_source(source),
                _ => convert::error(source.kind(), source),
            })
        });
        let image = importing.await?;
        self.emit_image(
            "import",
            &image.id.to_string(),
            &name.map(|name| name.familiar()).unwrap_or_default(),
        );
        Ok(ImageId(image.id.to_string()))
    }
}
