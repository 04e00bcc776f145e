//! The files of one directory, as the log needs them: a small trait, so that tests can put a disk
//! under it that fails, fills up and loses power.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The files of one directory.
///
/// Nothing of what changes in it is sure to outlive a power cut before [`Files::sync_dir`].
pub(crate) trait Files: Send + Sync {
    /// The directory, for messages.
    fn path(&self) -> &Path;

    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file, in place of one of that name.
    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>>;

    /// Opens a file that is there; `write` if it is to be written too.
    fn open(&self, name: &str, write: bool) -> io::Result<Box<dyn LogFile>>;

    /// Gives a file another name, in place of one that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Returns once all names are on disk.
    fn sync_dir(&self) -> io::Result<()>;
}

/// An open file.
pub(crate) trait LogFile: Send {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Reads into `bytes` from `offset` on; gives how many bytes there were, fewer at the end only.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`, behind the end too.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Gives up what is behind `length`.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// Returns once content and length are on disk.
    fn sync(&self) -> io::Result<()>;
}

/// A directory of the machine's file system.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

impl Files for Directory {
    fn path(&self) -> &Path {
        &self.0
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.0)?
            .map(|entry| Ok(entry?.file_name().into_string().unwrap_or_default()))
            .collect::<io::Result<Vec<_>>>()?;
        Ok(names.into_iter().filter(|name| !name.is_empty()).collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let path = self.0.join(name);
        // Not truncated: whoever still reads the old file goes on reading what it was.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Box::new(file))
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Box<dyn LogFile>> {
        Ok(Box::new(File::options().read(true).write(write).open(self.0.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        base::fs::sync_dir(&self.0)
    }
}

impl LogFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            match FileExt::read_at(self, &mut bytes[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Whether a failure says that there is no space, rather than that the disk is broken.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
