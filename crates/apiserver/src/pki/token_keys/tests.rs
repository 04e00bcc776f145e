use std::process::Command;

use super::*;

#[test]
fn only_what_this_key_has_signed_is_accepted() {
    let (here, there) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let key = TokenKeys::open(here.path()).expect("key");
    let other = TokenKeys::open(there.path()).expect("key");
    let claims = json!({"sub": "system:serviceaccount:a:b"});
    let token = key.sign(&claims).expect("token");
    let again = TokenKeys::open(here.path()).expect("the same key");
    let claimed = |keys: &TokenKeys, token: &str| keys.verify(token).map(|claims| Value::Object(claims.0));
    assert_eq!(claimed(&again, &token), Ok(claims));
    assert_eq!(other.verify(&token), Err(VerifyError::NotOurs));
    let forged = json!({"sub": "system:serviceaccount:kube-system:admin"}).to_string();
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    parts[1] = URL_SAFE_NO_PAD.encode(forged);
    assert_eq!(key.verify(&parts.join(".")), Err(VerifyError::Signature));
    assert_eq!(key.verify("nonsense"), Err(VerifyError::NotOurs));
}

#[test]
fn the_first_of_several_keys_signs_and_each_is_good_to_check_with() {
    let [old, new, other] = [(); 3].map(|()| rcgen::KeyPair::generate().expect("a key"));
    let parse = |sections: &[String]| TokenKeys::parse(sections.concat().as_bytes());
    let alone = |key: &rcgen::KeyPair| parse(&[key.serialize_pem()]).expect("one key");
    let claims = json!({"sub": "a"});
    let several =
        parse(&[other.public_key_pem(), new.serialize_pem(), old.serialize_pem()]).expect("three keys");
    for key in [&old, &new, &other] {
        let token = alone(key).sign(&claims).expect("token");
        assert!(several.verify(&token).is_ok());
    }
    let token = several.sign(&claims).expect("token");
    assert!(alone(&new).verify(&token).is_ok());
    assert_eq!(alone(&old).verify(&token), Err(VerifyError::NotOurs));
    let kids = |keys: &TokenKeys| -> Vec<Value> {
        keys.key_set()["keys"].as_array().expect("keys").iter().map(|key| key["kid"].clone()).collect()
    };
    assert_eq!(kids(&several), [kids(&alone(&new)), kids(&alone(&other)), kids(&alone(&old))].concat());
    assert_eq!(parse(&[other.public_key_pem()]).err().as_deref(), Some("it has no private key"));
}

/// A token of a version that named its key by the digest of the point alone.
#[test]
fn a_token_that_calls_the_key_by_its_former_name_is_good() {
    let directory = tempfile::tempdir().expect("dir");
    let keys = TokenKeys::open(directory.path()).expect("key");
    let former = keys.checks[0].former_id.clone().expect("of P-256");
    assert_ne!(former, keys.checks[0].id);
    let head = URL_SAFE_NO_PAD.encode(json!({"alg": "ES256", "kid": former}).to_string());
    let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(r#"{"sub":"a"}"#));
    let signature = keys.signs.sign(signed.as_bytes()).expect("a signature");
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    assert_eq!(keys.verify(&token).expect("good").text("sub"), Some("a"));
}

/// Makes a key with OpenSSL, as administrators and kubeadm do.
fn openssl(arguments: &[&str], path: &Path) -> KeyFile {
    let done = Command::new("openssl")
        .arg(arguments[0])
        .arg("-out")
        .arg(path)
        .args(&arguments[1..])
        .output()
        .expect("openssl runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    KeyFile { path: path.to_owned(), text: std::fs::read(path).expect("it wrote the key") }
}

#[test]
fn keys_of_every_kind_sign_and_are_checked_by_their_public_halves() {
    let directory = tempfile::tempdir().expect("dir");
    let at = |name: &str| directory.path().join(name);
    let claims = json!({"sub": "a"});
    let make: [(&str, &[&str], &str); 5] = [
        ("pkcs1", &["genrsa", "-traditional", "2048"], "RS256"),
        ("pkcs8", &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"], "RS256"),
        ("sec1", &["ecparam", "-genkey", "-noout", "-name", "prime256v1"], "ES256"),
        ("sec1-384", &["ecparam", "-genkey", "-noout", "-name", "secp384r1"], "ES384"),
        ("ec8", &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"], "ES384"),
    ];
    let mut all = Vec::new();
    for (name, arguments, algorithm) in make {
        let private = openssl(arguments, &at(name));
        let source = at(name);
        let source = source.to_str().expect("a path");
        let public = openssl(&["pkey", "-pubout", "-in", source], &at(&format!("{name}.pub")));
        let signer = TokenKeys::given(std::slice::from_ref(&private), None).expect(name);
        assert_eq!(signer.algorithms(), [algorithm], "{name}");
        let token = signer.sign(&claims).expect("token");
        // What checks has the public half only, which does not sign.
        let error = TokenKeys::given(std::slice::from_ref(&public), None).err().expect("none is private");
        assert!(base::error::chain(&error).to_string().contains("none is private"), "{error}");
        let (own, other) = (tempfile::tempdir().expect("dir"), rcgen::KeyPair::generate().expect("a key"));
        let own = KeyFile { path: own.path().join("k"), text: other.serialize_pem().into_bytes() };
        let checks = TokenKeys::given(&[public], Some(&own)).expect(name);
        assert!(checks.verify(&token).is_ok(), "{name}");
        // The published form is the same key, by the same name.
        let set = checks.key_set();
        let published = set["keys"].as_array().expect("keys").iter().filter_map(PublicKey::of_jwk);
        let signers = signer.checks[0].key.clone();
        assert!(published.clone().any(|key| key == signers && key.id() == signer.checks[0].id), "{name}");
        all.push(private);
    }
    let small = openssl(&["genrsa", "-traditional", "1024"], &at("small"));
    let error = TokenKeys::given(&[small], None).err().expect("too short");
    assert!(base::error::chain(&error).to_string().contains("2048"), "{error}");
    // All of them together: the first signs.
    let keys = TokenKeys::given(&all, None).expect("keys");
    assert_eq!(keys.algorithms(), ["ES256", "ES384", "RS256"]);
    assert!(
        TokenKeys::given(&all[..1], None).expect("key").verify(&keys.sign(&claims).expect("token")).is_ok()
    );
}

/// The name that `sha256` of the DER form gives, computed by another program.
#[test]
fn a_key_is_called_by_the_digest_of_its_public_half() {
    let directory = tempfile::tempdir().expect("dir");
    let at = |name: &str| directory.path().join(name);
    let commands: [&[&str]; 2] =
        [&["genrsa", "2048"], &["ecparam", "-genkey", "-noout", "-name", "prime256v1"]];
    for arguments in commands {
        let private = openssl(arguments, &at("key"));
        let source = at("key");
        let der = openssl(
            &["pkey", "-pubout", "-outform", "DER", "-in", source.to_str().expect("a path")],
            &at("der"),
        );
        let digest = <sha2::Sha256 as sha2::Digest>::digest(&der.text);
        let keys = TokenKeys::given(&[private], None).expect("a key");
        assert_eq!(keys.checks[0].id, URL_SAFE_NO_PAD.encode(digest));
    }
}
