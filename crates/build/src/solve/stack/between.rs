//! What makes one tree of files of another: what has to be removed from it, and what has to be copied to it.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};

use crate::files::{Entry, FileError, Owner, Target, Tree};
use crate::ignore::Ignore;
use crate::solve::SolveError;
use crate::solve::file::remove_at;

/// Makes of `target`, which is like `lower`, what `upper` is.
pub(super) fn make(lower: &Tree, upper: &Tree, target: &Target) -> Result<(), SolveError> {
    let all = |tree: &Tree| tree.entries(Path::new(""), &Ignore::default());
    let (before, after) = (all(lower)?, all(upper)?);
    let was: HashMap<&Path, &Entry> = before.iter().map(|entry| (entry.path.as_path(), entry)).collect();
    let is: HashMap<&Path, &Entry> = after.iter().map(|entry| (entry.path.as_path(), entry)).collect();
    // Directories in which something is made or removed: they get the times back that they have.
    let mut touched: HashSet<PathBuf> = HashSet::new();
    let mut touch = |path: &Path| touched.extend(path.ancestors().skip(1).map(Path::to_owned));
    let mut removed: Option<&Path> = None;
    for entry in &before {
        // What is in something that is removed goes with it, and comes after it.
        if removed.is_some_and(|above| entry.path.starts_with(above)) {
            continue;
        }
        if is.get(entry.path.as_path()).is_some_and(|now| now.kind() == entry.kind()) {
            continue;
        }
        removed = Some(&entry.path);
        touch(&entry.path);
        let place = Path::new("/").join(&entry.path);
        let (Some(above), Some(name)) = (place.parent(), place.file_name()) else { continue };
        let parent = target.directory(above).map_err(SolveError::io("compare two results"))?;
        remove_at(&parent, name)?;
    }
    let mut changed = Vec::new();
    for entry in &after {
        let is_changed = match was.get(entry.path.as_path()) {
            Some(before) if before.kind() == entry.kind() => !is_same(lower, upper, before, entry)?,
            _ => true,
        };
        if is_changed {
            touch(&entry.path);
        }
        changed.push(is_changed);
    }
    let wanted: Vec<Entry> = after
        .iter()
        .zip(changed)
        .filter(|(entry, changed)| *changed || touched.contains(&entry.path))
        .map(|(entry, _)| entry.clone())
        .collect();
    target.copy(upper, &wanted, Path::new("/"), Owner { kept: true, ..Owner::default() })?;
    Ok(())
}

/// Whether two files of one kind at one path are the same. The content of files is read only where their times do
/// not say more than the second: whoever made them set them.
fn is_same(lower: &Tree, upper: &Tree, a: &Entry, b: &Entry) -> Result<bool, SolveError> {
    let whose = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_rdev);
    if whose(&a.stat) != whose(&b.stat) {
        return Ok(false);
    }
    let attributes = |tree: &Tree, entry: &Entry| -> Result<_, SolveError> {
        let held = tree.place(entry).and_then(|place| place.attributes());
        let mut held = held.map_err(SolveError::io("compare two results"))?;
        held.retain(|(name, _)| !name.starts_with(b"trusted.overlay."));
        held.sort();
        Ok(held)
    };
    if attributes(lower, a)? != attributes(upper, b)? {
        return Ok(false);
    }
    let time = |stat: &Stat| (stat.st_mtime, stat.st_mtime_nsec);
    match a.kind() {
        FileType::Directory => Ok(true),
        FileType::Symlink => Ok(lower.link(&a.path)? == upper.link(&b.path)?),
        FileType::RegularFile => {
            if a.stat.st_size != b.stat.st_size || time(&a.stat) != time(&b.stat) {
                return Ok(false);
            }
            Ok(a.stat.st_mtime_nsec != 0 || same_content(lower, upper, &a.path)?)
        }
        _ => Ok(true),
    }
}

fn same_content(lower: &Tree, upper: &Tree, path: &Path) -> Result<bool, FileError> {
    let (mut one, mut two) = (lower.file(path)?, upper.file(path)?);
    let (mut a, mut b) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        upper.check(path)?;
        let failed = |source| FileError::Read { path: path.to_owned(), source };
        let got = one.read(&mut a).map_err(failed)?;
        if got == 0 {
            return Ok(two.read(&mut b[..1]).map_err(failed)? == 0);
        }
        match two.read_exact(&mut b[..got]) {
            Ok(()) if a[..got] == b[..got] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, FileTimes};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::time::{Duration, SystemTime};

    use base::cancel::Cancel;
    use rustix::fs::{Mode, OFlags};

    use super::*;

    fn open(root: &Path) -> std::os::fd::OwnedFd {
        rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).expect("open")
    }

    fn write(root: &Path, name: &str, text: &str, nanoseconds: u64) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("make");
        fs::write(&path, text).expect("write");
        let time =
            SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 0) + Duration::from_nanos(nanoseconds);
        let file = File::options().write(true).open(&path).expect("open");
        file.set_times(FileTimes::new().set_modified(time)).expect("set its time");
    }

    #[test]
    fn one_tree_becomes_the_other_and_what_is_the_same_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let [lower, upper, target] = ["lower", "upper", "target"].map(|name| directory.path().join(name));
        for root in [&lower, &upper, &target] {
            write(root, "same", "same", 5);
            write(root, "deep/er/same", "same", 5);
            let from = root != &upper;
            write(root, "text", if from { "one" } else { "two" }, 0);
            write(root, "mode", "mode", 5);
            if from {
                write(root, "gone/inside", "x", 5);
                write(root, "kind/inside", "x", 5);
                symlink("same", root.join("link")).expect("link");
            } else {
                fs::set_permissions(root.join("mode"), fs::Permissions::from_mode(0o600)).expect("set");
                write(root, "kind", "a file now", 5);
                write(root, "deep/er/new", "new", 5);
                symlink("mode", root.join("link")).expect("link");
            }
        }
        let number = |name: &str| fs::symlink_metadata(target.join(name)).expect(name).ino();
        let before = ["same", "deep/er/same"].map(number);
        let tree = |root: &Path| Tree::new(open(root), Ignore::default(), &Cancel::default());
        make(&tree(&lower), &tree(&upper), &Target::new(open(&target))).expect("made");
        assert_eq!(["same", "deep/er/same"].map(number), before, "what is the same is not written");
        let text = |name: &str| fs::read_to_string(target.join(name)).expect(name);
        assert_eq!(
            (text("text"), text("kind"), text("deep/er/new")),
            ("two".into(), "a file now".into(), "new".into())
        );
        assert!(!target.join("gone").exists());
        assert_eq!(fs::read_link(target.join("link")).expect("a link"), Path::new("mode"));
        assert_eq!(fs::metadata(target.join("mode")).expect("a file").mode() & 0o777, 0o600);
        let time = |root: &Path| {
            fs::metadata(root.join("deep/er")).expect("a directory").modified().expect("a time")
        };
        assert_eq!(time(&target), time(&upper), "directories have their times");
        // And then there is nothing to be done.
        let (wanted, tree) = (tree(&upper), tree(&target));
        let all = |tree: &Tree| tree.entries(Path::new(""), &Ignore::default()).expect("entries");
        for (a, b) in all(&tree).iter().zip(&all(&wanted)).skip(1) {
            assert_eq!(a.path, b.path);
            assert!(is_same(&tree, &wanted, a, b).expect("compared"), "{}", a.path.display());
        }
    }
}
