//! `$(NAME)` in commands, arguments and environment values.

/// Replaces each `$(NAME)` by what `value` gives for it; `$$` stands for `$`, and a name that is
/// not known stays as it is written.
pub fn expand<'a>(text: &str, value: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match value(name) {
                Some(found) => expanded.push_str(found),
                None => {
                    expanded.push_str("$(");
                    expanded.push_str(name);
                    expanded.push(')');
                }
            }
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded.push_str(rest);
    expanded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let value = |name: &str| match name {
            "A" => Some("one"),
            "EMPTY" => Some(""),
            _ => None,
        };
        assert_eq!(expand(text, value), expected);
    }

    #[test]
    fn known_names_are_replaced_and_unknown_ones_stay() {
        check("$(A)-$(EMPTY)-$(NONE)", "one--$(NONE)");
        check("before $(A) after", "before one after");
    }

    #[test]
    fn two_dollars_stand_for_one_and_a_lone_one_for_itself() {
        check("$$(A)", "$(A)");
        check("$A costs 5$", "$A costs 5$");
        check("$(A", "$(A");
    }
}
