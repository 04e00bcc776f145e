//! Where text of strangers comes in, for the targets in `fuzz/`.

use crate::dockerfile::Dockerfile;

/// Reads a Dockerfile, and the same text as the list of what stays out of the context.
pub fn dockerfile(text: &str) {
    let _ = Dockerfile::parse(text);
    if let Ok(ignore) = crate::ignore::Ignore::parse(text) {
        let _ = ignore.excludes("some/file.txt");
    }
}
