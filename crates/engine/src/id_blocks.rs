//! Blocks of the host's user and group ids that sandboxes have for themselves.
//!
//! A block is reserved by an entry in `<root>/ids`, which is named by its first id and says whose it is.
//! It is made before the block is used and taken away when nothing of the sandbox is left, so that no
//! block is given out twice, whatever becomes of the sandbox's own record. An entry that says nothing
//! that can be understood stays, and so its block is not given out.

mod range;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base::Trouble;
use parking_lot::Mutex;
use runtime::spec::IdMapping;

use crate::error::{Context, Error, Result};
use crate::id::SandboxId;
use crate::work::in_place;

pub use range::IdRange;

/// Ids of a block: as many as Kubernetes gives a pod.
pub(crate) const BLOCK: u32 = 1 << 16;

/// A block: the users and groups 0 to 65,535 of a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct IdBlock {
    /// Its first id on the host.
    pub(crate) first: u32,
}

/// Who has which block.
pub(crate) struct IdBlocks {
    directory: PathBuf,
    /// Where blocks are taken from; `None` asks the host whenever one is wanted.
    range: Option<IdRange>,
    /// What is reserved could not be read.
    is_blind: bool,
    /// Nobody known where there is no id.
    taken: Mutex<BTreeMap<IdBlock, Option<SandboxId>>>,
}

impl IdBlock {
    /// Who somebody of the host is inside; what is not of the block is nobody (the kernel's overflow id).
    pub(crate) fn inside(self, id: u32) -> u32 {
        id.checked_sub(self.first).filter(|inside| *inside < BLOCK).unwrap_or(65_534)
    }

    /// How the users and groups inside are counted outside.
    pub(crate) fn map(self) -> IdMapping {
        IdMapping { container_id: 0, host_id: self.first, size: BLOCK }
    }
}

impl IdBlocks {
    /// Reads what is reserved in `directory`.
    pub(crate) fn open(directory: &Path, range: Option<IdRange>, troubles: &mut Vec<Trouble>) -> Self {
        let mut taken = BTreeMap::new();
        let entries = base::fs::entries(directory);
        if let Err(error) = &entries {
            troubles.push(Trouble::new("every block of user ids", directory, error));
        }
        let is_blind = entries.is_err();
        for path in entries.unwrap_or_default() {
            let mut unclear =
                |problem| troubles.push(Trouble::saying("a reserved block of user ids", &path, problem));
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(first) = name.and_then(|name| name.parse().ok()) else {
                unclear("its name is not the first id of a block");
                continue;
            };
            let holder = std::fs::read_link(&path).ok();
            let holder = holder.and_then(|text| SandboxId::parse(text.to_str()?).ok());
            if holder.is_none() {
                unclear("it does not say which sandbox has the block, so that nobody gets it");
            }
            taken.insert(IdBlock { first }, holder);
        }
        Self { directory: directory.to_owned(), range, is_blind, taken: Mutex::new(taken) }
    }

    /// Reserves a free block, for good: it is on disk when this returns.
    pub(crate) fn take(&self, holder: &SandboxId) -> Result<IdBlock> {
        let range = match &self.range {
            Some(range) => range.clone(),
            None => in_place(IdRange::of_host)?,
        };
        if self.is_blind {
            let text =
                format!("`{}` could not be read: which ids are taken is not known", self.directory.display());
            return Err(Error::conflict(text));
        }
        let mut taken = self.taken.lock();
        // Instances beside each other begin at different places of the same range.
        for first in range.blocks(seed(&self.directory)) {
            let block = IdBlock { first };
            if taken.keys().any(|other| overlap(*other, block)) {
                continue;
            }
            match in_place(|| std::os::unix::fs::symlink(holder.as_str(), self.entry(block))) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                    taken.insert(block, None);
                    continue;
                }
                Err(error) => {
                    return Err(error).context(|| format!("write `{}`", self.entry(block).display()));
                }
            }
            taken.insert(block, Some(holder.clone()));
            let synced = in_place(|| base::fs::sync_dir(&self.directory));
            synced.context(|| format!("write `{}`", self.directory.display()))?;
            return Ok(block);
        }
        Err(Error::conflict(format!(
            "could not find an empty slot to allocate a user namespace: every block of {BLOCK} ids {range} is taken. Give `kubelet` more of them in /etc/subuid and /etc/subgid, or remove pods"
        )))
    }

    /// The block of a sandbox.
    pub(crate) fn of(&self, holder: &SandboxId) -> Option<IdBlock> {
        let taken = self.taken.lock();
        taken.iter().find(|(_, other)| other.as_ref() == Some(holder)).map(|(block, _)| *block)
    }

    /// Sees to it that a block is reserved that the sandbox's own record names.
    pub(crate) fn adopt(&self, holder: &SandboxId, first: u32) {
        let block = IdBlock { first };
        let mut taken = self.taken.lock();
        match taken.get(&block) {
            Some(Some(other)) if other == holder => return,
            Some(Some(other)) => {
                tracing::error!(sandbox = %holder, %other, first, "two sandboxes claim the same block of ids");
                return;
            }
            Some(None) => {}
            None => {
                let entry = self.entry(block);
                if let Err(error) = in_place(|| std::os::unix::fs::symlink(holder.as_str(), &entry)) {
                    tracing::error!(path = %entry.display(), %error, "reserve a block of ids again");
                }
            }
        }
        taken.insert(block, Some(holder.clone()));
    }

    /// Gives the block of a sandbox back, of which nothing is left. Does nothing where it has none.
    pub(crate) fn give_back(&self, holder: &SandboxId) {
        self.give_back_where(|other| other == holder);
    }

    /// Gives back what belongs to sandboxes of which nothing is left.
    pub(crate) fn give_back_where(&self, is_gone: impl Fn(&SandboxId) -> bool) {
        let mut taken = self.taken.lock();
        taken.retain(|block, holder| {
            if !holder.as_ref().is_some_and(&is_gone) {
                return true;
            }
            let entry = self.entry(*block);
            match in_place(|| std::fs::remove_file(&entry)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(path = %entry.display(), %error, "give a block of ids back");
                    true
                }
                _ => false,
            }
        });
    }

    fn entry(&self, block: IdBlock) -> PathBuf {
        self.directory.join(block.first.to_string())
    }
}

/// Blocks of a range that was configured otherwise before need not be aligned as those of today.
fn overlap(one: IdBlock, other: IdBlock) -> bool {
    one.first.abs_diff(other.first) < BLOCK
}

/// A number that is the same for a directory at all times.
fn seed(directory: &Path) -> u64 {
    base::hash::fnv1a_64(directory.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests;
