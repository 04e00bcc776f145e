//! Requests that ask to be treated as somebody else's, by the headers `Impersonate-User`, `-Uid`, `-Group`
//! and `-Extra-…`.
//!
//! Whoever may `impersonate` each part of whom it asks to be is that for the rest of the request. Before that
//! the constrained forms are tried, which let somebody be another for some requests only: they ask for
//! `impersonate:MODE` of the parts and for `impersonate-on:MODE:VERB` of the request itself.
//! Source: Kubernetes documentation, "User impersonation"; KEP-5284.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue};
use model::Status;
use model::field::quote;
use percent_encoding::percent_decode_str;

use crate::audit::Record;
use crate::authorisation::{self, Attributes, ResourceAttributes, refusal};
use crate::error::{Error, Result};
use crate::identity::{ADMINISTRATORS, AUTHENTICATED, Identity, UNAUTHENTICATED, account_groups};
use crate::state::State;

const USER: &str = "impersonate-user";
const UID: &str = "impersonate-uid";
const GROUP: &str = "impersonate-group";
const EXTRA: &str = "impersonate-extra-";
/// The group of what tokens and users are.
const AUTHENTICATION: &str = "authentication.k8s.io";
/// The node that a token's pod runs on, as the token says.
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
/// From so many on, it is asked for all at once before each is asked for.
const MANY: usize = 4;
/// So many parts of another identity are asked for at most: each costs a decision.
const MOST: usize = 512;

/// Whom a request asks to be, as its headers say it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wanted {
    user: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

/// How somebody may be another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// A pod's account the node that the pod is on.
    AssociatedNode,
    /// Any node.
    ArbitraryNode,
    /// A service account.
    ServiceAccount,
    /// Anybody who is neither.
    UserInfo,
    /// Anybody, for all requests.
    Legacy,
}

const MODES: [Mode; 5] =
    [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Legacy];

/// As whom a request is answered: the caller, or whom it asks to be and may be.
pub(crate) async fn apply(
    state: &State,
    caller: Identity,
    headers: &HeaderMap,
    attributes: Attributes<'_>,
    record: Option<&Record>,
) -> Result<Identity> {
    let Some(wanted) = read(headers)? else { return Ok(caller) };
    let mut first = None;
    for mode in MODES {
        match mode.check(state, &caller, &wanted, attributes).await {
            Ok(None) => {}
            Ok(Some(identity)) => {
                tracing::debug!(user = caller.user, acts_as = identity.user, ?mode, "impersonation");
                if let Some(record) = record {
                    record.impersonates(&identity, mode.name().map(|name| format!("impersonate:{name}")));
                }
                return Ok(identity);
            }
            Err(error) => drop(first.get_or_insert(error)),
        }
    }
    Err(first.expect("the last form fits everybody"))
}

/// Whom the headers ask to be; none where they do not.
fn read(headers: &HeaderMap) -> Result<Option<Wanted>> {
    // The library keeps names in lower case, however they were sent.
    if !headers.keys().any(|name| name.as_str().starts_with("impersonate-")) {
        return Ok(None);
    }
    let text = |value: &HeaderValue| match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(Error::bad_request("a header of impersonation is no UTF-8")),
    };
    let first = |name| headers.get(name).map(text).transpose().map(Option::unwrap_or_default);
    let mut wanted = Wanted { user: first(USER)?, uid: first(UID)?, ..Wanted::default() };
    wanted.groups = headers.get_all(GROUP).iter().map(text).collect::<Result<_>>()?;
    for (name, value) in headers {
        let name = name.as_str();
        let Some(key) = name.strip_prefix(EXTRA) else {
            if name.starts_with("impersonate-") && ![USER, UID, GROUP].contains(&name) {
                return Err(Error::bad_request(format!("the header {name} is not known")));
            }
            continue;
        };
        // What is no escape is kept as it is.
        let key = percent_decode_str(key).decode_utf8().map_or_else(|_| key.to_owned(), Into::into);
        wanted.extra.entry(key).or_default().push(text(value)?);
    }
    if wanted.groups.len() + wanted.extra.values().map(Vec::len).sum::<usize>() > MOST {
        return Err(Error::bad_request("more is to be impersonated than anybody can be"));
    }
    if !wanted.user.is_empty() {
        return Ok(Some(wanted));
    }
    if wanted == Wanted::default() {
        return Ok(None);
    }
    let groups: Vec<String> = wanted.groups.iter().map(|group| quote(group)).collect();
    let why = format!(
        "requested groups [{}], uid {}, extra {:?} without impersonating a user name",
        groups.join(" "),
        quote(&wanted.uid),
        wanted.extra
    );
    Err(Error::bad_request(why))
}

impl Wanted {
    /// Whether it names a user and nothing else.
    fn is_only_user(&self) -> bool {
        self.uid.is_empty() && self.groups.is_empty() && self.extra.is_empty()
    }

    fn node(&self) -> Option<&str> {
        let name = self.user.strip_prefix("system:node:")?;
        model::names::dns1123_subdomain(name).is_empty().then_some(name)
    }

    fn account(&self) -> Option<(&str, &str)> {
        account(&self.user)
    }
}

/// Namespace and name of the service account that a user's name stands for.
fn account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let sound =
        model::names::dns1123_label(namespace).is_empty() && model::names::dns1123_subdomain(name).is_empty();
    sound.then_some((namespace, name))
}

impl Mode {
    /// What a constrained form is called; none of the one that is not.
    fn name(self) -> Option<&'static str> {
        match self {
            Self::AssociatedNode => Some("associated-node"),
            Self::ArbitraryNode => Some("arbitrary-node"),
            Self::ServiceAccount => Some("serviceaccount"),
            Self::UserInfo => Some("user-info"),
            Self::Legacy => None,
        }
    }

    /// Whether it is about whom `caller` wants to be at all.
    fn fits(self, caller: &Identity, wanted: &Wanted) -> bool {
        match self {
            Self::AssociatedNode => {
                let own = caller.extra.get(NODE_NAME).map(Vec::as_slice);
                wanted.is_only_user()
                    && account(&caller.user).is_some()
                    && wanted.node().is_some_and(|node| own == Some(&[node.to_owned()]))
            }
            Self::ArbitraryNode => wanted.is_only_user() && wanted.node().is_some(),
            Self::ServiceAccount => wanted.is_only_user() && wanted.account().is_some(),
            Self::UserInfo => wanted.node().is_none() && wanted.account().is_none(),
            Self::Legacy => true,
        }
    }

    /// Whom `caller` is then; none where the form is about others.
    async fn check(
        self,
        state: &State,
        caller: &Identity,
        wanted: &Wanted,
        attributes: Attributes<'_>,
    ) -> Result<Option<Identity>> {
        if !self.fits(caller, wanted) {
            return Ok(None);
        }
        // What is asked does not depend on which of its nodes it is, so the answer must not either.
        let mut asker = caller.clone();
        if self == Self::AssociatedNode {
            let keys = caller.extra.keys().cloned().collect();
            let keys_of = "authentication.kubernetes.io/associated-node-keys";
            asker.extra = BTreeMap::from([(keys_of.to_owned(), keys)]);
        }
        let asks = Asks { state, caller: &asker };
        let Some(name) = self.name() else { return asks.parts(self, "impersonate", wanted).await.map(Some) };
        match attributes {
            Attributes::Resource(asked) => {
                let verb = format!("impersonate-on:{name}:{}", asked.verb);
                asks.may(ResourceAttributes { verb: &verb, ..asked }).await?;
            }
            Attributes::Path { verb, path } => {
                let verb = format!("impersonate-on:{name}:{verb}");
                let asked = Attributes::Path { verb: &verb, path };
                let decision = state.authorizer.decide(&asker, asked).await;
                authorisation::check(&asker, asked, &decision)?;
            }
        }
        asks.parts(self, &format!("impersonate:{name}"), wanted).await.map(Some)
    }
}

/// Asks what a caller may.
struct Asks<'a> {
    state: &'a State,
    caller: &'a Identity,
}

impl Asks<'_> {
    async fn may(&self, asked: ResourceAttributes<'_>) -> Result<()> {
        let asked = Attributes::Resource(asked);
        let decision = self.state.authorizer.decide(self.caller, asked).await;
        authorisation::check(self.caller, asked, &decision)
    }

    /// Asks for each part of whom it wants to be.
    async fn parts(&self, mode: Mode, verb: &str, wanted: &Wanted) -> Result<Identity> {
        let constrained = mode != Mode::Legacy;
        let of =
            |resource, name| ResourceAttributes { verb, resource, name, ..ResourceAttributes::default() };
        let own_group = |asked| ResourceAttributes { group: AUTHENTICATION, version: "v1", ..asked };
        // Users and groups are of the core group in the old form.
        let grouped = |asked| {
            if constrained { own_group(asked) } else { ResourceAttributes { version: "v1", ..asked } }
        };
        let mut identity = Identity {
            user: wanted.user.clone(),
            uid: wanted.uid.clone(),
            groups: wanted.groups.clone(),
            extra: wanted.extra.clone(),
        };
        match (wanted.node().filter(|_| constrained), wanted.account()) {
            (Some(node), _) => {
                let name = if mode == Mode::AssociatedNode { "*" } else { node };
                identity.groups = vec!["system:nodes".to_owned()];
                self.may(own_group(of("nodes", name))).await?;
            }
            (None, Some((namespace, name))) => {
                if wanted.groups.is_empty() {
                    identity.groups = account_groups(namespace).into();
                }
                let asked = grouped(of("serviceaccounts", name));
                self.may(ResourceAttributes { namespace, ..asked }).await?;
            }
            (None, None) => self.may(grouped(of("users", &wanted.user))).await?,
        }
        if !wanted.uid.is_empty() {
            self.may(own_group(of("uids", &wanted.uid))).await?;
        }
        self.groups(constrained, grouped(of("groups", "")), &wanted.groups).await?;
        self.extra(constrained, own_group(of("userextras", "")), &wanted.extra).await?;
        let groups = &mut identity.groups;
        let has = |groups: &[String], group: &str| groups.iter().any(|known| known == group);
        if identity.user == Identity::anonymous().user {
            if !has(groups, UNAUTHENTICATED) {
                groups.push(UNAUTHENTICATED.to_owned());
            }
        } else if !has(groups, UNAUTHENTICATED) && !has(groups, AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        Ok(identity)
    }

    async fn groups(
        &self,
        constrained: bool,
        asked: ResourceAttributes<'_>,
        groups: &[String],
    ) -> Result<()> {
        if constrained {
            if groups.iter().any(String::is_empty) {
                return Err(self.refuse(asked, "impersonating the empty string group is not allowed"));
            }
            if groups.iter().any(|group| group == ADMINISTRATORS) {
                let asked = ResourceAttributes { name: ADMINISTRATORS, ..asked };
                return Err(self.refuse(asked, "impersonating the system:masters group is not allowed"));
            }
            let all = ResourceAttributes { name: "*", ..asked };
            if groups.len() >= MANY && self.may(all).await.is_ok() {
                return Ok(());
            }
        }
        for name in groups {
            self.may(ResourceAttributes { name, ..asked }).await?;
        }
        Ok(())
    }

    async fn extra(
        &self,
        constrained: bool,
        asked: ResourceAttributes<'_>,
        extra: &BTreeMap<String, Vec<String>>,
    ) -> Result<()> {
        if constrained {
            if let Some(why) = wrong_extra(extra) {
                return Err(self.refuse(asked, &why));
            }
            let all = ResourceAttributes { name: "*", subresource: "*", ..asked };
            let count: usize = extra.values().map(Vec::len).sum();
            if count >= MANY && self.may(all).await.is_ok() {
                return Ok(());
            }
        }
        for (subresource, values) in extra {
            for name in values {
                self.may(ResourceAttributes { name, subresource, ..asked }).await?;
            }
        }
        Ok(())
    }

    fn refuse(&self, asked: ResourceAttributes<'_>, why: &str) -> Error {
        refusal(self.caller, Attributes::Resource(asked), why)
    }
}

/// What the constrained forms do not take as a further part of an identity.
fn wrong_extra(extra: &BTreeMap<String, Vec<String>>) -> Option<String> {
    for (key, values) in extra {
        if key.is_empty() {
            return Some("impersonating the empty string key in extra is not allowed".to_owned());
        }
        let sound = key.split_once('/').is_some_and(|(domain, path)| {
            model::names::dns1123_subdomain(domain).is_empty()
                && !path.is_empty()
                && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._~!$&'()*+,;=:@%-".contains(&b))
        });
        if !sound {
            return Some(format!(
                "impersonating an invalid key in extra is not allowed: extra.key: Invalid value: {}: must be a \
                 domain-prefixed path (such as \"acme.io/foo\")",
                quote(key)
            ));
        }
        if key.chars().any(char::is_uppercase) {
            let key = quote(key);
            return Some(format!("impersonating a non-lowercase key in extra is not allowed: {key}"));
        }
        if values.iter().any(String::is_empty) {
            return Some("impersonating the empty string value in extra is not allowed".to_owned());
        }
    }
    None
}

/// Whoever is not known can be nobody else.
pub(crate) fn refuse_unknown(headers: &HeaderMap) -> Result<()> {
    match read(headers)? {
        Some(_) => Err(Status::unauthorized().into()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn headers(all: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            let name: HeaderName = name.parse().expect("a header");
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    #[test]
    fn headers_say_whom_to_be() {
        assert_eq!(read(&headers(&[])).expect("fine"), None);
        let wanted = read(&headers(&[
            ("Impersonate-User", "jane"),
            ("Impersonate-Group", "a"),
            ("IMPERSONATE-GROUP", "b"),
            ("Impersonate-Uid", "7"),
            ("Impersonate-Extra-Acme.com%2Fproject", "x"),
            ("impersonate-extra-scopes", "y"),
        ]));
        let wanted = wanted.expect("fine").expect("somebody");
        assert_eq!((wanted.user.as_str(), wanted.uid.as_str()), ("jane", "7"));
        assert_eq!(wanted.groups, ["a", "b"]);
        assert_eq!(wanted.extra["acme.com/project"], ["x"]);
        assert_eq!(wanted.extra["scopes"], ["y"]);
    }

    #[test]
    fn parts_of_nobody_are_refused_and_so_is_what_is_not_known() {
        for name in ["Impersonate-Group", "Impersonate-Uid", "Impersonate-Extra-a", "Impersonate-Else"] {
            let error = read(&headers(&[(name, "x")])).expect_err(name);
            assert_eq!(error.code(), 400, "{name}: {error}");
        }
        let many: Vec<(&str, &str)> =
            std::iter::once((USER, "jane")).chain(std::iter::repeat_n((GROUP, "g"), MOST + 1)).collect();
        assert_eq!(read(&headers(&many)).expect_err("too many").code(), 400);
    }

    #[test]
    fn a_form_is_for_its_own() {
        let account = Identity {
            extra: BTreeMap::from([(NODE_NAME.to_owned(), vec!["n1".to_owned()])]),
            ..Identity::new("system:serviceaccount:a:b", ["x"])
        };
        let jane = Identity { extra: account.extra.clone(), ..Identity::new("jane", ["x"]) };
        let fits = |caller: &Identity, user: &str, groups: &[&str]| {
            let groups = groups.iter().map(|group| (*group).to_owned()).collect();
            let wanted = Wanted { user: user.to_owned(), groups, ..Wanted::default() };
            MODES
                .into_iter()
                .filter(|mode| mode.fits(caller, &wanted))
                .filter_map(Mode::name)
                .collect::<Vec<_>>()
        };
        assert_eq!(fits(&account, "system:node:n1", &[]), ["associated-node", "arbitrary-node"]);
        assert_eq!(fits(&account, "system:node:n2", &[]), ["arbitrary-node"]);
        assert_eq!(fits(&jane, "system:node:n1", &[]), ["arbitrary-node"]);
        assert_eq!(fits(&account, "system:node:n1", &["system:masters"]), [""; 0]);
        assert_eq!(fits(&jane, "system:serviceaccount:a:b", &[]), ["serviceaccount"]);
        assert_eq!(fits(&jane, "bob", &["g"]), ["user-info"]);
    }

    #[test]
    fn odd_parts_are_told_apart() {
        let wrong = |key: &str, value: &str| {
            wrong_extra(&BTreeMap::from([(key.to_owned(), vec![value.to_owned()])])).is_some()
        };
        assert!(!wrong("acme.com/a", "x"));
        assert!(
            wrong("", "x") && wrong("scopes", "x") && wrong("Acme.com/a", "x") && wrong("acme.com/a", "")
        );
    }
}
