//! Archives of images for the client: OCI layouts, and those that `docker load` takes.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use base::Timestamp;
use futures::StreamExt as _;
use oci::archive::{
    ANNOTATION_IMAGE_NAME, ANNOTATION_REF_NAME, DOCKER_MANIFEST_FILE, DockerManifestEntry, OCI_INDEX_FILE,
    OCI_LAYOUT_FILE, OciLayout,
};
use oci::{Descriptor, Digest, Index, Reference, media_type};

use super::assemble::{Assembled, assemble};
use super::parts::parts;
use super::{Exporter, attest, image};
use crate::solve::reference::Outcome;
use crate::solve::shown::Shown;
use crate::solve::{SessionError, SolveError, now};

/// The store of a client that wants the blobs of an image, and no archive.
const CLIENT_STORE: &str = "export";
/// When an image was made, where its layout says so.
const CREATED: &str = "org.opencontainers.image.created";

pub(super) async fn to_client(
    shown: &Shown,
    outcome: &Outcome,
    exporter: &Exporter,
) -> Result<BTreeMap<String, String>, SolveError> {
    let job = shown.job();
    let is_docker = exporter.kind == "docker";
    if is_docker && !outcome.refs.is_empty() {
        return Err(SolveError::Invalid(
            "docker exporter does not currently support exporting manifest lists".to_owned(),
        ));
    }
    let attributes = image::read(job, outcome, exporter)?;
    let parts = parts(job, outcome, Some(&attributes))?;
    let said = attest::said(job, outcome, &parts).await?;
    let several = !outcome.refs.is_empty();
    // What is for images alone makes no index of what would be none.
    let is_asked = attributes.inline_attestations == Some(true);
    let goes = said.iter().flatten().any(|said| several || is_asked || !said.inline_only);
    let names = attributes.names.clone();
    let said = if goes { said } else { said.iter().map(|_| Vec::new()).collect() };
    let statements = |manifests: &[Descriptor]| attest::statements(&said, &parts, &names, manifests);
    let assembled = Arc::new(assemble(shown, &parts, several, statements, goes, &attributes).await?);
    let mut told = image::told(&assembled)?;
    if !names.is_empty() {
        told.insert(image::NAME.to_owned(), image::joined(&names));
    }
    if !attributes.tar {
        to_client_store(shown, &assembled).await?;
        return Ok(told);
    }
    let made = attributes.epoch.flatten().or(parts[0].epoch).unwrap_or_else(now);
    let writing = writing(assembled, names, made, is_docker);
    let pieces = job.solver().engine().archive_stream("build", writing);
    super::send(shown, exporter, &told, async { Ok(pieces.await?) }).await?;
    Ok(told)
}

/// Sends all blobs of an image to the client's own store, which it writes into a directory.
async fn to_client_store(shown: &Shown, assembled: &Arc<Assembled>) -> Result<(), SolveError> {
    let _part = shown.part("copying to the client's directory");
    let job = shown.job();
    let session = job.session()?;
    let mut sent: Vec<Digest> = Vec::new();
    for packed in &assembled.layers {
        let (packed, descriptor) = (Arc::clone(packed), packed.descriptor().clone());
        if sent.contains(&descriptor.digest) {
            continue;
        }
        let writing = move |out: &mut dyn Write| packed.write_to(out);
        let pieces = job.solver().engine().archive_stream("build", writing).await?;
        let broken = |error: io::Error| SessionError::Failed(error.to_string());
        let content = pieces.map(move |piece| piece.map_err(broken)).boxed();
        session.content_write(CLIENT_STORE, &descriptor.digest, descriptor.size, content).await?;
        sent.push(descriptor.digest);
    }
    for (descriptor, bytes) in &assembled.documents {
        if !sent.contains(&descriptor.digest) {
            let content = futures::stream::iter([Ok(bytes::Bytes::from(bytes.clone()))]).boxed();
            session.content_write(CLIENT_STORE, &descriptor.digest, descriptor.size, content).await?;
            sent.push(descriptor.digest.clone());
        }
    }
    Ok(())
}

/// Who writes an archive.
fn writing(
    assembled: Arc<Assembled>,
    names: Vec<Reference>,
    made: Timestamp,
    is_docker: bool,
) -> impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static {
    move |out| write(&assembled, &names, made, is_docker, out)
}

/// Writes an image as an OCI layout, which is one of Docker's as well with `is_docker`.
fn write(
    assembled: &Assembled,
    names: &[Reference],
    made: Timestamp,
    is_docker: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut archive = Archive { out, written: Vec::new() };
    archive.directory("blobs/")?;
    archive.directory("blobs/sha256/")?;
    for packed in &assembled.layers {
        let descriptor = packed.descriptor();
        if archive.is_new(&descriptor.digest) {
            archive.header(&blob(&descriptor.digest), descriptor.size)?;
            packed.write_to(archive.out)?;
            archive.padding(descriptor.size)?;
        }
    }
    for (descriptor, bytes) in &assembled.documents {
        if archive.is_new(&descriptor.digest) {
            archive.file(&blob(&descriptor.digest), bytes)?;
        }
    }
    let mut target = assembled.target.clone();
    target.annotations.entry(CREATED.to_owned()).or_insert_with(|| made.to_string());
    let named = |name: &Reference| {
        let mut entry = target.clone();
        entry.annotations.insert(ANNOTATION_IMAGE_NAME.to_owned(), name.to_string());
        let tag = name.tag().unwrap_or_default().to_owned();
        entry.annotations.insert(ANNOTATION_REF_NAME.to_owned(), tag);
        entry
    };
    let manifests = if names.is_empty() { vec![target.clone()] } else { names.iter().map(named).collect() };
    let index = Index {
        schema_version: 2,
        media_type: media_type::OCI_INDEX.to_owned(),
        manifests,
        annotations: BTreeMap::new(),
    };
    archive.file(OCI_INDEX_FILE, &json(&index)?)?;
    if is_docker {
        let images = assembled.images.iter().map(|image| DockerManifestEntry {
            config: blob(&image.config_digest),
            repo_tags: names.iter().map(Reference::familiar).collect(),
            layers: image.layers.iter().map(|layer| blob(&layer.descriptor().digest)).collect(),
        });
        archive.file(DOCKER_MANIFEST_FILE, &json(&images.collect::<Vec<_>>())?)?;
    }
    archive.file(OCI_LAYOUT_FILE, &json(&OciLayout::default())?)?;
    archive.out.write_all(&[0; 1024])
}

fn blob(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

fn json(document: &impl serde::Serialize) -> io::Result<Vec<u8>> {
    serde_json::to_vec(document).map_err(io::Error::from)
}

/// An archive in which nothing says when it was written.
struct Archive<'a> {
    out: &'a mut dyn Write,
    written: Vec<Digest>,
}

impl Archive<'_> {
    /// Whether a blob has not been written yet.
    fn is_new(&mut self, digest: &Digest) -> bool {
        let is_new = !self.written.contains(digest);
        if is_new {
            self.written.push(digest.clone());
        }
        is_new
    }

    fn directory(&mut self, path: &str) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o755);
        header.set_size(0);
        header.set_path(path)?;
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }

    fn header(&mut self, path: &str, size: u64) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(size);
        header.set_path(path)?;
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }

    fn padding(&mut self, size: u64) -> io::Result<()> {
        let padding = usize::try_from(size.next_multiple_of(512) - size).unwrap_or_default();
        self.out.write_all(&[0; 512][..padding])
    }

    fn file(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        self.header(path, content.len() as u64)?;
        self.out.write_all(content)?;
        self.padding(content.len() as u64)
    }
}
