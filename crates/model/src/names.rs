//! What names may look like: labels, subdomains, label keys and values, ports, keys; in Kubernetes' words.
//!
//! Every check returns what is wrong, in the order in which Kubernetes finds it; nothing means valid.

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const QUALIFIED: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

/// A DNS label of RFC 1123, such as a namespace or a container: `my-name`.
pub fn dns1123_label(name: &str) -> Vec<String> {
    let mut errors = too_long(name, 63);
    if !is_label(name) {
        errors.push(if name.contains('.') && is_subdomain(name) {
            "must not contain dots".to_owned()
        } else {
            pattern(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
                 start and end with an alphanumeric character",
                LABEL,
                &["my-name", "123-abc"],
            )
        });
    }
    errors
}

/// A DNS subdomain of RFC 1123, as most objects' names are: `example.com`.
pub fn dns1123_subdomain(name: &str) -> Vec<String> {
    let mut errors = too_long(name, 253);
    if !is_subdomain(name) {
        errors.push(pattern(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and \
             must start and end with an alphanumeric character",
            &format!("{LABEL}(\\.{LABEL})*"),
            &["example.com"],
        ));
    }
    errors
}

/// The same where labels may have underscores in them, as search domains of resolvers may: `_sip._tcp.example.com`.
pub fn dns1123_subdomain_with_underscores(name: &str) -> Vec<String> {
    let mut errors = too_long(name, 253);
    let is_label = |label: &str| {
        let bytes = label.strip_prefix('_').unwrap_or(label).as_bytes();
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        match bytes {
            [] => false,
            [only] => plain(*only),
            [first, middle @ .., last] => {
                plain(*first)
                    && plain(*last)
                    && middle.iter().all(|byte| plain(*byte) || b"-_".contains(byte))
            }
        }
    };
    if !name.split('.').all(is_label) {
        errors.push(pattern(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-', '_' or '.', and \
             must start and end with an alphanumeric character",
            &format!("{LABEL}(\\.{LABEL})*"),
            &["example.com"],
        ));
    }
    errors
}

/// The name of an HTTP header: `X-Header-Name`.
pub fn http_header(name: &str) -> Vec<String> {
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Vec::new();
    }
    vec![pattern(
        "a valid HTTP header must consist of alphanumeric characters or '-'",
        "[-A-Za-z0-9]+",
        &["X-Header-Name"],
    )]
}

/// A DNS label of RFC 1035, which begins with a letter: `my-service`.
pub fn dns1035_label(name: &str) -> Vec<String> {
    let mut errors = too_long(name, 63);
    if !is_label(name) || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        errors.push(pattern(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        ));
    }
    errors
}

/// A qualified name, as label keys are: `app` or `example.com/app`.
pub fn qualified(name: &str) -> Vec<String> {
    const SHAPE: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
                         alphanumeric character";
    let mut errors = Vec::new();
    let bare = match name.split_once('/') {
        None => name,
        Some((prefix, rest)) if !rest.contains('/') => {
            if prefix.is_empty() {
                errors.push("prefix part must be non-empty".to_owned());
            } else {
                errors.extend(
                    dns1123_subdomain(prefix).into_iter().map(|error| format!("prefix part {error}")),
                );
            }
            rest
        }
        Some(_) => {
            let shape =
                pattern(&format!("a qualified name {SHAPE}"), QUALIFIED, &["MyName", "my.name", "123-abc"]);
            return vec![format!(
                "{shape} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
    };
    if bare.is_empty() {
        errors.push("name part must be non-empty".to_owned());
    } else if bare.len() > 63 {
        errors.push(format!("name part {}", max_length(63)));
    }
    if !is_qualified(bare) {
        let shape = format!("name part {SHAPE}");
        errors.push(pattern(&shape, QUALIFIED, &["MyName", "my.name", "123-abc"]));
    }
    errors
}

/// A label's value; it may be empty.
pub fn label_value(value: &str) -> Vec<String> {
    let mut errors = too_long(value, 63);
    if !value.is_empty() && !is_qualified(value) {
        errors.push(pattern(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
             start and end with an alphanumeric character",
            "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
            &["MyValue", "my_value", "12345"],
        ));
    }
    errors
}

/// A key of a config map or secret, which becomes a file's name.
pub fn config_key(key: &str) -> Vec<String> {
    let mut errors = too_long(key, 253);
    if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        errors.push(pattern(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match key {
        "." => errors.push("must not be '.'".to_owned()),
        ".." => errors.push("must not be '..'".to_owned()),
        _ if key.starts_with("..") => errors.push("must not start with '..'".to_owned()),
        _ => {}
    }
    errors
}

/// An environment variable's name: anything printable but `=`.
pub fn environment_variable(name: &str) -> Vec<String> {
    if name.is_empty() {
        return vec!["environment variable name must be non-empty".to_owned()];
    }
    if name.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'=') {
        return Vec::new();
    }
    vec![
        "a valid environment variable name must consist only of printable ASCII characters other than '='"
            .into(),
    ]
}

/// A port's name, of IANA's form: `http`, at most 15 characters.
pub fn port_name(name: &str) -> Vec<String> {
    let mut errors = too_long(name, 15);
    if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        || name.is_empty()
    {
        errors.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)".to_owned());
    }
    if !name.bytes().any(|byte| byte.is_ascii_lowercase()) {
        errors.push("must contain at least one letter (a-z)".to_owned());
    }
    if name.contains("--") {
        errors.push("must not contain consecutive hyphens".to_owned());
    }
    if name.starts_with('-') || name.ends_with('-') {
        errors.push("must not begin or end with a hyphen".to_owned());
    }
    errors
}

/// A port's number.
pub fn port_number(port: i64) -> Vec<String> {
    in_range(port, 1, 65535)
}

/// A number from `low` to `high`.
pub fn in_range(number: i64, low: i64, high: i64) -> Vec<String> {
    if (low..=high).contains(&number) {
        Vec::new()
    } else {
        vec![format!("must be between {low} and {high}, inclusive")]
    }
}

/// A name that becomes one element of a path, as the names of roles may be anything else.
pub fn path_segment(name: &str) -> Vec<String> {
    match name {
        "." => vec!["may not be '.'".to_owned()],
        ".." => vec!["may not be '..'".to_owned()],
        _ => ['/', '%']
            .into_iter()
            .filter(|illegal| name.contains(*illegal))
            .map(|illegal| format!("may not contain '{illegal}'"))
            .collect(),
    }
}

/// A DNS name that stands for all below a domain: `*.example.com`.
pub fn wildcard_subdomain(name: &str) -> Vec<String> {
    let mut errors = too_long(name, 253);
    if !name.strip_prefix("*.").is_some_and(is_subdomain) {
        errors.push(pattern(
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must \
             consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character",
            &format!("\\*\\.{LABEL}(\\.{LABEL})*"),
            &["*.example.com"],
        ));
    }
    errors
}

/// An identifier of C: `my_name`.
pub fn c_identifier(name: &str) -> Vec<String> {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if begins && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Vec::new();
    }
    vec![pattern(
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric \
         characters or '_'",
        "[A-Za-z_][A-Za-z0-9_]*",
        &["my_name", "MY_NAME", "MyName"],
    )]
}

/// Cuts what `generateName` gave, so that five random characters still fit, and adds them.
pub fn generate(base: &str, random: u64) -> String {
    // No vowels and nothing that looks alike, as Kubernetes has it.
    const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    const MAX_BASE: usize = 63 - 5;
    let mut name: String = base.chars().take(MAX_BASE).collect();
    let mut rest = random;
    for _ in 0..5 {
        name.push(char::from(ALPHABET[(rest % 27) as usize]));
        rest /= 27;
    }
    name
}

fn is_label(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    match name.as_bytes() {
        [] => false,
        [only] => plain(*only),
        [first, middle @ .., last] => {
            plain(*first) && plain(*last) && middle.iter().all(|byte| plain(*byte) || *byte == b'-')
        }
    }
}

fn is_subdomain(name: &str) -> bool {
    name.split('.').all(is_label)
}

fn is_qualified(name: &str) -> bool {
    match name.as_bytes() {
        [] => false,
        [only] => only.is_ascii_alphanumeric(),
        [first, middle @ .., last] => {
            first.is_ascii_alphanumeric()
                && last.is_ascii_alphanumeric()
                && middle.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
        }
    }
}

fn too_long(name: &str, max: usize) -> Vec<String> {
    if name.len() > max { vec![max_length(max)] } else { Vec::new() }
}

fn max_length(max: usize) -> String {
    format!("must be no more than {max} characters")
}

fn pattern(message: &str, regex: &str, examples: &[&str]) -> String {
    let examples: Vec<String> = examples.iter().map(|example| format!("'{example}'")).collect();
    format!("{message} (e.g. {}, regex used for validation is '{regex}')", examples.join(",  or "))
}

#[cfg(test)]
mod tests;
