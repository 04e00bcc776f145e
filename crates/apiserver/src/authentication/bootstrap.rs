//! Tokens by which machines that are new introduce themselves: each is a Secret in `kube-system`.
//! Source: Kubernetes documentation, "Authenticating with Bootstrap Tokens".

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use model::Object;
use sha2::{Digest as _, Sha256};

use super::token::TokenError;
use crate::identity::Identity;
use crate::resource::partition;
use crate::state::State;

const TYPE: &str = "bootstrap.kubernetes.io/token";
const GROUP: &str = "system:bootstrappers";

/// Identifier and secret of what has the form of such a token.
pub(crate) fn parts(token: &str) -> Option<(&str, &str)> {
    let sound = |part: &str, length| {
        part.len() == length && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    token.split_once('.').filter(|(id, secret)| sound(id, 6) && sound(secret, 16))
}

/// Whose such a token is.
pub(super) fn authenticate(state: &State, id: &str, secret: &str) -> Result<Identity, TokenError> {
    let name = format!("kube-system/bootstrap-token-{id}");
    let found = state.cache.partition(&partition("", "secrets")).get(&name).ok_or(TokenError::Unknown)?;
    judge(&found.object(), id, secret, state.clock.now())
}

fn judge(object: &Object, id: &str, secret: &str, now: base::Timestamp) -> Result<Identity, TokenError> {
    let data = |key: &str| -> Option<String> {
        String::from_utf8(STANDARD.decode(object.get_str(&["data", key])?).ok()?).ok()
    };
    let is = |key: &str, value: &str| {
        // What is compared says nothing of how much of it was right.
        data(key).is_some_and(|known| Sha256::digest(known) == Sha256::digest(value))
    };
    if object.get_str(&["type"]) != Some(TYPE)
        || object.is_being_deleted()
        || !is("token-id", id)
        || !is("token-secret", secret)
        || !is("usage-bootstrap-authentication", "true")
    {
        return Err(TokenError::Unknown);
    }
    if let Some(expires) = data("expiration")
        && model::time::parse(&expires).is_none_or(|expires| expires <= now)
    {
        return Err(TokenError::Time);
    }
    let mut groups = vec![GROUP.to_owned()];
    let more = data("auth-extra-groups").unwrap_or_default();
    for group in more.split(',').filter(|group| !group.is_empty()) {
        if !is_extra(group) {
            return Err(TokenError::Unknown);
        }
        groups.push(group.to_owned());
    }
    Ok(Identity::new(format!("system:bootstrap:{id}"), groups))
}

/// Whether it is a group that such tokens may give: none of anybody else's.
fn is_extra(group: &str) -> bool {
    let own = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    group.strip_prefix(GROUP).and_then(|rest| rest.strip_prefix(':')).is_some_and(|rest| {
        rest.len() <= 256
            && rest.bytes().all(|b| own(b) || b == b':' || b == b'-')
            && rest.bytes().next_back().is_some_and(own)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(change: &[(&str, Option<&str>)], expected: Result<&[&str], TokenError>) {
        let mut object =
            Object::from_value(json!({"metadata": {"name": "x"}, "type": TYPE})).expect("an object");
        let known = [
            ("token-id", Some("abcdef")),
            ("token-secret", Some("0123456789abcdef")),
            ("usage-bootstrap-authentication", Some("true")),
        ];
        for (key, value) in known.iter().chain(change) {
            match value {
                Some(value) => object.set(&["data", key], STANDARD.encode(value)),
                None => drop(object.remove(&["data", key])),
            }
        }
        let now = model::time::parse("2026-01-01T00:00:00Z").expect("a time");
        let found = judge(&object, "abcdef", "0123456789abcdef", now).map(|identity| identity.groups);
        let expected =
            expected.map(|groups| groups.iter().map(|group| (*group).to_owned()).collect::<Vec<_>>());
        assert_eq!(found, expected, "{change:?}");
    }

    #[test]
    fn a_token_is_good_as_its_secret_says() {
        check(&[], Ok(&["system:bootstrappers", "system:authenticated"]));
        check(
            &[("expiration", Some("2026-01-02T00:00:00Z"))],
            Ok(&["system:bootstrappers", "system:authenticated"]),
        );
        check(
            &[("auth-extra-groups", Some("system:bootstrappers:workers"))],
            Ok(&["system:bootstrappers", "system:bootstrappers:workers", "system:authenticated"]),
        );
        check(&[("auth-extra-groups", Some("system:masters"))], Err(TokenError::Unknown));
        check(
            &[("auth-extra-groups", Some("system:bootstrappers:a,system:nodes"))],
            Err(TokenError::Unknown),
        );
        check(&[("auth-extra-groups", Some("system:bootstrappers:"))], Err(TokenError::Unknown));
        check(&[("expiration", Some("2025-12-31T00:00:00Z"))], Err(TokenError::Time));
        check(&[("expiration", Some("never"))], Err(TokenError::Time));
        check(&[("token-secret", Some("0123456789abcdee"))], Err(TokenError::Unknown));
        check(&[("token-secret", None)], Err(TokenError::Unknown));
        check(&[("token-id", Some("abcdeg"))], Err(TokenError::Unknown));
        check(&[("usage-bootstrap-authentication", None)], Err(TokenError::Unknown));
        check(&[("usage-bootstrap-authentication", Some("false"))], Err(TokenError::Unknown));
    }

    #[test]
    fn tokens_have_their_form() {
        assert_eq!(parts("abcdef.0123456789abcdef"), Some(("abcdef", "0123456789abcdef")));
        for other in [
            "abcdef.0123456789abcde",
            "ABCDEF.0123456789abcdef",
            "abcdef0123456789abcdef",
            "a/b/cd.0123456789abcdef",
        ] {
            assert_eq!(parts(other), None, "{other}");
        }
    }
}
