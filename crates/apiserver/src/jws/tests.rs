use serde_json::json;

use super::*;

fn encode(part: &str) -> String {
    URL_SAFE_NO_PAD.encode(part)
}

fn key() -> SigningKey {
    let pem = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    SigningKey::first(pem.as_bytes()).expect("readable").expect("private")
}

/// A token with this head and these claims, signed by `key`.
fn signed(key: &SigningKey, head: &str, claims: &str) -> String {
    let signed = format!("{}.{}", encode(head), encode(claims));
    let signature = key.sign(signed.as_bytes()).expect("a signature");
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn is_good(token: &str, key: &PublicKey) -> bool {
    Unverified::parse(token).is_some_and(|token| token.is_signed_by(key))
}

#[test]
fn a_head_gains_nothing_by_what_it_says() {
    let key = key();
    let public = key.public();
    assert!(is_good(&signed(&key, r#"{"alg":"ES256","kid":"a"}"#, "{}"), &public));
    let jwk = public.jwk();
    for head in [
        // No signature, and signatures that others than the key's owner can make.
        r#"{"alg":"none"}"#.to_owned(),
        r#"{"alg":"None"}"#.to_owned(),
        r#"{"alg":""}"#.to_owned(),
        "{}".to_owned(),
        r#"{"alg":"HS256"}"#.to_owned(),
        r#"{"alg":null}"#.to_owned(),
        r#"{"alg":["ES256"]}"#.to_owned(),
        // Another algorithm than the key's.
        r#"{"alg":"RS256"}"#.to_owned(),
        r#"{"alg":"ES384"}"#.to_owned(),
        r#"{"alg":"es256"}"#.to_owned(),
        // What has to be understood.
        r#"{"alg":"ES256","crit":["b64"],"b64":false}"#.to_owned(),
        r#"{"alg":"ES256","crit":[]}"#.to_owned(),
        // Two readers would see two algorithms.
        r#"{"alg":"none","alg":"ES256"}"#.to_owned(),
        r#"{"alg":"ES256","kid":7}"#.to_owned(),
    ] {
        assert!(!is_good(&signed(&key, &head, "{}"), &public), "{head}");
    }
    // A key that it brings along is not looked at.
    let other = self::key();
    let brought = json!({"alg": "ES256", "jwk": other.public().jwk(), "jku": "https://evil.example/keys"});
    assert!(!is_good(&signed(&other, &brought.to_string(), "{}"), &public));
    // The public half as a secret: the old confusion.
    let confused = format!("{}.{}", encode(r#"{"alg":"HS256"}"#), encode("{}"));
    let mac = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, jwk.to_string().as_bytes());
    let mac = ring::hmac::sign(&mac, confused.as_bytes());
    assert!(!is_good(&format!("{confused}.{}", URL_SAFE_NO_PAD.encode(mac)), &public));
    // No signature at all.
    assert!(!is_good(&format!("{confused}."), &public));
}

#[test]
fn claims_stand_once() {
    let (key, head) = (key(), r#"{"alg":"ES256"}"#);
    for claims in [
        r#"{"sub":"a","sub":"b"}"#,
        r#"{"a":{"b":1,"b":2}}"#,
        r#"{"a":[{"b":1,"b":2}]}"#,
        "[]",
        "7",
        "",
        "{} {}",
        "{\"a\":1",
    ] {
        assert!(Unverified::parse(&signed(&key, head, claims)).is_none(), "{claims}");
    }
    let token =
        signed(&key, head, r#"{"sub":"a","aud":["x","y"],"exp":1.9,"big":1e30,"n":{"m":[null,true,-1]}}"#);
    let claims = Unverified::parse(&token).expect("well formed").into_claims();
    assert_eq!(claims.text("sub"), Some("a"));
    assert_eq!(claims.audiences(), Some(vec!["x", "y"]));
    assert_eq!(claims.seconds("exp"), Some(1));
    assert_eq!(claims.seconds("big"), Some(i64::MAX));
    assert_eq!(claims.seconds("sub"), None);
}

#[test]
fn what_is_no_token_is_told_at_once() {
    let key = key();
    let good = signed(&key, r#"{"alg":"ES256"}"#, "{}");
    for other in ["", ".", "..", "...", "a.b", "a.b.c", &good[1..], &format!("{good}."), &format!("{good}=")]
    {
        assert!(Unverified::parse(other).is_none(), "{other}");
    }
    let long = signed(&key, r#"{"alg":"ES256"}"#, &format!(r#"{{"a":"{}"}}"#, "x".repeat(LONGEST)));
    assert!(Unverified::parse(&long).is_none());
    // Deep, but bounded.
    let deep = format!("{}{}{}", r#"{"a":"#, "[".repeat(100_000 / 4), "]".repeat(100_000 / 4));
    assert!(Unverified::parse(&signed(&key, r#"{"alg":"ES256"}"#, &deep[..40_000])).is_none());
}
