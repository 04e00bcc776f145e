//! Which files of a tree are meant.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use crate::files::{Entry, Tree};
use crate::ignore::Ignore;
use crate::solve::SolveError;

/// Patterns of what is taken along and what is left out, about paths below the one that is copied.
pub(crate) struct Filter {
    include: Option<Ignore>,
    exclude: Ignore,
}

impl Filter {
    pub(crate) fn new(include: &[String], exclude: &[String]) -> Result<Self, SolveError> {
        let read = |patterns: &[String]| {
            Ignore::new(patterns.iter().map(String::as_str)).map_err(SolveError::Invalid)
        };
        let included = (!include.is_empty()).then(|| read(include)).transpose()?;
        Ok(Self { include: included, exclude: read(exclude)? })
    }

    fn is_whole(&self) -> bool {
        self.include.is_none() && self.exclude.is_empty()
    }

    /// Those of the entries that are meant, with the directories that they are in.
    fn apply(&self, entries: Vec<Entry>) -> Vec<Entry> {
        if self.is_whole() || entries.len() == 1 && entries[0].kind() != FileType::Directory {
            return entries;
        }
        let mut kept: HashSet<PathBuf> = HashSet::new();
        // What is in a directory comes after it.
        for entry in entries.iter().rev() {
            let text = entry.relative.to_string_lossy();
            let is_top = text.is_empty();
            let is_included = self.include.as_ref().is_none_or(|include| !is_top && include.excludes(&text));
            let is_excluded = !is_top && self.exclude.excludes(&text);
            if kept.contains(&entry.relative) || is_top || (is_included && !is_excluded) {
                kept.insert(entry.relative.clone());
                kept.extend(entry.relative.parent().map(Path::to_owned));
            }
        }
        entries.into_iter().filter(|entry| kept.contains(&entry.relative)).collect()
    }
}

/// What is at a path, with all in it that is meant, parents first.
pub(crate) fn entries(
    tree: &Tree,
    path: &Path,
    follow: bool,
    filter: &Filter,
) -> Result<Vec<Entry>, SolveError> {
    if !follow && let Some(link) = tree.symbolic_link(path)? {
        return Ok(vec![link]);
    }
    Ok(filter.apply(tree.entries(path, &Ignore::default())?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use base::cancel::Cancel;
    use rustix::fs::{Mode, OFlags};

    use super::*;

    #[track_caller]
    fn check(include: &[&str], exclude: &[&str], expected: &[&str]) {
        let directory = tempfile::tempdir().expect("a directory");
        for path in ["a/x.go", "a/y.md", "b/x.md", "b/c/z.go", "top.md"] {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().expect("in a directory")).expect("make");
            fs::write(path, "x").expect("write");
        }
        let root = rustix::fs::open(directory.path(), OFlags::PATH, Mode::empty()).expect("open");
        let tree = Tree::new(root, Ignore::default(), &Cancel::default());
        let patterns = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let filter = Filter::new(&patterns(include), &patterns(exclude)).expect("patterns");
        let found = entries(&tree, Path::new(""), true, &filter).expect("entries");
        let found: Vec<String> = found
            .iter()
            .map(|entry| entry.relative.display().to_string())
            .filter(|path| !path.is_empty())
            .collect();
        assert_eq!(found, expected, "{include:?} without {exclude:?}");
    }

    #[test]
    fn directories_come_along_for_what_is_meant_in_them() {
        check(&[], &[], &["a", "a/x.go", "a/y.md", "b", "b/c", "b/c/z.go", "b/x.md", "top.md"]);
        check(&["**/*.go"], &[], &["a", "a/x.go", "b", "b/c", "b/c/z.go"]);
        check(&["b"], &[], &["b", "b/c", "b/c/z.go", "b/x.md"]);
        check(&["b"], &["**/*.md"], &["b", "b/c", "b/c/z.go"]);
        check(&[], &["b", "!b/c"], &["a", "a/x.go", "a/y.md", "b", "b/c", "b/c/z.go", "top.md"]);
        check(&["nothing"], &[], &[]);
    }
}
