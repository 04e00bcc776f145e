//! How somebody else describes the group version that he serves.

use std::sync::Arc;

use model::gvk::GroupVersion;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;

use crate::openapi::{self, Document, Part};

/// How long a document may be.
pub(super) const LONGEST: usize = 4 << 20;

/// What is known of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Described {
    /// The hash of the description of version 3, where he tells that himself.
    pub(crate) hash: Option<String>,
    /// The description of version 2, and by what he knows it.
    pub(crate) v2: Option<Arc<Part>>,
    pub(crate) etag: Option<String>,
    /// The description of version 3, made of that of version 2.
    pub(crate) v3: Option<Document>,
}

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    paths: HashMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(rename = "serverRelativeURL")]
    url: String,
}

impl Described {
    /// Whether whoever serves the group version tells its description of version 3 himself.
    pub(crate) fn is_told_by_itself(&self) -> bool {
        self.hash.is_some()
    }

    /// The hash by which clients know the description of version 3, if there is any.
    pub(crate) fn hash(&self) -> Option<&str> {
        self.hash.as_deref().or(self.v3.as_ref().map(|document| document.etag.as_str()))
    }
}

/// The hash of the description of a group version that an index names.
pub(super) fn read_index(text: &[u8], version: &GroupVersion) -> Result<Option<String>, serde_json::Error> {
    let index: Index = serde_json::from_slice(text)?;
    let found = index.paths.get(&openapi::version_path(version));
    Ok(found.map(|entry| {
        let (_, query) = entry.url.split_once('?').unwrap_or_default();
        let hash = query.split('&').find_map(|one| one.strip_prefix("hash=")).unwrap_or_default();
        let is_fine = hash.len() <= 256
            && hash.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_=%".contains(&byte));
        if is_fine { hash.to_owned() } else { String::new() }
    }))
}

/// What a document of version 2 says of a group version, and the same as version 3. Takes a while.
pub(super) fn read(text: &[u8], version: &GroupVersion) -> Result<(Part, Option<Document>), String> {
    let document: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let below = format!("/{}/", openapi::version_path(version));
    let part = Part::of(document, &below).ok_or_else(|| "it is no document of version 2".to_owned())?;
    let v3 = (!part.is_empty()).then(|| Document::of(&part.v3()));
    Ok((part, v3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_names_hashes_and_nothing_else_is_taken_of_it() {
        let version = GroupVersion::new("w.example.com", "v1");
        let index = |url: &str| {
            let index = serde_json::json!({"paths": {
                "apis/apps/v1": {"serverRelativeURL": "/openapi/v3/apis/apps/v1?hash=EVIL"},
                "apis/w.example.com/v1": {"serverRelativeURL": url},
            }});
            read_index(index.to_string().as_bytes(), &version).expect("an index")
        };
        assert_eq!(index("/openapi/v3/apis/w.example.com/v1?hash=AB12").as_deref(), Some("AB12"));
        assert_eq!(index("https://elsewhere.example/?x=y&hash=AB").as_deref(), Some("AB"));
        assert_eq!(index("/openapi/v3/apis/w.example.com/v1").as_deref(), Some(""));
        assert_eq!(index("/x?hash=a b\r\n").as_deref(), Some(""));
        assert_eq!(read_index(b"{}", &version).expect("an index"), None);
        assert!(read_index(b"<html>", &version).is_err());
    }
}
