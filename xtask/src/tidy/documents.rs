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
    Ok(complaints)
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
    fn links_are_paths_without_anchors_and_without_other_sites() {
        let text = "See [a](docs/a.md#part), [b](https://example.org/b) and [c](#here).";
        assert_eq!(links(text).collect::<Vec<_>>(), ["docs/a.md"]);
    }
}
