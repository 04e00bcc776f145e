//! Images.

/// An image that is here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageStatus {
    /// Its names with tags.
    pub tags: Vec<String>,
    /// Its names with digests. One that was made on this machine has none: no registry gave it.
    pub digests: Vec<String>,
    /// Bytes unpacked.
    pub size: u64,
    /// `user[:group]`, by name or number; empty is root.
    pub user: String,
}

/// Who one is at a registry.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password or personal token.
    pub password: String,
    /// A refresh token instead of both.
    pub identity_token: String,
}
