//! What makes two copies the same: names, kinds, modes, attributes and contents; not times.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::io::{self, Read};

use oci::{Digest, Hasher};
use rustix::fs::FileType;

use super::{Entry, FileError, Tree};

/// The digest of entries. Whom they belong to counts with `owners` only: else they are given to somebody.
#[cfg(test)]
pub(crate) fn hash_entries(tree: &Tree, entries: &[Entry], owners: bool) -> Result<Digest, FileError> {
    let mut buffer = vec![0; 128 * 1024];
    hash_entries_by(tree, entries, owners, &mut |entry, hasher| read_into(tree, entry, hasher, &mut buffer))
}

/// Adds the content of a regular file.
pub(crate) fn read_into(
    tree: &Tree,
    entry: &Entry,
    hasher: &mut Hasher,
    buffer: &mut [u8],
) -> Result<(), FileError> {
    let mut file = tree.file(&entry.path)?;
    loop {
        tree.check(&entry.path)?;
        let got = file.read(buffer);
        match got.map_err(|source| FileError::Read { path: entry.path.clone(), source })? {
            0 => return Ok(()),
            got => hasher.update(&buffer[..got]),
        }
    }
}

/// The digest of what is copied: whom it belongs to counts with `owners` only, else it is given to somebody. `content`
/// adds what regular files have in them.
pub(crate) fn hash_entries_by(
    tree: &Tree,
    entries: &[Entry],
    owners: bool,
    content: &mut dyn FnMut(&Entry, &mut Hasher) -> Result<(), FileError>,
) -> Result<Digest, FileError> {
    let mut hasher = Hasher::sha256();
    // The first name of each file that has several.
    let mut links: HashMap<_, &[u8]> = HashMap::new();
    for entry in entries {
        // Bytes, as names are: two that are no text may look alike as such.
        let name = entry.relative.as_os_str().as_encoded_bytes();
        let (mode, kind) = (entry.stat.st_mode & 0o7777, entry.kind());
        // Lengths go along, so that no two lists of entries look the same.
        hasher.update(format!("{}:{mode:o}:{}:", name.len(), entry.stat.st_mode >> 12).as_bytes());
        hasher.update(name);
        if owners {
            hasher.update(format!("{}:{}:", entry.stat.st_uid, entry.stat.st_gid).as_bytes());
        }
        let read_error = |source: io::Error| FileError::Read { path: entry.path.clone(), source };
        let attributes = tree.place(entry).and_then(|place| place.attributes()).map_err(read_error)?;
        hasher.update(format!("{}:", attributes.len()).as_bytes());
        for (name, value) in attributes {
            hasher.update(format!("{}:{}:", name.len(), value.len()).as_bytes());
            hasher.update(&name);
            hasher.update(&value);
        }
        if kind != FileType::Directory && entry.stat.st_nlink > 1 {
            match links.entry((entry.stat.st_dev, entry.stat.st_ino)) {
                Occupied(first) => {
                    let first = *first.get();
                    hasher.update(format!("link:{}:", first.len()).as_bytes());
                    hasher.update(first);
                    continue;
                }
                Vacant(place) => {
                    place.insert(name);
                }
            }
        }
        match kind {
            FileType::RegularFile => {
                hasher.update(format!("{}:", entry.stat.st_size).as_bytes());
                content(entry, &mut hasher)?;
            }
            FileType::Symlink => {
                let target = tree.link(&entry.path)?;
                hasher.update(format!("{}:", target.len()).as_bytes());
                hasher.update(target.as_encoded_bytes());
            }
            FileType::CharacterDevice | FileType::BlockDevice => {
                hasher.update(format!("{}:", entry.stat.st_rdev).as_bytes());
            }
            _ => {}
        }
    }
    Ok(hasher.finish())
}
