//! ADD from an address.

use std::fs::File;
use std::io::{self, Write};

use base::space::Within;
use engine::Engine;
use engine::image::Progress;
use image::{Scratch, Store};
use oci::{Digest, Hasher};
use offload::in_place;

use crate::builder::Events;
use crate::request::BuildEvent;

/// It is told how much has come at most every so many bytes.
const TELL_EVERY: u64 = 512 << 10;

/// A file that was fetched; goes away when this is dropped.
pub(crate) struct Downloaded {
    /// The last part of the address, or what the server calls it; none where neither says anything.
    pub(crate) name: Option<String>,
    /// When it was changed, in seconds; 0 where the server does not say.
    pub(crate) modified: i64,
    pub(crate) digest: Digest,
    scratch: Scratch,
}

/// Whether a source of ADD is an address.
pub(crate) fn is_address(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

/// Fetches a file. The error says why not.
pub(crate) async fn download(
    engine: &Engine,
    store: &Store,
    address: &str,
    events: &Events,
) -> Result<Downloaded, String> {
    let text = |error: &dyn std::error::Error| base::error::chain(error).to_string();
    let mut opened = engine.fetch(address).await.map_err(|error| text(&error))?;
    let name = last_part(address).map(str::to_owned).or_else(|| opened.file_name.clone());
    let modified = opened.modified.map_or(0, |time| time.as_second());
    let scratch = store.scratch().map_err(|error| text(&error))?;
    let file = in_place(|| File::create(scratch.path().join("file")).and_then(Within::new));
    let mut file = file.map_err(|error| text(&error))?;
    let (mut hasher, mut told) = (Hasher::sha256(), 0);
    loop {
        let piece = opened.next().await.map_err(|error| text(&error))?;
        let is_end = piece.is_none();
        if let Some(piece) = piece {
            hasher.update(&piece);
            in_place(|| file.write_all(&piece)).map_err(|error| text(&error))?;
        }
        if is_end || opened.came() - told >= TELL_EVERY {
            told = opened.came();
            let bytes = Some((told, opened.length.unwrap_or_default()));
            let step = Progress::Layer { id: String::new(), status: "Downloading".to_owned(), bytes };
            // Nobody may be listening any more: then the build is about to be dropped.
            let _ = events.send(Ok(BuildEvent::Pull(step))).await;
        }
        if is_end {
            return Ok(Downloaded { name, modified, digest: hasher.finish(), scratch });
        }
    }
}

/// The name at the end of an address.
pub(crate) fn last_part(address: &str) -> Option<&str> {
    let path = address.split(['?', '#']).next().unwrap_or(address);
    path.splitn(4, '/').nth(3).and_then(|path| path.rsplit('/').next()).filter(|name| !name.is_empty())
}

impl Downloaded {
    pub(crate) fn open(&self) -> io::Result<File> {
        File::open(self.scratch.path().join("file"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_called_by_the_last_part_of_its_address() {
        for (address, expected) in [
            ("http://h/a/b.tar?x=/y", Some("b.tar")),
            ("http://h/a/", None),
            ("http://h", None),
            ("https://h/?x", None),
        ] {
            assert_eq!(last_part(address), expected, "{address}");
        }
    }
}
