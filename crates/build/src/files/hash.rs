//! What makes two copies the same: names, kinds, modes, attributes and contents; not times.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::io::{self, Read};

use oci::{Digest, Hasher};
use rustix::fs::FileType;

use super::{Entry, FileError, Tree};

/// The digest of what a COPY source brings. Whom it belongs to counts with `owners` only: else it is given to
/// somebody.
pub(crate) fn hash_entries(tree: &Tree, entries: &[Entry], owners: bool) -> Result<Digest, FileError> {
    let mut hasher = Hasher::sha256();
    // The first name of each file that has several.
    let mut links: HashMap<_, &[u8]> = HashMap::new();
    let mut buffer = vec![0; 128 * 1024];
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
                let mut file = tree.file(&entry.path)?;
                loop {
                    tree.check(&entry.path)?;
                    let got = file.read(&mut buffer).map_err(read_error)?;
                    if got == 0 {
                        break;
                    }
                    hasher.update(&buffer[..got]);
                }
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
