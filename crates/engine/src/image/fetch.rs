//! What is fetched from addresses, and found at registries.

use std::io;

use futures::StreamExt;

use super::transfer::credentials;
use super::{AddressHead, AddressRequest, Found, Opened, RegistryAuth, convert};
use crate::engine::Engine;
use crate::error::Result;
use crate::stream::ByteStream;

impl Engine {
    /// Begins to fetch what is at an address (`http://…`, `https://…`).
    pub async fn fetch(&self, address: &str) -> Result<Opened> {
        let opened = self.registries()?.open(address).await;
        opened.map_err(|source| convert::error(source.kind(), source))
    }

    /// Begins to fetch what is at an address, asked for in a way of one's own.
    pub async fn fetch_as(&self, request: &AddressRequest) -> Result<Opened> {
        let opened = self.registries()?.open_as(request).await;
        opened.map_err(|source| convert::error(source.kind(), source))
    }

    /// Asks what is at an address, of which states are known already; nothing where the server does not say.
    pub async fn fetch_head(&self, request: &AddressRequest, known: &[&str]) -> Result<Option<AddressHead>> {
        let head = self.registries()?.head(request, known).await;
        head.map_err(|source| convert::error(source.kind(), source))
    }

    /// The repositories that a registry finds, `limit` at most; `term` may begin with the registry's name.
    pub async fn registry_search(
        &self,
        term: &str,
        limit: u32,
        auth: Option<RegistryAuth>,
    ) -> Result<Vec<Found>> {
        let is_host = |part: &str| part.contains(['.', ':']) || part == "localhost";
        let (domain, name) = match term.split_once('/') {
            Some((domain, name)) if is_host(domain) => (domain, name),
            _ => (oci::reference::DEFAULT_DOMAIN, term),
        };
        let (domain, name) = match domain {
            "docker.io" | "index.docker.io" => {
                (oci::reference::DEFAULT_DOMAIN, name.strip_prefix("library/").unwrap_or(name))
            }
            _ => (domain, name),
        };
        let found = self.registries()?.search(domain, name, limit, &credentials(auth)).await;
        found.map_err(|source| convert::error(source.kind(), source))
    }
}

/// What is being fetched, as an archive or other long thing; `told` hears how much has come.
pub fn stream(opened: Opened, told: impl Fn(u64) + Send + 'static) -> ByteStream {
    let pieces = futures::stream::try_unfold((opened, told), |(mut opened, told)| async move {
        let piece =
            opened.next().await.map_err(|error| io::Error::other(base::error::chain(&error).to_string()))?;
        Ok(piece.map(|piece| {
            told(opened.came());
            (piece, (opened, told))
        }))
    });
    pieces.boxed()
}
