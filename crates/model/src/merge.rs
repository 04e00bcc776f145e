//! The four ways to change an object by a patch.

pub mod apply;
pub mod json_patch;
pub mod merge_patch;
pub mod strategic;
