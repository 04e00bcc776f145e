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

    /// The administrator of this installation.
    pub fn administrator() -> Self {
        Self::new("admin", [ADMINISTRATORS])
    }

    /// A component of Gantry's own control plane, for example `scheduler`.
    pub fn component(name: &str) -> Self {
        Self::new(format!("system:gantry:{name}"), ["system:gantry"])
    }

    /// The agent of the node `name`.
    pub fn node(name: &str) -> Self {
        Self::new(format!("system:node:{name}"), ["system:nodes"])
    }

    /// Someone unknown, who may read what is public.
    pub(crate) fn anonymous() -> Self {
        Self {
            user: "system:anonymous".to_owned(),
            groups: vec!["system:unauthenticated".to_owned()],
            ..Self::default()
        }
    }

    /// The server itself, when it makes the objects that must always be there.
    pub(crate) fn server() -> Self {
        Self::new(SERVER, [ADMINISTRATORS])
    }

    /// Whether the caller is a part of the cluster itself, the control plane's or a node's agent.
    pub(crate) fn is_component(&self) -> bool {
        self.is_in("system:gantry") || self.is_in("system:nodes") || self.user == SERVER
    }

    /// The node whose agent the caller is.
    pub(crate) fn node_name(&self) -> Option<&str> {
        let name = || self.user.strip_prefix("system:node:").unwrap_or(&self.user);
        self.is_in("system:nodes").then(name)
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
