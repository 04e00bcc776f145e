//! Content put into a registry, and taken out of it, as it is: by nobody's idea of an image.
#![allow(dead_code, unreachable_pub, reason = "shared by path, not by crate; each target uses its own part")]

use std::io::Write;
use std::net::SocketAddr;

use oci::{Descriptor, Digest, Platform, media_type};

/// A repository of a registry without TLS or passwords.
pub struct Remote {
    http: reqwest::Client,
    base: String,
}

/// A document or other content, with what points at it.
#[derive(Clone)]
pub struct Content {
    pub at: Descriptor,
    pub bytes: Vec<u8>,
}

impl Content {
    pub fn new(media_type: &str, bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self { at: Descriptor::of(media_type, &bytes), bytes }
    }

    pub fn on(mut self, platform: &str) -> Self {
        self.at.platform = Some(platform.parse::<Platform>().expect(platform));
        self
    }

    pub fn digest(&self) -> &Digest {
        &self.at.digest
    }
}

impl Remote {
    pub fn new(address: SocketAddr, repository: &str) -> Self {
        // Needed to make a client, though nothing here speaks TLS.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let base = format!("http://{address}/v2/{repository}");
        Self { http: reqwest::Client::new(), base }
    }

    pub async fn blob_put(&self, content: &Content) {
        let begun = self.http.post(format!("{}/blobs/uploads/", self.base)).send().await.expect("begin");
        let location = begun.headers()["location"].to_str().expect("an address").to_owned();
        let url = format!("{location}&digest={}", content.digest());
        let sent = self.http.put(url).body(content.bytes.clone()).send().await.expect("send");
        assert!(sent.status().is_success(), "{sent:?}");
    }

    pub async fn manifest_put(&self, name: &str, content: &Content) {
        let request = self.http.put(format!("{}/manifests/{name}", self.base));
        let request = request.header("content-type", &content.at.media_type).body(content.bytes.clone());
        let sent = request.send().await.expect("send");
        let status = sent.status();
        assert!(status.is_success(), "{status}: {:?}", sent.text().await);
    }

    /// The document that a name leads to, byte for byte.
    pub async fn manifest(&self, name: &str) -> Option<Vec<u8>> {
        let request = self.http.get(format!("{}/manifests/{name}", self.base));
        let got = request.header("accept", media_type::MANIFEST_ACCEPT.join(", ")).send().await.expect("ask");
        if !got.status().is_success() {
            return None;
        }
        Some(got.bytes().await.expect("the document").to_vec())
    }

    pub async fn has_blob(&self, digest: &Digest) -> bool {
        self.http
            .head(format!("{}/blobs/{digest}", self.base))
            .send()
            .await
            .expect("ask")
            .status()
            .is_success()
    }
}

/// An image for one platform, in parts.
#[derive(Clone)]
pub struct Made {
    pub manifest: Content,
    pub config: Content,
    pub layers: Vec<Content>,
}

/// An image whose layers are compressed as this program never does, with an annotation that it never writes.
pub fn image(platform: &str, archives: &[&[u8]]) -> Made {
    let mut config = super::support::config_of(archives);
    let of: Platform = platform.parse().expect(platform);
    (config.architecture, config.variant) = (of.architecture, of.variant);
    let config = Content::new(media_type::OCI_CONFIG, config.to_bytes());
    let layers: Vec<Content> = archives
        .iter()
        .map(|archive| {
            let mut encoder =
                flate2::GzBuilder::new().filename("layer.tar").write(Vec::new(), flate2::Compression::fast());
            encoder.write_all(archive).expect("into memory");
            Content::new(media_type::OCI_LAYER_GZIP, encoder.finish().expect("into memory"))
        })
        .collect();
    let manifest = manifest(&config, &layers).on(platform);
    Made { manifest, config, layers }
}

/// What is said about the manifest of another image: where it comes from.
pub fn attestation(about: &Content) -> Made {
    let config = Content::new(
        media_type::OCI_CONFIG,
        r#"{"architecture":"unknown","os":"unknown","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#,
    );
    let statement = format!(
        r#"{{"_type":"https://in-toto.io/Statement/v0.1","subject":[{{"digest":{{"sha256":"{}"}}}}]}}"#,
        about.digest().hex()
    );
    let layers = vec![Content::new("application/vnd.in-toto+json", statement)];
    let mut manifest = manifest(&config, &layers).on("unknown/unknown");
    let annotations = [
        ("vnd.docker.reference.digest", about.digest().to_string()),
        ("vnd.docker.reference.type", "attestation-manifest".to_owned()),
    ];
    manifest.at.annotations.extend(annotations.map(|(key, value)| (key.to_owned(), value)));
    Made { manifest, config, layers }
}

pub fn index(manifests: &[&Content]) -> Content {
    let entries: Vec<&Descriptor> = manifests.iter().map(|manifest| &manifest.at).collect();
    let entries = serde_json::to_string(&entries).expect("JSON");
    let bytes = format!(
        "{{\n  \"schemaVersion\": 2,\n  \"mediaType\": \"{}\",\n  \"manifests\": {entries},\n  \"annotations\": {{\"made\": \"by hand\"}}\n}}",
        media_type::OCI_INDEX
    );
    Content::new(media_type::OCI_INDEX, bytes)
}

pub fn manifest(config: &Content, layers: &[Content]) -> Content {
    let layers: Vec<&Descriptor> = layers.iter().map(|layer| &layer.at).collect();
    let bytes = format!(
        "{{ \"schemaVersion\": 2, \"mediaType\": \"{}\",\n \"config\": {}, \"layers\": {}, \"annotations\": {{\"of\": \"somebody\"}} }}",
        media_type::OCI_MANIFEST,
        serde_json::to_string(&config.at).expect("JSON"),
        serde_json::to_string(&layers).expect("JSON")
    );
    Content::new(media_type::OCI_MANIFEST, bytes)
}

impl Made {
    pub async fn put(&self, remote: &Remote) {
        for content in self.layers.iter().chain([&self.config]) {
            remote.blob_put(content).await;
        }
        remote.manifest_put(&self.manifest.digest().to_string(), &self.manifest).await;
    }

    /// Everything of it.
    pub fn contents(&self) -> Vec<Content> {
        self.layers.iter().chain([&self.config, &self.manifest]).cloned().collect()
    }
}
