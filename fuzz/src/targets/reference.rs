//! Names of images.

use oci::{Digest, Reference};

use crate::target::texts;
use crate::{Shape, Target};

pub(super) const TARGET: Target = Target {
    name: "reference",
    shape: Shape::Plain,
    examples,
    words: &[
        ":",
        "/",
        "@",
        "@sha256:",
        "docker.io/",
        "library/",
        "localhost",
        ".",
        "__",
        "-",
        "latest",
        "[::1]:5000/",
        "A",
    ],
    read,
    turns: 25_000,
};

fn read(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    if let Ok(digest) = Digest::parse(text) {
        assert_eq!(digest.to_string(), text, "a digest is printed as it was");
    }
    let Ok(reference) = Reference::parse(text) else { return false };
    for printed in [reference.to_string(), reference.familiar()] {
        assert_eq!(
            Reference::parse(&printed).as_ref(),
            Ok(&reference),
            "`{printed}` is another name than `{text}`"
        );
    }
    let tagged = reference.with_default_tag();
    assert!(tagged.tag().is_some() || tagged.digest().is_some());
    assert!(reference.without_suffix().tag().is_none());
    true
}

fn examples() -> Vec<Vec<u8>> {
    texts(&[
        "alpine",
        "library/alpine:3.20",
        "docker.io/library/alpine",
        "localhost/a",
        "localhost:5000/a/b__c.d-e:v1.0_x",
        "registry.example.org:443/a/b@sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "a:b@sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "[2001:db8::1]:5000/a:b",
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    ])
}
