//! The name of an image: what is printed of it is read as the same.
#![no_main]

use oci::{Digest, Reference};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(reference) = Reference::parse(text) {
        let printed = reference.to_string();
        assert_eq!(Reference::parse(&printed).expect(&printed), reference);
        let familiar = reference.familiar();
        assert_eq!(Reference::parse(&familiar).expect(&familiar), reference);
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
});
