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

/// The header `X-Registry-Auth` of `call`; none where it is missing or holds nothing.
pub(crate) fn of_call(call: &Call) -> Result<Option<RegistryAuth>, Fault> {
    match call.header("X-Registry-Auth") {
        None | Some("") => Ok(None),
        Some(text) => decode(text),
    }
}

/// The header `X-Registry-Config` of a build: credentials by registry.
pub(crate) fn of_build(call: &Call) -> Result<BTreeMap<String, RegistryAuth>, Fault> {
    let invalid = |why: String| Fault::invalid(format!("invalid X-Registry-Config header: {why}"));
    let Some(text) = call.header("X-Registry-Config").filter(|text| !text.is_empty()) else {
        return Ok(BTreeMap::new());
    };
    let bytes = base64(text).map_err(|error| invalid(error.to_string()))?;
    let documents: BTreeMap<String, AuthConfig> =
        serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
    documents.into_iter().map(|(registry, document)| Ok((registry, auth(&document)?))).collect()
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
    fn nonsense_is_refused() {
        check("***", Err("invalid X-Registry-Auth header"));
        check(&URL_SAFE.encode("["), Err("invalid X-Registry-Auth header"));
    }
}
