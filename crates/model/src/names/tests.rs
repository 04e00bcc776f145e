use super::*;

fn check(test: fn(&str) -> Vec<String>, good: &[&str], bad: &[&str]) {
    for name in good {
        assert_eq!(test(name), Vec::<String>::new(), "{name}");
    }
    for name in bad {
        assert_ne!(test(name), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn labels_and_subdomains_are_those_of_the_rfcs() {
    let long = "a".repeat(64);
    check(dns1123_label, &["a", "0", "a-b", "123"], &["", "-a", "a-", "A", "a.b", "a_b", &long]);
    check(dns1123_subdomain, &["a", "a.b", "0.0", &long], &["", ".", "a.", "a..b", "A.b", &"a".repeat(254)]);
    check(dns1035_label, &["a", "a0"], &["0a", "a-", ""]);
}

#[test]
fn keys_and_values_are_those_of_labels() {
    check(
        qualified,
        &["a", "A.b_c-d", "example.com/a", "1"],
        &["", "/a", "a/", "a/b/c", "A.com/a", "-a", &"a".repeat(64)],
    );
    check(label_value, &["", "a", "A.b_c"], &["-a", "a b", &"a".repeat(64)]);
    check(
        config_key,
        &["a", ".a", "A_b-c.d", "...a".trim_start_matches("...")],
        &["", ".", "..", "..a", "a/b"],
    );
    check(environment_variable, &["A", "a b", "a.b-c"], &["", "a=b", "ä"]);
    check(port_name, &["http", "a-1"], &["", "1", "-a", "a--b", "HTTP", "abcdefghijklmnop"]);
}

#[test]
fn messages_are_worded_as_kubernetes_words_them() {
    assert_eq!(
        dns1123_label("A"),
        [
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and \
             end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
             '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
        ]
    );
    assert_eq!(dns1123_label("a.b"), ["must not contain dots"]);
    assert_eq!(port_number(0), ["must be between 1 and 65535, inclusive"]);
}

#[test]
fn generated_names_fit_a_label() {
    let name = generate(&"a".repeat(80), u64::MAX);
    assert_eq!(name.len(), 63);
    assert_eq!(dns1123_label(&name), Vec::<String>::new());
    assert_ne!(generate("web-", 1), generate("web-", 2));
}
