//! Documents that point at files: the files must be there.

use std::path::Path;

use anyhow::Context as _;

/// Complains about relative links in Markdown files that lead nowhere.
pub(super) fn check(root: &Path, tracked: &[String]) -> anyhow::Result<Vec<String>> {
    let mut complaints = Vec::new();
    for path in tracked.iter().filter(|path| path.ends_with(".md")) {
        let text = std::fs::read_to_string(root.join(path)).with_context(|| format!("read {path}"))?;
        let folder = Path::new(path).parent().unwrap_or(Path::new(""));
        for link in links(&text) {
            if !root.join(folder).join(link).exists() {
                complaints.push(format!("{path}: the link to {link} leads nowhere"));
            }
        }
    }
    complaints.extend(unnumbered(root, tracked)?);
    Ok(complaints)
}

/// Decisions are numbered from 1 without gaps, in the name of the file and in its heading.
fn unnumbered(root: &Path, tracked: &[String]) -> anyhow::Result<Vec<String>> {
    let mut decisions: Vec<&String> =
        tracked.iter().filter(|path| path.starts_with("docs/decisions/")).collect();
    decisions.sort();
    let mut complaints = Vec::new();
    for (path, number) in decisions.into_iter().zip(1..) {
        let text = std::fs::read_to_string(root.join(path)).with_context(|| format!("read {path}"))?;
        if !is_numbered(path, &text, number) {
            complaints.push(format!(
                "{path}: decisions are numbered without gaps, in name and heading; this is number {number}"
            ));
        }
    }
    Ok(complaints)
}

fn is_numbered(path: &str, text: &str, number: usize) -> bool {
    path.starts_with(&format!("docs/decisions/{number:04}-")) && text.starts_with(&format!("# {number}. "))
}

/// The targets of `[text](target)` that are paths within the repository, without their anchors.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .map(|target| target.split('#').next().unwrap_or(target))
        .filter(|target| {
            !target.is_empty() && !target.contains("://") && !target.contains(char::is_whitespace)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_have_their_number_in_name_and_heading() {
        assert!(is_numbered("docs/decisions/0004-a.md", "# 4. A\n", 4));
        assert!(!is_numbered("docs/decisions/0005-a.md", "# 5. A\n", 4));
        assert!(!is_numbered("docs/decisions/0004-a.md", "# 0004: A\n", 4));
    }

    #[test]
    fn links_are_paths_without_anchors_and_without_other_sites() {
        let text = "See [a](docs/a.md#part), [b](https://example.org/b) and [c](#here).";
        assert_eq!(links(text).collect::<Vec<_>>(), ["docs/a.md"]);
    }
}
