//! Which ids of the host are there for sandboxes.

use std::fmt;
use std::io;
use std::path::Path;

use super::BLOCK;
use crate::error::{Context, Error, Result};

/// Whose subordinate ids are used, as the kubelet does.
const USER: &str = "kubelet";

const USERS: &str = "/etc/subuid";
const GROUPS: &str = "/etc/subgid";

/// Ids that blocks are taken from: whole blocks, none of which has an id below 65,536 or the last one
/// there is, which stands for nobody (and with which the kernel makes no namespace).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdRange {
    first: u32,
    blocks: u32,
    /// Ids among them that are somebody else's: first and number.
    foreign: Vec<(u64, u64)>,
    /// Whether it is chosen by the engine, not by an administrator.
    chosen: bool,
}

impl IdRange {
    /// `count` ids from `first` on, both multiples of 65,536.
    pub fn new(first: u64, count: u64) -> Result<Self> {
        let unusable =
            |reason: &str| Error::invalid(format!("{USER} user assigned IDs {first}:{count}: {reason}"));
        let block = u64::from(BLOCK);
        if first < block {
            return Err(unusable("the first one must be greater or equal to 65536"));
        }
        if !first.is_multiple_of(block) {
            return Err(unusable("the first one must be a multiple of 65536"));
        }
        if count == 0 || !count.is_multiple_of(block) {
            return Err(unusable("their number must be a multiple of 65536"));
        }
        if first.checked_add(count).is_none_or(|end| end > 1 << 32) {
            return Err(unusable("they reach beyond the largest id there is"));
        }
        let last = (1 << 32) - block;
        let blocks = count.min(last.saturating_sub(first)) / block;
        if blocks == 0 {
            return Err(unusable("the last id there is cannot be given to anybody"));
        }
        let number = |value: u64| u32::try_from(value).expect("it is below the largest id");
        Ok(Self { first: number(first), blocks: number(blocks), foreign: Vec::new(), chosen: false })
    }

    /// What the host gives to `kubelet` in `/etc/subuid` and `/etc/subgid`; without an entry there, all
    /// ids from 65,536 on that these files give to nobody else.
    pub fn of_host() -> Result<Self> {
        Self::read(Path::new(USERS), Path::new(GROUPS))
    }

    /// As [`IdRange::of_host`], from other files.
    pub(super) fn read(users: &Path, groups: &Path) -> Result<Self> {
        let (users, groups) = (entries(users)?, entries(groups)?);
        let own = |entries: &[Entry]| -> Vec<(u64, u64)> {
            entries
                .iter()
                .filter(|entry| entry.user == USER)
                .map(|entry| (entry.first, entry.count))
                .collect()
        };
        let (of_users, of_groups) = (own(&users), own(&groups));
        if of_users != of_groups {
            return Err(Error::invalid(format!(
                "mismatch between subuids and subgids for user \"{USER}\": `{USERS}` and `{GROUPS}` must give it the same ids"
            )));
        }
        match of_users.as_slice() {
            [] => {
                let block = u64::from(BLOCK);
                let foreign = users.into_iter().chain(groups).map(|entry| (entry.first, entry.count));
                let range = Self::new(block, (1 << 32) - block)?;
                Ok(Self { foreign: foreign.collect(), chosen: true, ..range })
            }
            [(first, count)] => Self::new(*first, *count),
            _ => Err(Error::invalid(format!(
                "`{USERS}` gives user \"{USER}\" more than one range of ids; it must be one"
            ))),
        }
    }

    /// The first ids of all blocks, in the order in which they are tried.
    pub(super) fn blocks(&self, seed: u64) -> impl Iterator<Item = u32> {
        let offset = if self.chosen { seed % u64::from(self.blocks) } else { 0 };
        let offset = u32::try_from(offset).expect("less than there are blocks");
        let all = (offset..self.blocks).chain(0..offset).map(|index| self.first + index * BLOCK);
        all.filter(|first| {
            let (first, end) = (u64::from(*first), u64::from(*first) + u64::from(BLOCK));
            let apart = |(other, count): &(u64, u64)| *other >= end || other.saturating_add(*count) <= first;
            self.foreign.iter().all(apart)
        })
    }
}

impl fmt::Display for IdRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = u64::from(self.first) + u64::from(self.blocks) * u64::from(BLOCK);
        write!(formatter, "from {} to {}", self.first, end - 1)
    }
}

/// A line of a file of subordinate ids.
struct Entry {
    user: String,
    first: u64,
    count: u64,
}

/// The lines that can be understood, as subuid(5) has them; none where there is no file.
fn entries(path: &Path) -> Result<Vec<Entry>> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.context(|| format!("read `{}`", path.display()))?,
    };
    let entry = |line: &str| {
        let mut parts = line.trim().split(':');
        let (user, first, count) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Entry { user: user.to_owned(), first: first.parse().ok()?, count: count.parse().ok()? })
    };
    Ok(text.lines().filter_map(entry).collect())
}
