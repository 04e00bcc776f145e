//! Images whose configuration somebody else wrote: a front end of builds.

use oci::{Digest, ImageConfig, Reference};

use super::put::NewRecord;
use super::{Image, ImageId};
use crate::content::Kept;
use crate::layer::Layer;
use crate::store::{Store, WriteError};

impl Store {
    /// Makes the image of a configuration, which is kept byte for byte, and gives it names. The layers that the
    /// configuration speaks of are `top` and those below it. On disk when this returns.
    pub fn image_create_of(
        &self,
        config: Vec<u8>,
        top: Option<&Layer>,
        names: &[Reference],
    ) -> Result<Image, WriteError> {
        let parsed = ImageConfig::take(&config)?;
        let held = top.map(|top| self.layer_chain(top)).unwrap_or_default();
        if !held.iter().map(Layer::diff_id).eq(&parsed.rootfs.diff_ids) {
            return Err(WriteError::OtherLayers);
        }
        let document = Kept::of(config);
        let id: Digest = document.digest().clone();
        let record = NewRecord { document: &document, config: &parsed, parent: None, names, source: None };
        self.inner.image_put(&[record])?;
        Ok(self.inner.image(&ImageId(id))?)
    }
}

#[cfg(test)]
mod tests {
    use oci::{ContainerConfig, Platform};

    use super::*;
    use crate::error::Kind;

    fn layer(store: &Store, parent: Option<&Layer>, name: &str) -> Layer {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, &[][..]).expect("a file");
        let bytes = archive.into_inner().expect("an archive");
        store.layer_unpack(parent.map(Layer::chain_id), &bytes[..]).expect("a layer")
    }

    #[test]
    fn a_configuration_is_kept_as_it_is_and_has_to_fit_its_layers() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let store = Store::open(directory.path()).expect("a store");
        let below = layer(&store, None, "a");
        let top = layer(&store, Some(&below), "b");
        let mut config = ImageConfig::for_platform(&Platform::host());
        config.config = ContainerConfig { cmd: Some(vec!["x".to_owned()]), ..ContainerConfig::default() };
        config.rootfs.diff_ids = vec![below.diff_id().clone(), top.diff_id().clone()];
        let mut text = serde_json::to_value(&config).expect("JSON");
        text["moby.buildkit.cache.v0"] = "what only its author understands".into();
        let bytes = serde_json::to_vec_pretty(&text).expect("JSON");

        let name = Reference::parse("built:1").expect("a name");
        let image =
            store.image_create_of(bytes.clone(), Some(&top), std::slice::from_ref(&name)).expect("an image");
        assert_eq!(image.id.0, Digest::sha256_of(&bytes));
        assert_eq!(store.image_get("built:1").expect("its name").layers.last(), Some(top.chain_id()));

        let other = store.image_create_of(bytes, Some(&below), &[name]).expect_err("a layer is missing");
        assert_eq!(other.kind(), Kind::Invalid);
        store.image_create_of(b"{".to_vec(), None, &[]).expect_err("no configuration");
    }
}
