//! Manifests, indexes and configurations of images.

use oci::{Descriptor, Document, ImageConfig, Platform};

use crate::target::texts;
use crate::{Shape, Target};

pub(super) const TARGET: Target = Target {
    name: "manifest",
    shape: Shape::Json,
    examples,
    words: &[
        "\"schemaVersion\":2",
        "\"mediaType\":",
        "\"manifests\":[",
        "\"layers\":[",
        "\"config\":{",
        "\"rootfs\":",
        "\"diff_ids\":",
        "sha256:",
        "null",
        "\"size\":-1",
        "\"platform\":{",
        "\"Healthcheck\":",
        "\"ExposedPorts\":{",
    ],
    read,
    turns: 1250,
};

fn read(text: &[u8]) -> bool {
    let host = Platform::new("linux", "amd64", "");
    let document = Document::parse(text, None);
    for content_type in ["application/vnd.oci.image.index.v1+json", "text/plain"] {
        let _ = Document::parse(text, Some(content_type));
    }
    if let Ok(document) = &document {
        let media_type = document.media_type(None).to_owned();
        let _ = (document.links().len(), document.media_type(Some("x")));
        if let Document::Index(index) = document {
            let selected = index.select(&host);
            assert!(selected.is_none_or(|found| index.manifests.contains(found)));
            let _ = index.manifests.iter().map(Descriptor::about).count();
        }
        let at = Descriptor::of(&media_type, text);
        assert!(Document::parse_at(text, &at).is_ok(), "a document is what its own descriptor says");
        let longer = Descriptor { size: at.size + 1, ..at };
        assert!(Document::parse_at(text, &longer).is_err(), "a document of another length is another");
    }
    let config = ImageConfig::take(text);
    if let Ok(config) = &config {
        let printed = config.to_bytes_checked().expect("what was taken is not too much");
        let again = ImageConfig::take(&printed).expect("what was printed can be read");
        assert_eq!(again.to_bytes(), printed, "a configuration is printed as it was");
        let _ = (
            config.chain_ids(),
            config.platform().fitness(&host),
            config.container(),
            config.config.env_get("PATH"),
        );
    }
    document.is_ok() || config.is_ok()
}

fn examples() -> Vec<Vec<u8>> {
    const ONE: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let all = [
        r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"ONE","size":3},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"ONE","size":3,"urls":["https://x/y"],"annotations":{"a":"b"}}]}"#,
        r#"{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.docker.distribution.manifest.v2+json","digest":"ONE","size":7,"platform":{"architecture":"arm64","os":"linux","variant":"v8","os.features":["x"]}},{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"ONE","size":9,"platform":{"architecture":"amd64","os":"linux"},"annotations":{"vnd.docker.reference.digest":"ONE"}}]}"#,
        r#"{"architecture":"amd64","os":"linux","created":"2026-01-01T00:00:00Z","config":{"Env":["PATH=/bin"],"Cmd":["sh"],"ExposedPorts":{"80/tcp":{}},"Volumes":{"/v":{}},"Labels":{"a":"b"},"Healthcheck":{"Test":["CMD","true"],"Interval":1000000000},"StopSignal":"SIGTERM","User":"1:2"},"rootfs":{"type":"layers","diff_ids":["ONE","ONE"]},"history":[{"created_by":"x","empty_layer":true}],"container_config":{"Cmd":null},"other":[1]}"#,
    ];
    let all: Vec<String> = all.iter().map(|text| text.replace("ONE", ONE)).collect();
    texts(&all.iter().map(String::as_str).collect::<Vec<_>>())
}
