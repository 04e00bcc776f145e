//! Who one is at a registry, as clients say it in a header.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use engine::image::RegistryAuth;

use crate::call::Call;
use crate::fault::Fault;
use crate::wire::registry::AuthConfig;

/// Padding is written by some clients and not by others.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// The header `X-Registry-Auth` of `call`; none where it is missing or holds nothing. As with Docker, what
/// cannot be read is as good as none: the registry says what it wants.
pub(crate) fn of_call(call: &Call) -> Option<RegistryAuth> {
    let text = call.header("X-Registry-Auth").filter(|text| !text.is_empty())?;
    decode(text).unwrap_or_else(|fault| {
        tracing::debug!(message = fault.message, "credentials that cannot be read");
        None
    })
}

/// The header `X-Registry-Config` of a build: credentials by registry. Likewise.
pub(crate) fn of_build(call: &Call) -> BTreeMap<String, RegistryAuth> {
    let text = call.header("X-Registry-Config").unwrap_or_default();
    by_registry(text).unwrap_or_else(|why| {
        tracing::debug!(why, "credentials that cannot be read");
        BTreeMap::new()
    })
}

fn by_registry(text: &str) -> Result<BTreeMap<String, RegistryAuth>, String> {
    let bytes = base64(text).map_err(|error| error.to_string())?;
    if bytes.trim_ascii().is_empty() {
        return Ok(BTreeMap::new());
    }
    let documents: Option<BTreeMap<String, Option<AuthConfig>>> =
        serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    let known = documents.unwrap_or_default().into_iter();
    Ok(known.filter_map(|(registry, document)| Some((registry, auth(&document?).ok()?))).collect())
}

/// Decodes base64 in either of its alphabets.
fn base64(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    let alphabet = if text.contains(['+', '/']) { &alphabet::STANDARD } else { &alphabet::URL_SAFE };
    GeneralPurpose::new(alphabet, LENIENT).decode(text)
}

fn decode(text: &str) -> Result<Option<RegistryAuth>, Fault> {
    let invalid = |why: String| Fault::invalid(format!("invalid X-Registry-Auth header: {why}"));
    let bytes = base64(text).map_err(|error| invalid(error.to_string()))?;
    let document: AuthConfig = match bytes.trim_ascii() {
        b"" | b"null" => return Ok(None),
        bytes => serde_json::from_slice(bytes).map_err(|error| invalid(error.to_string()))?,
    };
    let auth = auth(&document)?;
    Ok((auth != RegistryAuth::default()).then_some(auth))
}

/// What the engine makes of a client's document.
pub(crate) fn auth(document: &AuthConfig) -> Result<RegistryAuth, Fault> {
    let mut auth = RegistryAuth {
        username: document.username.clone(),
        password: document.password.clone(),
        identity_token: document.identitytoken.clone(),
        registry_token: document.registrytoken.clone(),
    };
    if auth.username.is_empty() && !document.auth.is_empty() {
        // `user:password`, once more in base64.
        let pair = GeneralPurpose::new(&alphabet::STANDARD, LENIENT).decode(&document.auth).ok();
        let pair = pair.and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((username, password)) = pair.as_deref().and_then(|pair| pair.split_once(':')) else {
            return Err(Fault::invalid("invalid auth configuration file"));
        };
        auth.username = username.to_owned();
        auth.password = password.to_owned();
    }
    Ok(auth)
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};

    #[track_caller]
    fn check(text: &str, expected: Result<Option<(&str, &str)>, &str>) {
        let read = decode(text).map(|auth| auth.map(|auth| (auth.username, auth.password)));
        let expected = expected.map(|some| some.map(|(user, word)| (user.to_owned(), word.to_owned())));
        match (read, expected) {
            (Ok(read), Ok(expected)) => assert_eq!(read, expected),
            (Err(fault), Err(message)) => assert!(fault.message.starts_with(message), "{}", fault.message),
            (got, wanted) => panic!("{got:?} instead of {wanted:?}"),
        }
    }

    #[test]
    fn credentials_are_read_with_and_without_padding() {
        let document = br#"{"username":"a","password":"b>?"}"#;
        check(&URL_SAFE.encode(document), Ok(Some(("a", "b>?"))));
        check(&URL_SAFE_NO_PAD.encode(document), Ok(Some(("a", "b>?"))));
        let inner = STANDARD.encode("a:b:c");
        check(&URL_SAFE.encode(format!(r#"{{"auth":"{inner}"}}"#)), Ok(Some(("a", "b:c"))));
    }

    #[test]
    fn empty_credentials_are_none() {
        check(&URL_SAFE.encode("{}"), Ok(None));
        check(&URL_SAFE.encode(""), Ok(None));
        check(&URL_SAFE.encode(r#"{"username":null}"#), Ok(None));
    }

    #[test]
    fn a_build_s_credentials_may_be_none_in_several_ways() {
        let read = |text: &str| by_registry(text).map(|known| known.into_keys().collect::<Vec<_>>());
        assert_eq!(read(""), Ok(vec![]));
        assert_eq!(read(&URL_SAFE.encode("null")), Ok(vec![]));
        assert_eq!(read(&URL_SAFE.encode("{}")), Ok(vec![]));
        let document = br#"{"a:5000":{"username":"u","password":"p"},"b":null}"#;
        assert_eq!(read(&URL_SAFE.encode(document)), Ok(vec!["a:5000".to_owned()]));
        assert!(read(&URL_SAFE.encode("[1]")).is_err());
    }

    #[test]
    fn nonsense_is_refused() {
        check("***", Err("invalid X-Registry-Auth header"));
        check(&URL_SAFE.encode("["), Err("invalid X-Registry-Auth header"));
    }
}
