//! The files of one log, which are renamed while they are read.
//!
//! The writer appends to `<path>`. To rotate it moves `<path>.1` to `<path>.2` and so on, the oldest
//! first and onto what is to go, then `<path>` to `<path>.1`, and puts a new file at `<path>`. A
//! reader holds the file that it reads and knows it by its inode, whatever its name has become:
//! the one that was begun next has the next lower number. A look at names is worth something only
//! if the held file still had the same number after it; numbers only grow.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};

/// So often names are looked at anew while the log is rotated under the reader's eyes.
const ATTEMPTS: u32 = 10_000;

/// So often a file is looked for that is at none of the names.
const SEARCHES: u32 = 8;

/// By so many numbers a file may move on while it is looked for.
const MOVES: u32 = 64;

/// The names of a log's files.
#[derive(Clone, Debug)]
pub(super) struct Files {
    path: PathBuf,
}

/// One file of a log, held open.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) file: File,
    /// Device and inode.
    identity: (u64, u64),
}

/// On which side of a file another is.
#[derive(Clone, Copy)]
enum Side {
    Older,
    Newer,
}

impl Part {
    pub(super) fn is(&self, other: &Part) -> bool {
        self.identity == other.identity
    }

    pub(super) fn metadata(&self) -> io::Result<Metadata> {
        self.file.metadata()
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()?, identity: self.identity })
    }
}

impl Files {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The newest file, to which is written; none before anything is.
    pub(super) fn newest(&self) -> Result<Option<Part>> {
        for number in 0..=self.highest()? {
            // In the middle of a rotation there is none at the path itself.
            if let Some(part) = self.open(number)? {
                return Ok(Some(part));
            }
        }
        Ok(None)
    }

    /// The oldest file to which something was written since `after`, as the file system tells it
    /// (seconds and nanoseconds).
    pub(super) fn oldest(&self, after: Option<(i64, i64)>) -> Result<Option<Part>> {
        let fits = |part: &Part| -> Result<bool> {
            let meta = part.metadata().context(|| self.tried("look at"))?;
            Ok(after.is_none_or(|after| (meta.mtime(), meta.mtime_nsec()) >= after))
        };
        for number in (0..=self.highest()?).rev() {
            let Some(mut part) = self.open(number)? else { continue };
            if number > 0 && !fits(&part)? {
                continue;
            }
            // A rotation may have hidden one at the moment of looking at its number.
            while let Some(older) = self.older(&part)? {
                if !fits(&older)? {
                    break;
                }
                part = older;
            }
            return Ok(Some(part));
        }
        Ok(None)
    }

    /// The file that was begun after `part` had been put aside; none while it is written to.
    pub(super) fn newer(&self, part: &Part) -> Result<Option<Part>> {
        if let Some(found) = self.look(part, Side::Newer)? {
            return Ok(found);
        }
        // It was removed, or moved to where nobody looks: what was written to later is newer.
        let meta = part.metadata().context(|| self.tried("look at"))?;
        let next = self.oldest(Some((meta.mtime(), meta.mtime_nsec())))?;
        Ok(next.filter(|next| !next.is(part)))
    }

    /// The file that was put aside before `part` was begun, if it is still there.
    pub(super) fn older(&self, part: &Part) -> Result<Option<Part>> {
        Ok(self.look(part, Side::Older)?.flatten())
    }

    /// The neighbour of `part`, if it has one; nothing if `part` itself is not there any more.
    fn look(&self, part: &Part, side: Side) -> Result<Option<Option<Part>>> {
        let mut searches = 0;
        for _ in 0..ATTEMPTS {
            match self.neighbour(part, side)? {
                Look::Found(found) => return Ok(Some(found)),
                Look::Changed => std::thread::yield_now(),
                Look::Nowhere => {
                    searches += 1;
                    let meta = part.metadata().context(|| self.tried("look at"))?;
                    if meta.nlink() == 0 || searches == SEARCHES {
                        return Ok(None);
                    }
                }
            }
        }
        Err(Error::unavailable(format!("{}: it is rotated faster than it can be read", self.tried("read"))))
    }

    fn neighbour(&self, part: &Part, side: Side) -> Result<Look> {
        let highest = self.highest()?;
        // Upwards, as the file itself moves: it cannot be overtaken unseen.
        let Some(number) = (0..=highest + MOVES).find(|number| self.is_at(part, *number)) else {
            return Ok(Look::Nowhere);
        };
        let candidates: Vec<u32> = match side {
            Side::Older => (number + 1..=highest.max(number) + 1).collect(),
            Side::Newer => (0..number).rev().collect(),
        };
        let mut passed = Vec::new();
        let mut found = None;
        for candidate in candidates {
            found = self.open(candidate)?;
            if found.is_some() {
                break;
            }
            // A gap: somebody removed a file, or a rotation is halfway.
            passed.push(candidate);
        }
        let still = self.is_at(part, number) && !passed.iter().any(|number| self.at(*number).exists());
        Ok(if still { Look::Found(found) } else { Look::Changed })
    }

    fn at(&self, number: u32) -> PathBuf {
        if number == 0 {
            return self.path.clone();
        }
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }

    fn is_at(&self, part: &Part, number: u32) -> bool {
        self.at(number).symlink_metadata().is_ok_and(|meta| (meta.dev(), meta.ino()) == part.identity)
    }

    fn open(&self, number: u32) -> Result<Option<Part>> {
        let path = self.at(number);
        let opened = File::open(&path).and_then(|file| {
            let meta = file.metadata()?;
            Ok(Part { file, identity: (meta.dev(), meta.ino()) })
        });
        match opened {
            Ok(part) => Ok(Some(part)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context(|| format!("open `{}`", path.display())),
        }
    }

    /// The highest number that a file has.
    fn highest(&self) -> Result<u32> {
        let (Some(directory), Some(name)) = (self.path.parent(), self.path.file_name()) else { return Ok(0) };
        let entries = match directory.read_dir() {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error).context(|| format!("list `{}`", directory.display())),
        };
        let numbers = entries.flatten().filter_map(|entry| {
            let entry = entry.file_name();
            let number =
                entry.as_encoded_bytes().strip_prefix(name.as_encoded_bytes())?.strip_prefix(b".")?;
            std::str::from_utf8(number).ok()?.parse().ok()
        });
        Ok(numbers.max().unwrap_or(0).min(u32::MAX / 2))
    }

    fn tried(&self, what: &str) -> String {
        format!("{what} `{}`", self.path.display())
    }
}

/// What came of a look at the names.
enum Look {
    /// A file, or that there is none.
    Found(Option<Part>),
    /// The files were renamed meanwhile.
    Changed,
    /// The file whose neighbour it would be has none of the names.
    Nowhere,
}
