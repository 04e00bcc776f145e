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
use std::path::{Component, Path, PathBuf};

use base::beneath::Beneath;

use super::payload::{File, Payload};

const DATA: &str = "..data";
/// The link before it takes the place of the one that is shown.
const NEXT: &str = "..data_tmp";

/// Makes `directory` show exactly `files`; readable by `group` where one is given. What an earlier
/// call left half done is finished or cleared away.
pub fn write(directory: &Path, files: &Payload, group: Option<u32>) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    for path in files.keys() {
        if path.is_empty() || !Path::new(path).components().all(|part| matches!(part, Component::Normal(_))) {
            let message = format!("`{path}` is no path below the volume");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
    }
    let current = fs::read_link(directory.join(DATA)).ok().filter(|link| is_stamp(link));
    if let Some(current) = &current
        && is_current(directory, current, files)
    {
        show(directory, files)?;
        return clear(directory, current);
    }
    let stamp = base::random::Random::next_u64(&base::SystemRandom);
    let next = PathBuf::from(format!("..{stamp:016x}"));
    let staged = directory.join(&next);
    let link = directory.join(NEXT);
    // Left by a call that did not come to its end.
    remove(&link)?;
    let written = stage(&staged, files, group)
        .and_then(|()| symlink(&next, &link))
        .and_then(|()| fs::rename(&link, directory.join(DATA)));
    if let Err(error) = written {
        let _ = fs::remove_file(&link);
        let _ = fs::remove_dir_all(&staged);
        return Err(error);
    }
    show(directory, files)?;
    clear(directory, &next)
}

/// Whether a link leads to a directory that [`fn@write`] made.
fn is_stamp(link: &Path) -> bool {
    let digits = link.to_str().and_then(|name| name.strip_prefix(".."));
    digits.is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_current(directory: &Path, shown: &Path, files: &Payload) -> bool {
    let Ok(volume) = Beneath::open(directory) else { return false };
    let same = |(path, file): (&String, &File)| {
        let found = volume.read(&shown.join(path), file.bytes.len() as u64);
        found.is_ok_and(|bytes| bytes == file.bytes)
    };
    files.iter().all(same) && count(&directory.join(shown)).is_ok_and(|found| found == files.len())
}

/// Takes away all hidden names but those of what is shown.
fn clear(directory: &Path, shown: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        let hidden = name.to_str().is_some_and(|name| name.starts_with(".."));
        if hidden && name != DATA && name != shown.as_os_str() {
            remove(&directory.join(name))?;
        }
    }
    Ok(())
}

/// Removes whatever is there, a link itself and not what it leads to.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
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
        std::os::unix::fs::fchown(&created, file.user, group)?;
        if group.is_some() {
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
        let (link, target) = (directory.join(name), Path::new(DATA).join(name));
        if fs::read_link(&link).is_ok_and(|found| found == target) {
            continue;
        }
        remove(&link)?;
        symlink(target, link)?;
    }
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !names.contains(&name) {
            remove(&directory.join(name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |text: &str| File { bytes: text.as_bytes().to_vec(), mode: 0o640, user: None };
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
    fn what_was_left_half_done_at_any_step_is_finished() {
        let files = payload(&[("a", "1"), ("d/b", "2")]);
        type Left = (&'static str, fn(&Path));
        let half: [Left; 6] = [
            ("nothing but a directory", |_| {}),
            ("files staged", |volume| fs::create_dir(volume.join("..0123456789abcdef")).expect("stage")),
            ("a link that was not renamed", |volume| {
                fs::create_dir(volume.join("..0123456789abcdef")).expect("stage");
                symlink("..0123456789abcdef", volume.join(NEXT)).expect("link");
            }),
            ("files that are not shown", |volume| {
                write(volume, &payload(&[("a", "1"), ("d/b", "2")]), None).expect("written");
                fs::remove_file(volume.join("a")).expect("remove");
            }),
            ("an old directory that was not removed", |volume| {
                write(volume, &payload(&[("a", "1"), ("d/b", "2")]), None).expect("written");
                fs::create_dir(volume.join("..fedcba9876543210")).expect("old");
            }),
            ("a link to a directory that is gone", |volume| {
                symlink("..0123456789abcdef", volume.join(DATA)).expect("link");
            }),
        ];
        for (what, leave) in half {
            let volume = tempfile::tempdir().expect("temporary directory");
            leave(volume.path());
            write(volume.path(), &files, None).unwrap_or_else(|error| panic!("{what}: {error}"));
            check(volume.path(), &[("a", "1"), ("d/b", "2")]);
            assert_eq!(hidden(volume.path()), 2, "{what}");
        }
    }

    #[test]
    fn links_that_a_container_made_lead_to_nothing_that_is_removed_or_read() {
        let outside = tempfile::tempdir().expect("temporary directory");
        fs::write(outside.path().join("kept"), "x").expect("write");
        let volume = tempfile::tempdir().expect("temporary directory");
        symlink(outside.path(), volume.path().join(DATA)).expect("link");
        symlink("/dev/zero", volume.path().join("a")).expect("link");
        symlink(outside.path(), volume.path().join("d")).expect("link");
        symlink(outside.path(), volume.path().join("other")).expect("link");
        write(volume.path(), &payload(&[("a", "1"), ("d/b", "2")]), None).expect("written");
        check(volume.path(), &[("a", "1"), ("d/b", "2")]);
        assert!(outside.path().join("kept").exists());
        assert_eq!(fs::read_dir(outside.path()).expect("list").count(), 1);
    }

    #[test]
    fn a_path_that_leads_out_is_refused() {
        let volume = tempfile::tempdir().expect("temporary directory");
        for path in ["../out", "/etc/passwd", "a/../../out", ""] {
            assert!(write(volume.path(), &payload(&[(path, "x")]), None).is_err(), "{path}");
        }
    }

    fn hidden(directory: &Path) -> usize {
        let entries = fs::read_dir(directory).expect("listed");
        entries
            .filter(|entry| entry.as_ref().expect("an entry").file_name().to_string_lossy().starts_with(".."))
            .count()
    }

    #[test]
    fn files_have_the_mode_that_was_asked_for() {
        let volume = tempfile::tempdir().expect("temporary directory");
        write(volume.path(), &payload(&[("a", "1")]), None).expect("written");
        assert_eq!(fs::metadata(volume.path().join("a")).expect("stat").permissions().mode() & 0o777, 0o640);
    }
}
