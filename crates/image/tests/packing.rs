//! Layers as blobs: the same everywhere, taken as they came where that will do, and gone with whoever held them.

mod support;

use base::cancel::Cancel;
use image::{Compression, Layer, MediaTypes, Packed, Packing, Progress, Store};
use oci::{Descriptor, Digest, media_type};
use support::{Archive, TestStore, config_of};

/// Longer than a frame of zstd, and with something to compress.
fn content() -> Vec<u8> {
    (0..1_200_000_u32).flat_map(|number| (number / 7).to_le_bytes()).collect()
}

fn layer(store: &Store) -> Layer {
    let archive = Archive::new().file("a", &content()).file("b/c", b"short").link("d", "a").finish();
    store.layer_unpack(None, &archive[..]).expect("a layer")
}

fn pack(store: &Store, layer: &Layer, packing: Packing) -> (Packed, Vec<u8>) {
    let packed = store.layer_blob(layer, &packing, &Cancel::default()).expect("a blob");
    let mut bytes = Vec::new();
    packed.write_to(&mut bytes).expect("its bytes");
    let digest = Digest::sha256_of(&bytes);
    assert_eq!(
        (packed.descriptor().digest.clone(), packed.descriptor().size),
        (digest, bytes.len() as u64),
        "{packing:?}"
    );
    (packed, bytes)
}

/// An OCI layout of an image `app:1` with one layer, as it is compressed and as it is.
fn layout(compressed: &[u8], layer: &[u8]) -> Vec<u8> {
    let config = config_of(&[layer]).to_bytes();
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": Descriptor::of(media_type::OCI_CONFIG, &config),
        "layers": [Descriptor::of(media_type::OCI_LAYER_GZIP, compressed)],
    });
    let manifest = serde_json::to_vec(&manifest).expect("JSON");
    let mut entry = Descriptor::of(media_type::OCI_MANIFEST, &manifest);
    entry.annotations.insert("org.opencontainers.image.ref.name".to_owned(), "app:1".to_owned());
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [entry] });
    let blob = |content: &[u8]| format!("blobs/sha256/{}", Digest::sha256_of(content).hex());
    Archive::new()
        .file(&blob(compressed), compressed)
        .file(&blob(&config), &config)
        .file(&blob(&manifest), &manifest)
        .file("index.json", &serde_json::to_vec(&index).expect("JSON"))
        .file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)
        .finish()
}

#[test]
fn the_same_layer_is_the_same_blob_in_every_store() {
    let (one, other) = (TestStore::new(), TestStore::new());
    let (in_one, in_other) = (layer(&one.store), layer(&other.store));
    use Compression::{Gzip, Uncompressed, Zstd};
    for (compression, level, docker, oci) in [
        (Gzip, None, media_type::DOCKER_LAYER_GZIP, media_type::OCI_LAYER_GZIP),
        (Gzip, Some(1), media_type::DOCKER_LAYER_GZIP, media_type::OCI_LAYER_GZIP),
        (Zstd, None, media_type::OCI_LAYER_ZSTD, media_type::OCI_LAYER_ZSTD),
        (Uncompressed, None, media_type::DOCKER_LAYER, media_type::OCI_LAYER),
    ] {
        for (types, named) in [(MediaTypes::Docker, docker), (MediaTypes::Oci, oci)] {
            let packing = Packing { compression, level, types, ..Packing::default() };
            let ((first, bytes), (second, again)) =
                (pack(&one.store, &in_one, packing), pack(&other.store, &in_other, packing));
            assert_eq!((first.descriptor(), &*first.descriptor().media_type), (second.descriptor(), named));
            assert!(bytes == again, "{packing:?}");
            let fresh = TestStore::new();
            let unpacked = fresh.store.layer_unpack(None, &bytes[..]).expect("a layer again");
            assert_eq!(unpacked.diff_id(), in_one.diff_id(), "{packing:?}");
        }
    }
    let refused = Packing { level: Some(10), ..Packing::default() };
    let refused = one.store.layer_blob(&in_one, &refused, &Cancel::default()).expect_err("no such level");
    assert_eq!(refused.to_string(), "invalid compression level: 10");
}

#[test]
fn a_blob_stays_as_long_as_it_is_held() {
    let test = TestStore::new();
    let layer = layer(&test.store);
    let (first, _) = pack(&test.store, &layer, Packing::default());
    let name = first.descriptor().digest.hex().to_owned();
    let (second, _) = pack(&test.store, &layer, Packing::default());
    assert_eq!(first.descriptor(), second.descriptor());
    drop(first);
    assert_eq!(test.names("blobs/sha256"), std::slice::from_ref(&name));
    drop(second);
    assert_eq!(test.names("blobs/sha256"), [""; 0]);
    // What is not compressed lies there only if it is asked for.
    let (mut plain, _) =
        pack(&test.store, &layer, Packing { compression: Compression::Uncompressed, ..Packing::default() });
    assert_eq!(test.names("blobs/sha256"), [""; 0]);
    plain.make_blob(&Cancel::default()).expect("a blob");
    assert_eq!(test.names("blobs/sha256"), [layer.diff_id().hex()]);
    drop(plain);
    assert_eq!(test.names("blobs/sha256"), [""; 0]);
    test.wait_until_clean();
    let cancel = Cancel::default();
    cancel.set();
    test.store.layer_blob(&layer, &Packing::default(), &cancel).expect_err("nobody wants it");
    test.wait_until_clean();
}

#[test]
fn a_layer_goes_as_it_came_unless_that_will_not_do() {
    let test = TestStore::new();
    let archive = Archive::new().file("a", b"as somebody else compressed it").finish();
    let mut other = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut other, &archive).expect("into memory");
    let came = other.finish().expect("into memory");
    test.store.image_load(&layout(&came, &archive)[..], &Progress::none()).expect("load");
    let image = test.store.image_get("app:1").expect("the image");
    let layer = test.store.layer_hold(&image.layers[0]).expect("its layer");
    let zstd = Packing { compression: Compression::Zstd, ..Packing::default() };
    let (packed, bytes) = pack(&test.store, &layer, zstd);
    assert!(bytes == came);
    assert_eq!(packed.descriptor().media_type, media_type::DOCKER_LAYER_GZIP);
    let (packed, bytes) = pack(&test.store, &layer, Packing { force: true, ..zstd });
    assert!(bytes != came);
    assert_eq!(packed.descriptor().media_type, media_type::OCI_LAYER_ZSTD);
    let level = Packing { force: true, level: Some(6), ..Packing::default() };
    assert!(pack(&test.store, &layer, level).1 != came);
    assert!(pack(&test.store, &layer, Packing { force: true, ..Packing::default() }).1 == came);
}

#[test]
fn times_are_no_later_than_they_may_be() {
    let test = TestStore::new();
    let archive = |mtime: u64| {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, mtime) in [("early", 1000), ("late", mtime)] {
            let mut header = tar::Header::new_ustar();
            header.set_size(5);
            header.set_mode(0o644);
            header.set_mtime(mtime);
            builder.append_data(&mut header, name, &b"hello"[..]).expect("a file");
        }
        builder.into_inner().expect("an archive")
    };
    let epoch = Some("1970-01-01T00:33:20Z".parse().expect("a time"));
    let packing = Packing { epoch, ..Packing::default() };
    let mut seen = Vec::new();
    for mtime in [3000, 1_700_000_000] {
        let late = test.store.layer_unpack(None, &archive(mtime)[..]).expect("a layer");
        let (packed, bytes) = pack(&test.store, &late, packing);
        assert_ne!(packed.diff_id(), late.diff_id());
        let again = test.store.layer_unpack(None, &bytes[..]).expect("a layer");
        assert_eq!(again.diff_id(), packed.diff_id());
        seen.push((packed.diff_id().clone(), bytes));
    }
    assert!(seen[0] == seen[1], "whenever it was made, the same comes out");
    assert_eq!(seen[0].0, Digest::sha256_of(&archive(2000)));
    let early = test.store.layer_unpack(None, &archive(2000)[..]).expect("a layer");
    let (packed, bytes) = pack(&test.store, &early, packing);
    assert_eq!((packed.diff_id(), bytes), (early.diff_id(), seen[0].1.clone()));
}
