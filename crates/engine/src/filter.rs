//! Matching what users give as filters.

use std::collections::BTreeMap;

use base::Timestamp;

use crate::container::PruneFilter;

/// Whether `labels` has `wanted`, which is `key` or `key=value`.
pub(crate) fn label_matches(wanted: &str, labels: &BTreeMap<String, String>) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|have| have == value),
        None => labels.contains_key(wanted),
    }
}

/// Whether `labels` has all of `wanted`.
pub(crate) fn labels_match(wanted: &[String], labels: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|wanted| label_matches(wanted, labels))
}

/// Whether `name` has one of `wanted` in it; `^` and `/` anchor its beginning, `$` its end.
pub(crate) fn name_matches(wanted: &[String], name: &str) -> bool {
    wanted.is_empty()
        || wanted.iter().any(|wanted| {
            let (wanted, from_start) = match wanted.strip_prefix('^') {
                Some(rest) => (rest.strip_prefix('/').unwrap_or(rest), true),
                None => match wanted.strip_prefix('/') {
                    Some(rest) => (rest, true),
                    None => (wanted.as_str(), false),
                },
            };
            let (wanted, to_end) = match wanted.strip_suffix('$') {
                Some(rest) => (rest, true),
                None => (wanted, false),
            };
            match (from_start, to_end) {
                (true, true) => name == wanted,
                (true, false) => name.starts_with(wanted),
                (false, true) => name.ends_with(wanted),
                (false, false) => name.contains(wanted),
            }
        })
}

/// Whether `id` begins with one of `wanted`.
pub(crate) fn id_matches(wanted: &[String], id: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| id.starts_with(wanted.as_str()))
}

impl PruneFilter {
    /// Whether something made at `created` with `labels` may go.
    pub(crate) fn admits(&self, created: Option<Timestamp>, labels: &BTreeMap<String, String>) -> bool {
        self.until.is_none_or(|until| created.is_some_and(|created| created < until))
            && labels_match(&self.labels, labels)
            && !self.without_labels.iter().any(|label| label_matches(label, labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_name(wanted: &str, name: &str, expected: bool) {
        assert_eq!(name_matches(&[wanted.to_owned()], name), expected, "{wanted} in {name}");
    }

    #[test]
    fn names_match_in_part_unless_anchored() {
        check_name("we", "my-web", true);
        check_name("^we", "my-web", false);
        check_name("^/my-web$", "my-web", true);
        check_name("^/my$", "my-web", false);
        check_name("web$", "my-web", true);
    }

    #[test]
    fn a_label_matches_by_key_or_by_key_and_value() {
        let labels = BTreeMap::from([("tier".to_owned(), "front".to_owned())]);
        assert!(label_matches("tier", &labels));
        assert!(label_matches("tier=front", &labels));
        assert!(!label_matches("tier=", &labels));
        assert!(!label_matches("other", &labels));
    }
}
