//! Images whose documents somebody else wrote: a front end of builds, an exporter.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use oci::{Descriptor, Digest, ImageConfig, Reference};

use super::put::{NewRecord, Source};
use super::{Image, ImageId};
use crate::content::{Kept, Lease};
use crate::layer::Layer;
use crate::state::Content;
use crate::store::{Inner, Store, WriteError};

/// As what an image is made: the document that its names lead to.
#[derive(Clone, Debug)]
pub struct MadeAs {
    /// A manifest of the image, or an index with one in it.
    pub target: Descriptor,
    /// That document, and whatever it leads to that is no layer: manifests and configurations of other platforms,
    /// what is said of an image. Blobs of layers are the caller's, who [holds](crate::Packed) them.
    pub documents: Vec<Vec<u8>>,
}

/// Documents that are kept while this is held, with the content that they lead to as far as it is here.
#[derive(Debug)]
pub struct Documents {
    _inner: Arc<Inner>,
    _lease: Lease,
}

impl Store {
    /// Makes the image of a configuration, which is kept byte for byte, and gives it names. The layers that the
    /// configuration speaks of are `top` and those below it. On disk when this returns.
    pub fn image_create_of(
        &self,
        config: Vec<u8>,
        top: Option<&Layer>,
        names: &[Reference],
    ) -> Result<Image, WriteError> {
        self.image_create_as(config, top, names, None)
    }

    /// As [`Store::image_create_of`], known as a manifest or an index that was made for it.
    pub fn image_create_as(
        &self,
        config: Vec<u8>,
        top: Option<&Layer>,
        names: &[Reference],
        made_as: Option<&MadeAs>,
    ) -> Result<Image, WriteError> {
        let parsed = ImageConfig::take(&config)?;
        let held = top.map(|top| self.layer_chain(top)).unwrap_or_default();
        if !held.iter().map(Layer::diff_id).eq(&parsed.rootfs.diff_ids) {
            return Err(WriteError::OtherLayers);
        }
        let document = Kept::of(config);
        let id: Digest = document.digest().clone();
        let source = made_as.map(|made| Source {
            target: Content::from(&made.target),
            documents: made.documents.iter().map(|document| Kept::of(document.clone())).collect(),
        });
        let source = source.as_ref();
        let record = NewRecord { document: &document, config: &parsed, parent: None, names, source };
        self.inner.image_put(&[record])?;
        Ok(self.inner.image(&ImageId(id))?)
    }

    /// Keeps documents while what is given back is held: on disk after the next flush.
    pub fn documents_put(&self, documents: &[Vec<u8>]) -> Result<Documents, WriteError> {
        let kept: Vec<Kept> = documents.iter().map(|document| Kept::of(document.clone())).collect();
        let mut lease = Lease::new(&self.inner);
        lease.content(kept.iter().map(|document| document.digest().clone()));
        for document in &kept {
            self.inner.blob_put(document, true)?;
            self.inner.tables().document_insert(document.digest(), document.links());
        }
        Ok(Documents { _inner: self.inner.clone(), _lease: lease })
    }

    /// A document that is kept, whole; none if it is not here.
    pub fn document_read(&self, digest: &Digest) -> io::Result<Option<Bytes>> {
        match self.inner.blob_read(digest) {
            Ok(kept) => Ok(Some(Bytes::copy_from_slice(kept.bytes()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
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
