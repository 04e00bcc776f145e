//! What callers show to say who they are: signed tokens, bootstrap tokens, and the file of fixed ones.

use std::sync::LazyLock;

use apiserver::pki::TokenKeys;
use apiserver::{FixedTokens, fuzzing};

use super::certificate::KEY;
use crate::target::texts;
use crate::{Shape, Target};

pub(super) const TARGET: Target = Target {
    name: "token",
    shape: Shape::Plain,
    examples,
    words: &[
        ".",
        "eyJhbGciOiJFUzI1NiJ9",
        "eyJhbGciOiJub25lIn0",
        "=",
        "-",
        "_",
        "abcdef",
        "0123456789abcdef",
        ",",
        "\"",
        "\n",
        "#",
        "system:masters",
    ],
    read,
    turns: 8_000,
};

/// Signed by that key; a signature is another each time, and inputs are to be always the same.
const SIGNED: [&str; 2] = [
    "eyJhbGciOiJFUzI1NiIsImtpZCI6Il9NX19LRXNYOXBoV2ZScGRtbUlKVkNMdXFZN25FSXRzMER4QURGazA2RnMifQ.eyJpc3MiOiJodHRwczovL2t1YmVybmV0ZXMuZGVmYXVsdC5zdmMuY2x1c3Rlci5sb2NhbCIsInN1YiI6InN5c3RlbTpzZXJ2aWNlYWNjb3VudDpkZWZhdWx0OmRlZmF1bHQiLCJhdWQiOlsiaHR0cHM6Ly9rdWJlcm5ldGVzLmRlZmF1bHQuc3ZjLmNsdXN0ZXIubG9jYWwiXSwiZXhwIjoxODAwMDAwMDAwfQ.RKAf6-wdcc1jkHvu4GJnJoHrGJ4yHd054HQ7rpo7tljuQ275941zkL2lQxav0Gb4TXHfxaejHEhbh2s4boQ4SQ",
    "eyJhbGciOiJFUzI1NiIsImtpZCI6Il9NX19LRXNYOXBoV2ZScGRtbUlKVkNMdXFZN25FSXRzMER4QURGazA2RnMifQ.eyJzdWIiOiJ4In0.Owx1ic1ZXXRQc_lRuetmn14UmtUMQMH_6fBZnvVKOuNa2SY6nmoUJ1mvnn8Bp9dulDfhOofYrfDEdSwLyNYIEA",
];

static KEYS: LazyLock<TokenKeys> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("a directory can be made");
    std::fs::write(directory.path().join("service-account.key"), KEY).expect("a file can be written");
    TokenKeys::open(directory.path()).expect("it is a key")
});

fn read(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let signed = fuzzing::is_signed(&KEYS, text);
    if signed {
        let content = |token: &str| token.rsplit_once('.').map(|(content, _)| content.to_owned());
        assert!(SIGNED.iter().any(|one| content(one) == content(text)), "nobody has signed `{text}`");
    }
    let bootstrap = fuzzing::bootstrap_token(text);
    if let Some((id, secret)) = bootstrap {
        assert_eq!((id.len(), secret.len()), (6, 16), "`{text}`");
        assert_eq!(format!("{id}.{secret}"), text);
    }
    let fixed = FixedTokens::parse(text);
    if fixed.is_ok() {
        // The order of lines says nothing, and what is said twice is an error.
        let lines = || text.lines().filter(|line| !line.trim().is_empty() && !line.trim().starts_with('#'));
        let turned: Vec<&str> = lines().rev().collect();
        assert_eq!(FixedTokens::parse(&turned.join("\n")).ok(), fixed.as_ref().ok().cloned(), "`{text}`");
        if let Some(line) = lines().next() {
            assert!(FixedTokens::parse(&format!("{text}\n{line}")).is_err(), "`{text}`");
        }
    }
    signed || bootstrap.is_some() || fixed.is_ok_and(|_| text.contains(','))
}

fn examples() -> Vec<Vec<u8>> {
    let mut all = texts(&SIGNED);
    all.extend(texts(&[
        "abcdef.0123456789abcdef",
        "token,user,uid\n",
        "# whose is what\na,b,c,\"one,two\"\n\nd,e,\"f \"\"g\"\"\",h\n",
    ]));
    all
}
