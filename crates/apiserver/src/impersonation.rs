//! Requests that ask to be treated as somebody else's are refused, whoever asks.
//!
//! Kubernetes lets those who may `impersonate` act as others by headers. Until there are rules that say
//! who may, ignoring the headers would do in the caller's own name what it asked to have tried in
//! another's: `kubectl --as=nobody delete …` would delete as the administrator.
//! Source: Kubernetes documentation, "User impersonation".

use http::HeaderMap;
use model::{GroupResource, Status};

use crate::error::Result;
use crate::identity::Identity;

/// What the names of all such headers begin with: `Impersonate-User`, `-Group`, `-Uid`, `-Extra-…`.
const PREFIX: &str = "impersonate-";

/// Refuses a request that has any such header, even an empty one.
pub(crate) fn refuse(identity: Option<&Identity>, headers: &HeaderMap) -> Result<()> {
    // The library keeps names in lower case, however they were sent.
    let Some(name) = headers.keys().map(http::HeaderName::as_str).find(|name| name.starts_with(PREFIX))
    else {
        return Ok(());
    };
    let Some(identity) = identity else { return Err(Status::unauthorized().into()) };
    let user = model::field::quote(&identity.user);
    let (plural, value) = match name.strip_prefix(PREFIX) {
        Some("user") => ("users", headers.get(name)),
        Some("group") => ("groups", headers.get(name)),
        Some("uid") => ("uids", headers.get(name)),
        _ => ("userextras", None),
    };
    let value = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let why = format!(
        "User {user} cannot impersonate resource {} in API group \"\" at the cluster scope: \
         this server does not let anybody act as another; leave out the header {name} (kubectl: --as, --as-group, --as-uid)",
        model::field::quote(plural),
    );
    Err(Status::forbidden(&GroupResource::new("", plural), value, why).into())
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn no_form_of_the_headers_passes() {
        let administrator = Identity::administrator();
        for name in [
            "Impersonate-User",
            "IMPERSONATE-GROUP",
            "impersonate-uid",
            "Impersonate-Extra-scopes",
            "Impersonate-Extra-acme.com%2Fproject",
            "Impersonate-Else",
        ] {
            for value in ["nobody", ""] {
                let mut headers = HeaderMap::new();
                let header: HeaderName = name.parse().expect("a header");
                headers.insert(header, HeaderValue::from_static(value));
                let error = refuse(Some(&administrator), &headers).expect_err(name);
                assert_eq!(error.code(), 403, "{name}: {error}");
                assert_eq!(refuse(None, &headers).expect_err(name).code(), 401);
            }
        }
        assert!(refuse(Some(&administrator), &HeaderMap::new()).is_ok());
    }
}
