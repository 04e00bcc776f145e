use super::*;

/// What a text normalises to, and how people write it; or the complaint.
#[track_caller]
fn check(text: &str, expected: Result<(&str, &str), &str>) {
    let got = Reference::parse(text).map(|r| (r.to_string(), r.familiar())).map_err(|e| e.to_string());
    let got = got.as_ref().map(|(full, familiar)| (full.as_str(), familiar.as_str()));
    assert_eq!(got.map_err(|e| e.as_str()), expected, "for `{text}`");
}

#[test]
fn short_names_mean_docker_hub() {
    check("debian", Ok(("docker.io/library/debian", "debian")));
    check("debian:12", Ok(("docker.io/library/debian:12", "debian:12")));
    check("library/debian", Ok(("docker.io/library/debian", "debian")));
    check("me/app:v1", Ok(("docker.io/me/app:v1", "me/app:v1")));
    check("index.docker.io/debian", Ok(("docker.io/library/debian", "debian")));
    check("docker.io/library/a/b", Ok(("docker.io/library/a/b", "library/a/b")));
}

#[test]
fn a_name_is_written_whole_where_less_would_be_another() {
    let id = format!("docker.io/library/{}", "0".repeat(64));
    for text in
        ["docker.io/example.org/app", "docker.io/localhost/app", "docker.io/index.docker.io/app:x", &id]
    {
        check(text, Ok((text, text)));
    }
}

#[test]
fn a_first_part_that_can_only_be_a_host_is_the_registry() {
    check("localhost/app", Ok(("localhost/app", "localhost/app")));
    check("localhost:5000/app:x", Ok(("localhost:5000/app:x", "localhost:5000/app:x")));
    check("gcr.io/a/b", Ok(("gcr.io/a/b", "gcr.io/a/b")));
    check("[::1]:5000/app", Ok(("[::1]:5000/app", "[::1]:5000/app")));
    check("HOST/app", Ok(("HOST/app", "HOST/app")));
    check("127.0.0.1:5000/a__b/c---d.e", Ok(("127.0.0.1:5000/a__b/c---d.e", "127.0.0.1:5000/a__b/c---d.e")));
}

#[test]
fn a_digest_pins_with_or_without_tag() {
    let digest = Digest::sha256_of(b"");
    let text = format!("debian:12@{digest}");
    check(&text, Ok((&format!("docker.io/library/{text}"), &text)));
    let text = format!("debian@{digest}");
    check(&text, Ok((&format!("docker.io/library/{text}"), &text)));
    check("debian@sha256:12", Err("reference `debian@sha256:12` has an invalid digest"));
}

#[test]
fn what_is_outside_the_grammar_is_refused() {
    for text in
        ["", ":tag", "a//b", "-a", "a-", "a..b", "a___b", "a:", "a:-x", "a b", "a/", "/a", "a:b:c", "é"]
    {
        check(text, Err(&format!("invalid reference format: `{text}`")));
    }
    check("Debian", Err("invalid reference format: repository name (Debian) must be lowercase"));
    let id = "0".repeat(64);
    check(&id, Err(&format!("invalid repository name ({id}), cannot specify 64-byte hexadecimal strings")));
    check(&format!("x.y/{}", "a".repeat(256)), Err("repository name must not be more than 255 characters"));
    assert!(Reference::parse(&format!("a:{}", "t".repeat(128))).is_ok());
    assert!(Reference::parse(&format!("a:{}", "t".repeat(129))).is_err());
}

#[test]
fn the_default_tag_is_added_only_where_nothing_says_which() {
    let tagged = |text: &str| Reference::parse(text).expect(text).with_default_tag().familiar();
    assert_eq!(tagged("debian"), "debian:latest");
    assert_eq!(tagged("debian:12"), "debian:12");
    let pinned = format!("debian@{}", Digest::sha256_of(b""));
    assert_eq!(tagged(&pinned), pinned);
}
