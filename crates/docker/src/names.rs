//! Names that users give to things.

use crate::fault::Fault;

/// What a name may consist of, as it is printed in errors.
const ALLOWED: &str = "[a-zA-Z0-9][a-zA-Z0-9_.-]";

/// Checks the name for a container, with or without the slash that some clients write first.
pub(crate) fn container(name: &str) -> Result<String, Fault> {
    let plain = name.strip_prefix('/').unwrap_or(name);
    if is_restricted(plain) {
        Ok(plain.to_owned())
    } else {
        Err(Fault::invalid(format!("Invalid container name ({name}), only {ALLOWED} are allowed")))
    }
}

/// Whether `name` has two characters or more, all of the allowed kinds.
pub(crate) fn is_restricted(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() > 1
        && bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: Option<&str>) {
        assert_eq!(container(name).ok().as_deref(), expected, "{name}");
    }

    #[test]
    fn names_have_two_characters_of_few_kinds() {
        check("web", Some("web"));
        check("/web", Some("web"));
        check("a1_.-", Some("a1_.-"));
        check("a", None);
        check("-a", None);
        check("a/", None);
        check("", None);
        check("a b", None);
    }

    #[test]
    fn the_refusal_names_what_is_allowed() {
        let message = container("a b").expect_err("refused").message;
        assert_eq!(message, "Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
    }
}
