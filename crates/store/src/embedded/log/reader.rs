//! Reading one file of the log, group by group, and telling a torn end from damage.

use std::io;
use std::path::PathBuf;

use super::super::files::{Files, LogFile};
use super::block::{self, BLOCK, Block, Part};
use super::group::{self, Chain};
use super::header::{Header, HeaderError};

/// How much is read at once.
const BUFFER: u64 = 1 << 20;

/// Why a file of the log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk does not give what is there.
    #[error("read `{}`", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A later version wrote it.
    #[error("`{}` has the format {version}, which a later version of this program wrote", file.display())]
    Version {
        /// The file.
        file: PathBuf,
        /// The version of its format.
        version: u32,
    },
    /// What was acknowledged is not there any more, or not as it was.
    #[error(transparent)]
    Damaged(#[from] Damage),
}

/// What is wrong with a log, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("`{}` is damaged at byte {offset}: {what}", file.display())]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Where in the file, in bytes.
    pub offset: u64,
    /// What was expected and what was found.
    pub what: String,
}

/// One file of the log, with the place up to which it has been read.
pub(crate) struct Reader {
    file: Box<dyn LogFile>,
    path: PathBuf,
    pub(crate) header: Header,
    pub(crate) len: u64,
    /// Where the next group begins, in bytes.
    pub(crate) offset: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
}

/// What comes next in a file.
pub(crate) enum Next {
    Group(Group),
    /// Not a whole group: the end, a torn write, or damage; see [`Reader::end`].
    Other,
}

/// A group that is whole and carries on the chain.
pub(crate) struct Group {
    pub(crate) number: u64,
    pub(crate) payload: Vec<u8>,
    /// The value of the chain after it.
    pub(crate) after: Chain,
    /// Where it begins.
    pub(crate) offset: u64,
}

/// How a segment ends that nothing comes after.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// Nothing was ever written there.
    Clean,
    /// A write that was never acknowledged was cut off: some of its blocks are there, others blank.
    Torn,
}

impl Reader {
    /// Opens a file and reads its header.
    pub(crate) fn open(files: &dyn Files, name: &str) -> Result<Self, LogError> {
        let path = files.path().join(name);
        let read = |source| LogError::Read { file: path.clone(), source };
        let file = match files.open(name, false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let what = "the file is missing".to_owned();
                return Err(Damage { file: path, offset: 0, what }.into());
            }
            opened => opened.map_err(read)?,
        };
        let len = file.len().map_err(read)?;
        let mut first = [0; BLOCK];
        let length = file.read_at(&mut first, 0).map_err(read)?;
        let header = match Header::decode(&first[..length]) {
            Ok(header) => header,
            Err(HeaderError::Version(version)) => return Err(LogError::Version { file: path, version }),
            Err(HeaderError::Damaged) => {
                let what = "its header is not as it was written".to_owned();
                return Err(Damage { file: path, offset: 0, what }.into());
            }
        };
        Ok(Self { file, path, header, len, offset: BLOCK as u64, buffer: Vec::new(), buffer_at: 0 })
    }

    /// Damage at a place of this file.
    pub(crate) fn damage(&self, offset: u64, what: impl Into<String>) -> Damage {
        Damage { file: self.path.clone(), offset, what: what.into() }
    }

    /// Reads the next group if it is whole and is number `number`; goes behind it. It must carry on
    /// the chain from `before`, if that is known.
    pub(crate) fn next(&mut self, number: u64, before: Option<Chain>) -> Result<Next, LogError> {
        let place = self.offset / BLOCK as u64;
        let count = match self.block(place)? {
            Block::Whole(part) if (part.group, part.index) == (number, 0) => part.count,
            _ => return Ok(Next::Other),
        };
        let mut data = Vec::new();
        for index in 0..count {
            match self.block(place + u64::from(index))? {
                Block::Whole(part) if (part.group, part.index, part.count) == (number, index, count) => {
                    data.extend_from_slice(part.data);
                }
                _ => return Ok(Next::Other),
            }
        }
        let Some((payload, after)) = group::decode(number, before, data) else {
            let what = format!("group {number} does not follow on the one before it: it is from elsewhere");
            return Err(self.damage(self.offset, what).into());
        };
        let offset = self.offset;
        self.offset += u64::from(count) * BLOCK as u64;
        Ok(Next::Group(Group { number, payload, after, offset }))
    }

    /// Looks at all that follows, where group `number` should have come, was anything written.
    ///
    /// Only one write at a time is not acknowledged, and its group is `number`: whatever is there
    /// of another group, or is neither blank nor as it was written, shows that the group was
    /// acknowledged, or that something else wrote here.
    pub(crate) fn end(&mut self, number: u64) -> Result<End, LogError> {
        let first = self.offset / BLOCK as u64;
        let mut end = End::Clean;
        let (mut whole, mut expected) = (0u32, 0u32);
        for place in first..self.len.div_ceil(BLOCK as u64) {
            let offset = place * BLOCK as u64;
            let cut = offset + BLOCK as u64 > self.len;
            match self.block(place)? {
                Block::Blank => {}
                Block::Whole(Part { group, index, count, .. })
                    if group == number && u64::from(index) == place - first =>
                {
                    end = End::Torn;
                    expected = count;
                    whole += 1;
                }
                Block::Whole(Part { group, .. }) if group > number && group != u64::MAX => {
                    let what = format!(
                        "group {number} was acknowledged, since group {group} comes after it, but cannot be read"
                    );
                    return Err(self.damage(self.offset, what).into());
                }
                Block::Whole(Part { group, .. }) => {
                    let what = format!("a block of group {group} lies where group {number} should come");
                    return Err(self.damage(offset, what).into());
                }
                // The file ends within the block: so does the write.
                Block::Damaged if cut => end = End::Torn,
                Block::Damaged => {
                    let what = "the block is neither blank nor as it was written".to_owned();
                    return Err(self.damage(offset, what).into());
                }
            }
        }
        if end == End::Torn && whole == expected && whole > 0 {
            let what = format!("the blocks of group {number} are whole, but not the group");
            return Err(self.damage(self.offset, what).into());
        }
        Ok(end)
    }

    /// Goes to the next place where a later group begins, and gives its number; `None` if there is no
    /// such place. For saving what can be saved.
    pub(crate) fn skip(&mut self, number: u64) -> Result<Option<u64>, LogError> {
        for place in self.offset / BLOCK as u64 + 1..self.len / BLOCK as u64 {
            if let Block::Whole(Part { group, index: 0, .. }) = self.block(place)?
                && group > number
                && group != u64::MAX
            {
                self.offset = place * BLOCK as u64;
                return Ok(Some(group));
            }
        }
        Ok(None)
    }

    fn block(&mut self, place: u64) -> Result<Block<'_>, LogError> {
        let offset = place * BLOCK as u64;
        let end = self.buffer_at + self.buffer.len() as u64;
        if offset < self.buffer_at || offset + BLOCK as u64 > end {
            self.buffer.resize(BUFFER.min(self.len.saturating_sub(offset)) as usize, 0);
            let read = self.file.read_at(&mut self.buffer, offset);
            let length = read.map_err(|source| LogError::Read { file: self.path.clone(), source })?;
            self.buffer.truncate(length);
            self.buffer_at = offset;
        }
        let start = (offset - self.buffer_at) as usize;
        let bytes = &self.buffer[start.min(self.buffer.len())..self.buffer.len().min(start + BLOCK)];
        Ok(block::decode(bytes, self.header.id, place))
    }
}
