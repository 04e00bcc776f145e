//! What makes two copies the same: names, kinds, modes and contents; not times and owners.

use std::io::Read;

use oci::{Digest, Hasher};
use rustix::fs::FileType;

use super::{Entry, FileError, Tree};

/// The digest of what a COPY source brings.
pub(crate) fn hash_entries(tree: &Tree, entries: &[Entry]) -> Result<Digest, FileError> {
    let mut hasher = Hasher::sha256();
    let mut buffer = vec![0; 128 * 1024];
    for entry in entries {
        let name = entry.relative.to_string_lossy();
        let (mode, kind) = (entry.stat.st_mode & 0o7777, entry.kind());
        // Lengths go along, so that no two lists of entries look the same.
        hasher.update(format!("{}:{name}:{mode:o}:{}:", name.len(), entry.stat.st_mode >> 12).as_bytes());
        match kind {
            FileType::RegularFile => {
                hasher.update(format!("{}:", entry.stat.st_size).as_bytes());
                let mut file = tree.file(&entry.path)?;
                loop {
                    tree.check(&entry.path)?;
                    let got = file
                        .read(&mut buffer)
                        .map_err(|source| FileError::Read { path: entry.path.clone(), source })?;
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
