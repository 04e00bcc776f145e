//! Files from addresses.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use base::space::Within;
use bytes::Bytes;
use futures::StreamExt;
use oci::{Digest, Hasher};

use crate::files::{Owner, write_file};
use crate::solve::SolveError;
use crate::solve::key::Key;
use crate::solve::schedule::{Done, Step};
use crate::solve::session::{UPLOADS, Upload};
use crate::solve::usage::{self, Made};
use crate::solve::value::{self, Chain};

/// It is told how much has come at most every so many bytes.
const TELL_EVERY: u64 = 512 << 10;

/// The sources `http://` and `https://`: a directory with the file in it.
pub(crate) async fn perform(
    step: &Step<'_>,
    address: &str,
    attributes: &BTreeMap<String, String>,
) -> Result<Done, SolveError> {
    let inner = &step.job.inner.solver.inner;
    let number = |key: &str, radix: u32, default: u32| match attributes.get(key) {
        None => Ok(default),
        Some(text) => u32::from_str_radix(text, radix)
            .map_err(|_| SolveError::Invalid(format!("{key} of {address} is no number: {text}"))),
    };
    let mode = number("http.perm", 8, 0o600)? & 0o7777;
    let owner =
        Owner { uid: number("http.uid", 10, 0)?, gid: number("http.gid", 10, 0)?, ..Owner::default() };
    if let Some(header) =
        attributes.keys().find(|key| key.starts_with("http.header.") || *key == "http.authheadersecret")
    {
        return Err(SolveError::Unsupported(format!("{header} of the source {address} is not supported")));
    }
    let mut opened = Coming::open(step, address).await?;
    let name = match attributes.get("http.filename").filter(|name| !name.is_empty()) {
        Some(name) => name.clone(),
        None => crate::download::last_part(address)
            .map(str::to_owned)
            .or_else(|| opened.file_name())
            .unwrap_or_else(|| "download".to_owned()),
    };
    if name.contains('/') || name == ".." || name == "." {
        return Err(SolveError::Invalid(format!("{name} is no name of a file")));
    }
    let modified = opened.modified();
    let scratch = inner.store.scratch().map_err(SolveError::io("make a place for a file"))?;
    let path = scratch.path().join("file");
    let failed = |error| SolveError::io(format_args!("keep {address}"))(error);
    let mut file = offload::in_place(|| File::create(&path).and_then(Within::new)).map_err(failed)?;
    let (mut hasher, mut told) = (Hasher::sha256(), 0);
    let progress = step.status(&format!("downloading {address}"));
    while let Some(piece) = opened.next().await? {
        hasher.update(&piece);
        offload::in_place(|| file.write_all(&piece)).map_err(failed)?;
        if opened.came() - told >= TELL_EVERY {
            told = opened.came();
            progress.tell(told, opened.length(), false);
        }
    }
    progress.tell(opened.came(), opened.length(), true);
    let digest = hasher.finish();
    if let Some(wanted) = attributes.get("http.checksum").filter(|wanted| !wanted.is_empty()) {
        let wanted =
            Digest::parse(wanted).map_err(|error| SolveError::Invalid(format!("http.checksum: {error}")))?;
        let actual = match wanted.algorithm() == digest.algorithm() {
            true => digest.clone(),
            false => offload::in_place(|| hash(&path, &wanted)).map_err(failed)?,
        };
        if actual != wanted {
            return Err(SolveError::Invalid(format!("digest mismatch {actual}: {wanted}")));
        }
    }
    let mut key = Key::new("http");
    key.add(digest.to_string());
    key.add(&name);
    key.add(format!("{mode:o} {} {} {modified:?}", owner.uid, owner.gid));
    usage::once(step, key.finish(), "regular", || async {
        let layer = value::layer_on(step.job, Chain::default(), move |target| {
            let mut content = File::open(&path).map_err(SolveError::io("read what was fetched"))?;
            let to = Path::new("/").join(&name);
            Ok(write_file(target, &to, &mut content, mode, modified, owner)?)
        });
        Ok(Made { outputs: vec![layer.await?] })
    })
    .await
}

/// What comes: from an address, or from the client, who has been given a stream and knows it by a path.
enum Coming {
    Address(engine::image::Opened),
    Client { pieces: Upload, came: u64 },
}

impl Coming {
    async fn open(step: &Step<'_>, address: &str) -> Result<Self, SolveError> {
        match address.strip_prefix(UPLOADS) {
            Some(path) => {
                let pieces = step.job.session()?.upload(&format!("/{path}")).await?;
                Ok(Self::Client { pieces, came: 0 })
            }
            None => Ok(Self::Address(step.job.inner.solver.inner.engine.fetch(address).await?)),
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SolveError> {
        match self {
            Self::Address(opened) => Ok(opened.next().await?),
            Self::Client { pieces, came } => {
                let piece = pieces.next().await.transpose()?;
                *came += piece.as_ref().map_or(0, Bytes::len) as u64;
                Ok(piece)
            }
        }
    }

    fn came(&self) -> u64 {
        match self {
            Self::Address(opened) => opened.came(),
            Self::Client { came, .. } => *came,
        }
    }

    /// How much there is; 0 where nobody says.
    fn length(&self) -> u64 {
        match self {
            Self::Address(opened) => opened.length.unwrap_or_default(),
            Self::Client { .. } => 0,
        }
    }

    fn file_name(&self) -> Option<String> {
        match self {
            Self::Address(opened) => opened.file_name.clone(),
            Self::Client { .. } => None,
        }
    }

    fn modified(&self) -> Option<i64> {
        match self {
            Self::Address(opened) => opened.modified.map(|time| time.as_second()),
            Self::Client { .. } => None,
        }
    }
}

/// The digest of a file, made as another one was.
fn hash(path: &Path, like: &Digest) -> std::io::Result<Digest> {
    let mut hasher = like.algorithm().hasher();
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 128 << 10];
    loop {
        match std::io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(hasher.finish()),
            got => hasher.update(&buffer[..got]),
        }
    }
}
