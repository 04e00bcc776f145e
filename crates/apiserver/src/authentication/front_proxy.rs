//! A proxy in front of the server, which has found out who its callers are and says so in headers. It is believed
//! by its certificate, which an authority for this alone has signed; those headers of anybody else are dropped.
//! Source: Kubernetes documentation, "Authenticating Proxy".

use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;

use crate::identity::Identity;

/// The headers that are usual, which nobody but a proxy sends on.
const USUAL: [&str; 3] = ["x-remote-user", "x-remote-group", "x-remote-uid"];
const USUAL_EXTRA: &str = "x-remote-extra-";

/// What is known of proxies in front of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrontProxy {
    /// The authorities that sign their certificates, PEM.
    pub authorities: Vec<u8>,
    /// The common names that they may have; any where there is none.
    pub allowed_names: Vec<String>,
    /// The headers that name the user, the first that is there counts.
    pub username_headers: Vec<String>,
    /// The headers that name its groups, all of which count.
    pub group_headers: Vec<String>,
    /// The headers that name its uid.
    pub uid_headers: Vec<String>,
    /// What headers begin with that say more of it.
    pub extra_prefixes: Vec<String>,
}

impl FrontProxy {
    /// Whether one with such a certificate is believed.
    pub(crate) fn allows(&self, common_name: &str) -> bool {
        self.allowed_names.is_empty() || self.allowed_names.iter().any(|name| name == common_name)
    }

    /// Whom the headers name, if anybody.
    pub(crate) fn identity(&self, headers: &HeaderMap) -> Option<Identity> {
        let user = first(headers, &self.username_headers)?;
        let mut groups = Vec::new();
        for name in &self.group_headers {
            let values = headers.get_all(name.as_str()).iter();
            groups.extend(values.filter_map(text).filter(|group| !group.is_empty()));
        }
        let mut identity = Identity::of_proxy(user, groups);
        identity.uid = first(headers, &self.uid_headers).unwrap_or_default();
        for (name, value) in headers {
            let key = self.extra_prefixes.iter().find_map(|prefix| {
                name.as_str().strip_prefix(prefix.to_lowercase().as_str()).filter(|key| !key.is_empty())
            });
            let (Some(key), Some(value)) = (key, text(value)) else { continue };
            let key = percent_decode_str(key).decode_utf8().map_or_else(|_| key.to_owned(), Into::into);
            identity.extra.entry(key).or_default().push(value);
        }
        Some(identity)
    }
}

/// Drops what only such a proxy may say.
pub(crate) fn drop_headers(proxy: Option<&FrontProxy>, headers: &mut HeaderMap) {
    let own = |name: &HeaderName| {
        let name = name.as_str();
        USUAL.contains(&name)
            || name.starts_with(USUAL_EXTRA)
            || proxy.is_some_and(|proxy| {
                let all = [&proxy.username_headers, &proxy.group_headers, &proxy.uid_headers];
                all.into_iter().flatten().any(|known| known.eq_ignore_ascii_case(name))
                    || proxy.extra_prefixes.iter().any(|prefix| name.starts_with(&prefix.to_lowercase()))
            })
    };
    let dropped: Vec<HeaderName> = headers.keys().filter(|name| own(name)).cloned().collect();
    for name in dropped {
        headers.remove(name);
    }
}

fn first(headers: &HeaderMap, names: &[String]) -> Option<String> {
    names.iter().filter_map(|name| headers.get(name.as_str()).and_then(text)).find(|value| !value.is_empty())
}

fn text(value: &http::HeaderValue) -> Option<String> {
    std::str::from_utf8(value.as_bytes()).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn proxy() -> FrontProxy {
        let list = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
        FrontProxy {
            authorities: Vec::new(),
            allowed_names: list(&["aggregator"]),
            username_headers: list(&["X-Remote-User", "X-Other"]),
            group_headers: list(&["X-Remote-Group", "X-Teams"]),
            uid_headers: list(&["X-Remote-Uid"]),
            extra_prefixes: list(&["X-Remote-Extra-"]),
        }
    }

    fn headers(all: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            let name: HeaderName = name.parse().expect("a header");
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    #[test]
    fn headers_say_whom_the_proxy_has_let_in() {
        assert_eq!(proxy().identity(&headers(&[("X-Remote-Group", "a")])), None);
        assert_eq!(proxy().identity(&headers(&[("X-Remote-User", "")])), None);
        let who = proxy().identity(&headers(&[
            ("x-other", "bob"),
            ("X-REMOTE-USER", "jane"),
            ("X-Remote-User", "eve"),
            ("X-Remote-Group", "a"),
            ("X-Remote-Group", "b"),
            ("X-Teams", "c"),
            ("X-Remote-Uid", "7"),
            ("X-Remote-Extra-Acme.com%2Fproject", "x"),
            ("X-Remote-Extra-Acme.com%2Fproject", "y"),
            ("X-Remote-Extra-", "z"),
        ]));
        let who = who.expect("somebody");
        assert_eq!((who.user.as_str(), who.uid.as_str()), ("jane", "7"));
        assert_eq!(who.groups, ["a", "b", "c", "system:authenticated"]);
        assert_eq!(who.extra.keys().collect::<Vec<_>>(), ["acme.com/project"]);
        assert_eq!(who.extra["acme.com/project"], ["x", "y"]);
        // One whom the proxy did not know either is nobody's peer.
        let nobody = proxy().identity(&headers(&[("X-Remote-User", "system:anonymous")])).expect("somebody");
        assert_eq!(nobody.groups, [""; 0]);
        assert!(
            proxy().allows("aggregator") && !proxy().allows("eve") && FrontProxy::default().allows("eve")
        );
    }

    #[test]
    fn what_a_proxy_says_goes_no_further() {
        let mut sent = headers(&[
            ("X-Remote-User", "jane"),
            ("x-remote-group", "a"),
            ("X-Remote-Uid", "7"),
            ("X-Remote-Extra-Scopes", "x"),
            ("X-Teams", "c"),
            ("X-Kept", "y"),
        ]);
        let mut others = sent.clone();
        drop_headers(Some(&proxy()), &mut sent);
        assert_eq!(sent.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-kept"]);
        drop_headers(None, &mut others);
        let mut left: Vec<&str> = others.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["x-kept", "x-teams"], "the usual ones are dropped where nobody is believed");
    }
}
