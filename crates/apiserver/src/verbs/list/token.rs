//! What a client hands back to go on with a list; opaque to it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::Status;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Where a list goes on.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Token {
    /// What the rest means.
    v: String,
    /// The version of which the list is; -1 for the latest, where its own is known no more.
    #[serde(rename = "rv")]
    version: i64,
    /// The last name that was shown.
    #[serde(rename = "start")]
    pub(super) last: String,
}

const TOKEN_VERSION: &str = "gantry.dev/v2";
const LATEST: i64 = -1;
/// Those of before: their versions were the store's revisions.
const EARLIER: &str = "meta.k8s.io/v1";

impl Token {
    pub(super) fn new(version: u64, last: &str) -> Self {
        let version = i64::try_from(version).unwrap_or(i64::MAX);
        Self { v: TOKEN_VERSION.to_owned(), version, last: last.to_owned() }
    }

    /// One that goes on with what is there by then.
    fn latest(last: &str) -> Self {
        Self { v: TOKEN_VERSION.to_owned(), version: LATEST, last: last.to_owned() }
    }

    /// The version of which the list is; none for the latest.
    pub(super) fn version(&self) -> Option<u64> {
        u64::try_from(self.version).ok()
    }

    pub(super) fn to_text(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).expect("a token always has a text"))
    }

    /// Reads what a client hands back. One of an earlier version of the program has expired.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let invalid = |why: &str| Error::bad_request(format!("continue key is not valid{why}"));
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid(""))?;
        let token: Self = serde_json::from_slice(&bytes).map_err(|_| invalid(""))?;
        match &*token.v {
            TOKEN_VERSION if token.version == 0 || token.version < LATEST => {
                Err(invalid(&format!(": incorrect encoded start resourceVersion (version {TOKEN_VERSION})")))
            }
            TOKEN_VERSION if token.last.is_empty() => {
                Err(invalid(&format!(": encoded start key empty (version {TOKEN_VERSION})")))
            }
            TOKEN_VERSION => Ok(token),
            EARLIER => Err(expired(&token.last)),
            other => Err(invalid(&format!(": server does not recognize this encoded version {other:?}"))),
        }
    }
}

/// The list that it is to go on with is known no more; the answer has a token to go on with all the same.
pub(super) fn expired(last: &str) -> Error {
    let mut status = Status::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new \
         list without the continue parameter, or use the continue token in this response to retrieve the \
         remainder of the results. Continuing with the provided token results in an inconsistent list - objects \
         that were created, modified, or deleted between the time the first chunk was returned and now may show \
         up in the list.",
    );
    status.metadata.insert("continue".to_owned(), Token::latest(last).to_text().into());
    status.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(token: &str, expected: (u16, &str)) {
        let error = Token::parse(&URL_SAFE_NO_PAD.encode(token)).expect_err("it is refused");
        assert_eq!((error.code().as_u16(), error.to_string().as_str()), expected);
    }

    #[test]
    fn a_token_is_read_by_who_writes_such_and_by_nobody_else() {
        let token = Token::new(8192, "default/a");
        assert_eq!(Token::parse(&token.to_text()).expect("it is one"), token);
        let earlier = URL_SAFE_NO_PAD.encode(r#"{"v":"meta.k8s.io/v1","rv":8192,"start":"default/a"}"#);
        let error = Token::parse(&earlier).expect_err("it has expired");
        assert_eq!(error.code(), 410);
        let next = error.status().metadata["continue"].as_str().expect("a token").to_owned();
        let next = Token::parse(&next).expect("it is one");
        assert_eq!((next.version(), next.last.as_str()), (None, "default/a"));
        check(
            r#"{"v":"v3","rv":8192,"start":"default/a"}"#,
            (400, "continue key is not valid: server does not recognize this encoded version \"v3\""),
        );
        check(
            r#"{"v":"gantry.dev/v2","rv":0,"start":"default/a"}"#,
            (
                400,
                "continue key is not valid: incorrect encoded start resourceVersion (version gantry.dev/v2)",
            ),
        );
        check(
            r#"{"v":"gantry.dev/v2","rv":8192,"start":""}"#,
            (400, "continue key is not valid: encoded start key empty (version gantry.dev/v2)"),
        );
        check(
            r#"{"v":"gantry.dev/v2","rv":-2,"start":"a"}"#,
            (
                400,
                "continue key is not valid: incorrect encoded start resourceVersion (version gantry.dev/v2)",
            ),
        );
        check("nonsense", (400, "continue key is not valid"));
    }
}
