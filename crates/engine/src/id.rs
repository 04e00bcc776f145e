//! Names of things: one type per kind, so that no two can be confused.

base::hex_id! {
    /// Names a container on this host: 64 hex digits, made by the engine.
    pub struct ContainerId;
}

base::hex_id! {
    /// Names a sandbox: the shim, the network and the shared namespaces that containers live in.
    pub struct SandboxId;
}

base::hex_id! {
    /// Names one more process inside a running container.
    pub struct ExecId;
}

base::hex_id! {
    /// Names a network of this host.
    pub struct NetworkId;
}

impl SandboxId {
    /// The sandbox of a container that was created without one: both have the same digits.
    pub fn of_container(id: &ContainerId) -> Self {
        Self::parse(id.as_str()).expect("a container id has the same form")
    }
}
