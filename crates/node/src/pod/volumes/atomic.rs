//! Files of a volume, replaced all at once.
//!
//! The files lie in a directory named after the moment of their writing; `..data` is a symbolic
//! link to it, and each visible name is a link through `..data`. An update writes a new directory
//! and renames the link: a reader sees the old files or the new ones, never a mixture. Programs
//! that watch for configuration changes know this layout from the kubelet.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use super::payload::{File, Payload};

const DATA: &str = "..data";

/// Makes `directory` show exactly `files`; readable by `group` where one is given.
pub fn write(directory: &Path, files: &Payload, group: Option<u32>) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let current = fs::read_link(directory.join(DATA)).ok();
    if let Some(current) = &current
        && is_current(&directory.join(current), files)
    {
        return Ok(());
    }
    let stamp = base::random::Random::next_u64(&base::SystemRandom);
    let next = format!("..{stamp:016x}");
    let staged = directory.join(&next);
    let written = stage(&staged, files, group)
        .and_then(|()| symlink(&next, directory.join("..data_tmp")))
        .and_then(|()| fs::rename(directory.join("..data_tmp"), directory.join(DATA)));
    if let Err(error) = written {
        let _ = fs::remove_file(directory.join("..data_tmp"));
        let _ = fs::remove_dir_all(&staged);
        return Err(error);
    }
    show(directory, files)?;
    if let Some(old) = current {
        fs::remove_dir_all(directory.join(old))?;
    }
    Ok(())
}

fn is_current(shown: &Path, files: &Payload) -> bool {
    let same =
        |(path, file): (&String, &File)| fs::read(shown.join(path)).is_ok_and(|bytes| bytes == file.bytes);
    files.iter().all(same) && count(shown).is_ok_and(|found| found == files.len())
}

fn count(directory: &Path) -> io::Result<usize> {
    fs::read_dir(directory)?.try_fold(0, |sum, entry| {
        let entry = entry?;
        Ok(sum + if entry.file_type()?.is_dir() { count(&entry.path())? } else { 1 })
    })
}

fn stage(staged: &Path, files: &Payload, group: Option<u32>) -> io::Result<()> {
    fs::create_dir(staged)?;
    for (path, file) in files {
        let target = staged.join(path);
        fs::create_dir_all(target.parent().expect("a file in the directory has a parent"))?;
        let mut created = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target)?;
        created.write_all(&file.bytes)?;
        let mut mode = file.mode;
        if let Some(group) = group {
            std::os::unix::fs::fchown(&created, None, Some(group))?;
            mode |= 0o040;
        }
        created.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    fs::set_permissions(staged, fs::Permissions::from_mode(0o755))
}

/// Links every visible name through `..data` and takes away those that are no longer there.
fn show(directory: &Path, files: &Payload) -> io::Result<()> {
    let first = |path: &str| path.split('/').next().unwrap_or(path).to_owned();
    let names: BTreeSet<String> = files.keys().map(|path| first(path)).collect();
    for name in &names {
        match symlink(Path::new(DATA).join(name), directory.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
    }
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !names.contains(&name) {
            fs::remove_file(directory.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |text: &str| File { bytes: text.as_bytes().to_vec(), mode: 0o640 };
        files.iter().map(|(path, text)| ((*path).to_owned(), file(text))).collect()
    }

    #[track_caller]
    fn check(directory: &Path, expected: &[(&str, &str)]) {
        for (path, text) in expected {
            assert_eq!(fs::read_to_string(directory.join(path)).expect("readable"), *text);
        }
        let visible = fs::read_dir(directory).expect("listed").filter(|entry| {
            !entry.as_ref().expect("an entry").file_name().to_string_lossy().starts_with("..")
        });
        let tops: BTreeSet<_> = expected.iter().map(|(path, _)| path.split('/').next()).collect();
        assert_eq!(visible.count(), tops.len());
    }

    #[test]
    fn an_update_replaces_all_files_and_leaves_no_old_directory() {
        let volume = tempfile::tempdir().expect("temporary directory");
        write(volume.path(), &payload(&[("a", "1"), ("d/b", "2")]), None).expect("first");
        check(volume.path(), &[("a", "1"), ("d/b", "2")]);
        write(volume.path(), &payload(&[("a", "3"), ("c", "4")]), None).expect("second");
        check(volume.path(), &[("a", "3"), ("c", "4")]);
        let hidden = fs::read_dir(volume.path()).expect("listed").filter(|entry| {
            entry.as_ref().expect("an entry").file_name().to_string_lossy().starts_with("..")
        });
        assert_eq!(hidden.count(), 2, "the link and the directory that it leads to");
    }

    #[test]
    fn writing_the_same_files_again_changes_nothing() {
        let volume = tempfile::tempdir().expect("temporary directory");
        let files = payload(&[("a", "1")]);
        write(volume.path(), &files, None).expect("first");
        let before = fs::read_link(volume.path().join(DATA)).expect("a link");
        write(volume.path(), &files, None).expect("second");
        assert_eq!(fs::read_link(volume.path().join(DATA)).expect("a link"), before);
    }

    #[test]
    fn files_have_the_mode_that_was_asked_for() {
        let volume = tempfile::tempdir().expect("temporary directory");
        write(volume.path(), &payload(&[("a", "1")]), None).expect("written");
        assert_eq!(fs::metadata(volume.path().join("a")).expect("stat").permissions().mode() & 0o777, 0o640);
    }
}
