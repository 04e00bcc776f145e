//! ADD from an address.

use std::fs::File;
use std::io;

use base::space::Within;
use image::registry::{Client, Config};
use image::{Scratch, Store};
use oci::Digest;
use offload::in_place;

/// A file that was fetched; goes away when this is dropped.
pub(crate) struct Downloaded {
    /// The last part of the address.
    pub(crate) name: String,
    pub(crate) digest: Digest,
    scratch: Scratch,
}

/// Whether a source of ADD is an address.
pub(crate) fn is_address(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

/// Fetches a file. The error says why not.
pub(crate) async fn download(store: &Store, address: &str) -> Result<Downloaded, String> {
    let path = address.split(['?', '#']).next().unwrap_or(address);
    let name = path.splitn(4, '/').nth(3).and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    if name.is_empty() {
        return Err(format!("cannot determine filename from url: {address}"));
    }
    let text = |error: &dyn std::error::Error| base::error::chain(error).to_string();
    let scratch = store.scratch().map_err(|error| text(&error))?;
    let client = Client::new(Config { user_agent: "gantry".to_owned(), ..Config::default() });
    let client = client.map_err(|error| text(&error))?;
    let file = in_place(|| File::create(scratch.path().join("file")).and_then(Within::new));
    let mut file = file.map_err(|error| text(&error))?;
    let digest = client.fetch(address, &mut file).await.map_err(|error| text(&error))?;
    Ok(Downloaded { name: name.to_owned(), digest, scratch })
}

impl Downloaded {
    pub(crate) fn open(&self) -> io::Result<File> {
        File::open(self.scratch.path().join("file"))
    }
}
