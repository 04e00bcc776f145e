//! Paths inside the container, made plain.

use std::ffi::CString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use super::super::ProcessError;
use super::super::plan::PathPlan;

/// A path below the root, its `.` and `..` resolved by their letters: `..` above the root is the
/// root, as inside the container.
pub(super) fn inside(path: &Path) -> Result<PathPlan, ProcessError> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::ParentDir => drop(plain.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    let text = format!("/{}", plain.display());
    let below_proc = plain.starts_with("proc");
    let bytes = if plain.as_os_str().is_empty() { b".".to_vec() } else { plain.into_os_string().into_vec() };
    let path = CString::new(bytes)
        .map_err(|_| ProcessError::invalid(format!("path `{}` has a null byte in it", path.display())))?;
    Ok(PathPlan { path, text, must_be_proc: below_proc })
}

/// Splits a path into its directory and its name.
pub(super) fn split(path: &Path) -> Result<(PathPlan, CString), ProcessError> {
    let whole = inside(path)?;
    let plain = Path::new(std::ffi::OsStr::from_bytes(whole.path.to_bytes()));
    let name = plain
        .file_name()
        .ok_or_else(|| ProcessError::invalid(format!("`{}` names no file", path.display())))?;
    let parent = inside(plain.parent().unwrap_or(Path::new("")))?;
    Ok((parent, super::c_string(name)?))
}

/// Paths to mask or make read-only, each once. With a procfs at `/proc`, those below it must turn
/// out to be on it.
pub(super) fn listed(paths: &[PathBuf], has_proc: bool) -> Result<Vec<PathPlan>, ProcessError> {
    let mut plans: Vec<PathPlan> = Vec::with_capacity(paths.len());
    for path in paths {
        let mut plan = inside(path)?;
        plan.must_be_proc &= has_proc;
        if !plans.iter().any(|known| known.path == plan.path) {
            plans.push(plan);
        }
    }
    Ok(plans)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, expected: &str) {
        let plan = inside(Path::new(path)).expect("no null byte");
        assert_eq!(plan.path.to_str(), Ok(expected), "{path}");
    }

    #[test]
    fn paths_stay_below_the_root_whatever_their_dots_say() {
        check("/a/b", "a/b");
        check("a//./b/", "a/b");
        check("/../../etc/passwd", "etc/passwd");
        check("/a/../../b", "b");
        check("/", ".");
        check("/..", ".");
    }

    #[test]
    fn what_is_below_proc_is_marked_and_doubles_are_left_out() {
        let paths = ["/proc/kcore", "/sys/firmware", "/proc//kcore"].map(PathBuf::from);
        let plans = listed(&paths, true).expect("good paths");
        assert_eq!(plans.iter().map(|plan| plan.must_be_proc).collect::<Vec<_>>(), [true, false]);
    }
}
