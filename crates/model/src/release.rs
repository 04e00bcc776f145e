//! The release of Kubernetes whose API this is, as all parts tell it.

/// Its first number.
pub const MAJOR: &str = "1";
/// Its second number.
pub const MINOR: &str = "36";
/// How servers and nodes call themselves.
pub const VERSION: &str = "v1.36.2+gantry";
