//! Documents of the distribution protocol: errors, token answers, authentication challenges.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::serde_shapes::null_default;

/// The body of a registry's error answer.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong, usually one entry.
    #[serde(default, deserialize_with = "null_default")]
    pub errors: Vec<ErrorEntry>,
}

/// One complaint of a registry.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct ErrorEntry {
    /// A word such as `MANIFEST_UNKNOWN`.
    #[serde(default, deserialize_with = "null_default")]
    pub code: String,
    /// The same for people.
    #[serde(default, deserialize_with = "null_default")]
    pub message: String,
    /// Whatever else the registry says.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub detail: serde_json::Value,
}

impl fmt::Display for ErrorEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = self.code.to_lowercase().replace('_', " ");
        match (words.is_empty(), self.message.is_empty()) {
            (_, true) => f.write_str(&words),
            (true, _) => f.write_str(&self.message),
            _ => write!(f, "{words}: {}", self.message),
        }
    }
}

impl fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, entry) in self.errors.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            entry.fmt(f)?;
        }
        Ok(())
    }
}

/// What a token server answers.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
pub struct TokenBody {
    /// The token, by Docker's name.
    #[serde(default, deserialize_with = "null_default")]
    token: String,
    /// The token, by OAuth's name.
    #[serde(default, deserialize_with = "null_default")]
    access_token: String,
    /// For how many seconds it holds.
    #[serde(default)]
    pub expires_in: Option<u64>,
}

impl TokenBody {
    /// The token by whichever name it came, if one came.
    pub fn token(&self) -> Option<&str> {
        [self.token.as_str(), self.access_token.as_str()].into_iter().find(|token| !token.is_empty())
    }
}

impl fmt::Debug for TokenBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenBody").field("expires_in", &self.expires_in).finish_non_exhaustive()
    }
}

/// One challenge of a `WWW-Authenticate` header (RFC 9110, section 11.6.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Challenge {
    /// The scheme in lower case: `bearer`, `basic`.
    pub scheme: String,
    /// The parameters, names in lower case.
    pub parameters: BTreeMap<String, String>,
}

impl Challenge {
    /// Reads all challenges of one header value; what is no challenge is left out.
    pub fn parse_all(header: &str) -> Vec<Challenge> {
        let mut challenges: Vec<Challenge> = Vec::new();
        let mut rest = header.trim_start();
        while !rest.is_empty() {
            let end = rest.find(|c: char| !is_token_char(c)).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            if word.is_empty() {
                // Not a word: skip one character, so that any input comes to an end.
                let mut chars = rest.chars();
                chars.next();
                rest = chars.as_str().trim_start();
                continue;
            }
            let after = after.trim_start();
            let is_parameter = after.starts_with('=') && !challenges.is_empty();
            if is_parameter {
                let (value, tail) = parse_value(after[1..].trim_start());
                if let Some(challenge) = challenges.last_mut() {
                    challenge.parameters.entry(word.to_lowercase()).or_insert(value);
                }
                rest = tail.trim_start_matches([',', ' ', '\t']);
            } else {
                challenges.push(Challenge { scheme: word.to_lowercase(), parameters: BTreeMap::new() });
                rest = after.trim_start_matches([',', ' ', '\t']);
            }
        }
        challenges
    }
}

/// A quoted string or a token, and what follows it.
fn parse_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            _ => value.push(c),
        }
    }
    (value, "")
}

fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: &str, expected: &[(&str, &[(&str, &str)])]) {
        let got = Challenge::parse_all(header);
        let got: Vec<(&str, Vec<(&str, &str)>)> = got
            .iter()
            .map(|c| {
                (c.scheme.as_str(), c.parameters.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect())
            })
            .collect();
        let expected: Vec<_> = expected.iter().map(|(scheme, p)| (*scheme, p.to_vec())).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn challenges_of_real_registries_are_read() {
        check(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
            &[(
                "bearer",
                &[
                    ("realm", "https://auth.docker.io/token"),
                    ("scope", "repository:a/b:pull,push"),
                    ("service", "registry.docker.io"),
                ],
            )],
        );
        check(r#"Basic realm="Registry \"x\"""#, &[("basic", &[("realm", "Registry \"x\"")])]);
        check("Negotiate, Basic realm=x", &[("negotiate", &[]), ("basic", &[("realm", "x")])]);
    }

    #[test]
    fn hostile_challenges_come_to_an_end() {
        check("", &[]);
        check("= = \"", &[]);
        check("Bearer realm=\"open", &[("bearer", &[("realm", "open")])]);
        check("Bearer é=1", &[("bearer", &[]), ("1", &[])]);
    }

    #[test]
    fn an_error_body_reads_as_one_sentence() {
        let body: ErrorBody = serde_json::from_str(
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such tag"},{"code":"DENIED"}]}"#,
        )
        .expect("error body");
        assert_eq!(body.to_string(), "manifest unknown: no such tag; denied");
    }
}
