//! Requests for certificates, and certificates: what a request asks for is what its certificate says.
//!
//! Nothing behind a request's signature is reached by what somebody made up, so the bytes are what is signed,
//! and are signed here; and they are read as they are too, as certificates are that others have made.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use apiserver::fuzzing;
use apiserver::pki::{Authority, CertificateRequest, certificate_ends, check_certificates};
use base::{SystemClock, SystemRandom};
use rcgen::{KeyPair, SigningKey as _};

use crate::{Shape, Target};

pub(super) const TARGET: Target = Target {
    name: "certificate",
    shape: Shape::Plain,
    examples,
    words: &[
        "\x30",
        "\x31",
        "\x0c",
        "\x13",
        "\x16",
        "\x1e",
        "\x55\x04\x03",
        "\x55\x04\x0a",
        "\x55\x04\x0b",
        "\x55\x1d\x11",
        "\x06\x03",
        "bob",
        "system:masters",
        "DNS",
        "\0",
        "/",
        "\u{e4}",
    ],
    read,
    turns: 1_500,
};

/// Made for this, and good for nothing else: it asks for the certificates below.
pub(super) const KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgF/z9lODv7gGTm8Wj
N/YLFWYdLo7X/rEq3+0xAGBYg3ehRANCAAQJPI+ClY0UsfgiM4EJjTjWoqEWzMtV
OwmDVr59/1NbyRqSXuPjfnAnBSbbLFfSSPgT+Ewxp4pOyuMzaFZwtT8A
-----END PRIVATE KEY-----
";
/// That algorithm of signatures, in DER.
const ECDSA_WITH_SHA256: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
/// What is signed of some requests, in hexadecimal: one of two organisations, one of a node with names of every
/// kind, one that is not of ASCII, and one without a subject.
const REQUESTS: [&str; 4] = [
    "30818c020100302a310c300a060355040a0c036f6e65310c300a060355040a0c0374776f310c300a06035504030c03626f62\
     3059301306072a8648ce3d020106082a8648ce3d03010703420004093c8f82958d14b1f8223381098d38d6a2a116cccb553b\
     098356be7dff535bc91a925ee3e37e70270526db2c57d248f813f84c31a78a4ecae333685670b53f00a000",
    "30820100020100303031153013060355040a0c0c73797374656d3a6e6f6465733117301506035504030c0e73797374656d3a\
     6e6f64653a766d3059301306072a8648ce3d020106082a8648ce3d03010703420004093c8f82958d14b1f8223381098d38d6\
     a2a116cccb553b098356be7dff535bc91a925ee3e37e70270526db2c57d248f813f84c31a78a4ecae333685670b53f00a06e\
     306c06092a864886f70d01090e315f305d304e0603551d1104473045820e766d2e6578616d706c652e6f726782042a2e766d\
     87040a0000018710fd00000000000000000000000000000181076140622e6f7267860c7370696666653a2f2f612f62300b06\
     03551d0f040403020780",
    "3081a90201003047310b3009060355040613024445310e300c06035504070c054bc3b66c6e310b3009060355040a0c02c3a4\
     310a3008060355040b0c0178310f300d06035504030c06e697a5e69cac3059301306072a8648ce3d020106082a8648ce3d03\
     010703420004093c8f82958d14b1f8223381098d38d6a2a116cccb553b098356be7dff535bc91a925ee3e37e70270526db2c\
     57d248f813f84c31a78a4ecae333685670b53f00a000",
    "30818402010030003059301306072a8648ce3d020106082a8648ce3d03010703420004093c8f82958d14b1f8223381098d38\
     d6a2a116cccb553b098356be7dff535bc91a925ee3e37e70270526db2c57d248f813f84c31a78a4ecae333685670b53f00a0\
     22302006092a864886f70d01090e31133011300f0603551d110408300682046f6e6c79",
];

struct Parties {
    key: KeyPair,
    authority: Authority,
}

static PARTIES: LazyLock<Parties> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let clock = Arc::new(SystemClock::new());
    let authority =
        Authority::open(directory.path(), clock, Arc::new(SystemRandom)).expect("one can be made");
    Parties { key: KeyPair::from_pem(KEY).expect("it is a key"), authority }
});

fn read(bytes: &[u8]) -> bool {
    let certificates = check_certificates(bytes);
    assert!(certificates.is_err() || fuzzing::identity(bytes).is_none_or(|who| !who.user.is_empty()));
    let _ = certificate_ends(bytes);
    let as_it_is = CertificateRequest::parse(bytes);
    let Ok(request) = CertificateRequest::parse(signed(bytes).as_bytes()) else {
        return certificates.is_ok() || as_it_is.is_ok();
    };
    let usages = ["digital signature".to_owned(), "client auth".to_owned()];
    // Not every name can be one of a certificate.
    let Ok(made) = PARTIES.authority.sign(&request, &usages, Duration::from_secs(3600)) else { return true };
    assert_eq!(check_certificates(made.as_bytes()), Ok(()), "{request:?}");
    assert!(certificate_ends(made.as_bytes()).is_some(), "{request:?}");
    match fuzzing::identity(made.as_bytes()) {
        Some(identity) => {
            assert_eq!(identity.user, request.common_name, "{request:?}");
            let asked = apiserver::Identity::new(
                &request.common_name,
                request.organizations.iter().map(String::as_str),
            );
            assert_eq!(identity.groups, asked.groups, "{request:?}");
        }
        None => assert_eq!(request.common_name, "", "{request:?}"),
    }
    true
}

/// A request, in PEM.
fn signed(info: &[u8]) -> String {
    let signature = PARTIES.key.sign(info).expect("a key signs anything");
    let bits = element(0x03, &[&[0], &signature[..]].concat());
    let request = element(0x30, &[info, ECDSA_WITH_SHA256, &bits].concat());
    let body = request.chunks(48).map(base64).collect::<Vec<_>>().join("\n");
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n")
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    match length {
        [] => vec![tag, 0],
        [short @ ..0x80] => [&[tag, *short], content].concat(),
        long => {
            let count = u8::try_from(long.len()).expect("a length has eight bytes at most");
            [&[tag, 0x80 | count], long, content].concat()
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn examples() -> Vec<Vec<u8>> {
    let byte = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).expect("ASCII");
        u8::from_str_radix(text, 16).expect("hexadecimal")
    };
    REQUESTS.iter().map(|text| text.as_bytes().chunks(2).map(byte).collect()).collect()
}
