//! Block devices that stand for files, by the kernel's loop driver.
//!
//! Which device stands for a file is asked of the kernel each time, by the file's device and inode: names change, and
//! others attach files too. A device stays until it is taken away, or the machine ends.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::sys::loops;

const CONTROL: &str = "/dev/loop-control";
/// Where the kernel lists block devices.
const LISTED: &str = "/sys/block";
/// How often another device is taken because somebody else was quicker.
const TRIES: u32 = 64;

/// Held while a device is looked for and taken: a file has one at most.
static ALONE: Mutex<()> = Mutex::new(());

/// The device that stands for a file: the one that does already, or another.
pub fn attach(file: &Path) -> io::Result<PathBuf> {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some((path, _)) = find(file)? {
        return Ok(path);
    }
    let file = plain(OpenOptions::new().read(true).write(true), file)?;
    let control = OpenOptions::new().read(true).write(true).open(CONTROL).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("the kernel of this machine has no loop devices: {CONTROL}: {error}"),
        )
    })?;
    for _ in 0..TRIES {
        let path = PathBuf::from(format!("/dev/loop{}", loops::free(control.as_fd())?));
        let device = OpenOptions::new().read(true).write(true).open(&path)?;
        match loops::configure(device.as_fd(), &file) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("others take all loop devices"))
}

/// Lets the device that stands for a file, if there is one, be as long as that is now.
pub fn lengthened(file: &Path) -> io::Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match find(file)? {
        Some((_, device)) => loops::set_capacity(device.as_fd()),
        None => Ok(()),
    }
}

/// The device that stands for a file, if there is one.
pub fn device_of(file: &Path) -> io::Result<Option<PathBuf>> {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match find(file) {
        Ok(found) => Ok(found.map(|(path, _)| path)),
        // A directory, or whatever else, has none.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes away the device that stands for a file, if there is one: at once, or when whoever has it open closes it.
pub fn detach(file: &Path) -> io::Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match find(file)? {
        Some((_, device)) => loops::clear(device.as_fd()),
        None => Ok(()),
    }
}

fn plain(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// The device that stands for a file, open; nothing where the file is not there either.
fn find(file: &Path) -> io::Result<Option<(PathBuf, File)>> {
    let wanted = match plain(OpenOptions::new().read(true), file) {
        Ok(file) => file.metadata()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for entry in std::fs::read_dir(LISTED)? {
        let entry = entry?;
        // Those that stand for nothing have no such directory.
        if !entry.path().join("loop").is_dir() {
            continue;
        }
        let path = Path::new("/dev").join(entry.file_name());
        let Ok(device) = OpenOptions::new().read(true).open(&path) else { continue };
        if loops::file_of(device.as_fd()).ok().flatten() == Some((wanted.dev(), wanted.ino())) {
            return Ok(Some((path, device)));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _, SeekFrom, Write as _};

    use super::*;

    #[test]
    fn a_file_has_one_device_that_grows_with_it_and_goes() {
        testkit::require_root();
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("disk");
        let file = File::create(&path).expect("create");
        file.set_len(1 << 20).expect("length");
        let device = attach(&path).expect("attach");
        assert_eq!(attach(&path).expect("attach"), device, "it has one");
        assert_eq!(device_of(&path).expect("found"), Some(device.clone()));
        assert_eq!(device_of(directory.path()).expect("a directory has none"), None);
        let mut open = OpenOptions::new().read(true).write(true).open(&device).expect("open");
        open.write_all(b"written").expect("write");
        open.sync_all().expect("flush");
        let mut read = String::new();
        File::open(&path).expect("open").take(7).read_to_string(&mut read).expect("read");
        assert_eq!(read, "written");
        file.set_len(2 << 20).expect("length");
        lengthened(&path).expect("lengthened");
        assert_eq!(open.seek(SeekFrom::End(0)).expect("seek"), 2 << 20);
        drop(open);
        detach(&path).expect("detach");
        detach(&path).expect("there is none left");
        assert!(find(&path).expect("look").is_none());
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("link");
        assert!(attach(&link).is_err(), "a link is no file");
    }
}
