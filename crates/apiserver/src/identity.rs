//! Who makes a request.

use std::collections::BTreeMap;

/// A caller whose identity has been established.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user's name, for example `system:serviceaccount:default:builder`.
    pub user: String,
    /// A unique id, where the source of the identity has one.
    pub uid: String,
    /// The groups, `system:authenticated` included.
    pub groups: Vec<String>,
    /// What else the source of the identity says, such as the pod that a token is bound to.
    pub extra: BTreeMap<String, Vec<String>>,
}

/// The group whose members may do everything.
pub const ADMINISTRATORS: &str = "system:masters";
/// The group of everybody who is known.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of everybody who is not.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The user whom nobody knows.
const ANONYMOUS: &str = "system:anonymous";
/// The group of what the cluster is made of, whose requests go before those of users. It gives no right.
const COMPONENTS: &str = "system:gantry";
/// The user that the server is to itself.
const SERVER: &str = "system:apiserver";

impl Identity {
    /// A user with `groups`; `system:authenticated` is added.
    pub fn new(user: impl Into<String>, groups: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let mut groups: Vec<String> = groups.into_iter().map(Into::into).collect();
        if !groups.iter().any(|g| g == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        Self { user: user.into(), groups, ..Self::default() }
    }

    /// A user as somebody else says, who may have found out as well that nobody is known.
    pub(crate) fn of_proxy(user: String, groups: Vec<String>) -> Self {
        let known = groups.iter().any(|group| group == AUTHENTICATED || group == UNAUTHENTICATED);
        if known || user == ANONYMOUS {
            return Self { user, groups, ..Self::default() };
        }
        Self::new(user, groups)
    }

    /// The administrator of this installation.
    pub fn administrator() -> Self {
        Self::new("admin", [ADMINISTRATORS])
    }

    /// A component of the control plane that is a user of its own, for example `kube-scheduler`: what it may
    /// is said of that user, as of Kubernetes' own.
    pub fn component(name: &str) -> Self {
        Self::new(format!("system:{name}"), [COMPONENTS])
    }

    /// A controller of the control plane, for example `deployment-controller`: what it may is said of the
    /// service account of that name, as of Kubernetes' own.
    pub fn controller(name: &str) -> Self {
        let mut identity = Self::service_account("kube-system", name);
        identity.groups.push(COMPONENTS.to_owned());
        identity
    }

    /// A service account.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self::new(format!("system:serviceaccount:{namespace}:{name}"), account_groups(namespace))
    }

    /// The agent of the node `name`.
    pub fn node(name: &str) -> Self {
        Self::new(format!("system:node:{name}"), ["system:nodes"])
    }

    /// Someone unknown, who may read what is public.
    pub(crate) fn anonymous() -> Self {
        Self { user: ANONYMOUS.to_owned(), groups: vec![UNAUTHENTICATED.to_owned()], ..Self::default() }
    }

    /// The server itself, when it makes the objects that must always be there.
    pub(crate) fn server() -> Self {
        Self::new(SERVER, [ADMINISTRATORS])
    }

    /// Whether the caller is a part of the cluster itself, the control plane's or a node's agent.
    pub(crate) fn is_component(&self) -> bool {
        self.is_in(COMPONENTS) || self.is_in("system:nodes") || self.user == SERVER
    }

    /// The node whose agent the caller is; empty where it is one, and does not say which.
    pub fn node_name(&self) -> Option<&str> {
        self.user.strip_prefix("system:node:").filter(|_| self.is_in("system:nodes"))
    }

    /// Whether the caller is in `group`.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|g| g == group)
    }

    /// Whether the caller may do everything.
    pub fn is_administrator(&self) -> bool {
        self.is_in(ADMINISTRATORS)
    }
}

/// The groups of the service accounts of a namespace.
pub(crate) fn account_groups(namespace: &str) -> [String; 2] {
    ["system:serviceaccounts".to_owned(), format!("system:serviceaccounts:{namespace}")]
}
