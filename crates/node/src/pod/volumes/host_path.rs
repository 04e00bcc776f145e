//! `hostPath`: a part of the host, which is what its type says.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::HostPathVolumeSource;

use super::{Prepared, VolumeError};
use crate::runtime::FileKind;

/// Looks whether the path is what its type says, and makes it where the type says that.
pub(super) fn prepare(name: &str, source: &HostPathVolumeSource) -> Result<(), VolumeError> {
    let path = PathBuf::from(&source.path);
    let fail = |tried: &'static str| {
        let path = path.clone();
        move |source: io::Error| VolumeError::Io { name: name.to_owned(), tried, path, source }
    };
    let wrong = |expected| VolumeError::HostPathType { name: name.to_owned(), path: path.clone(), expected };
    let kind = match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        found => Some(found.map_err(fail("look at"))?.file_type()),
    };
    let holds = |test: fn(&fs::FileType) -> bool| kind.as_ref().is_some_and(test);
    match source.type_.as_deref().unwrap_or("") {
        "DirectoryOrCreate" if kind.is_none() => {
            fs::create_dir_all(&path).map_err(fail("create"))?;
        }
        "FileOrCreate" if kind.is_none() => {
            // Somebody else may make it, and write to it, at the same time.
            fs::OpenOptions::new().append(true).create(true).open(&path).map_err(fail("create"))?;
        }
        "Directory" | "DirectoryOrCreate" if !holds(fs::FileType::is_dir) => {
            return Err(wrong("a directory"));
        }
        "File" | "FileOrCreate" if !holds(fs::FileType::is_file) => return Err(wrong("a file")),
        "Socket" if !holds(fs::FileType::is_socket) => return Err(wrong("a socket file")),
        "CharDevice" if !holds(fs::FileType::is_char_device) => return Err(wrong("a character device")),
        "BlockDevice" if !holds(fs::FileType::is_block_device) => return Err(wrong("a block device")),
        // No type, no check: what is not there becomes a directory, as containers expect.
        "" if kind.is_none() => fs::create_dir_all(&path).map_err(fail("create"))?,
        _ => {}
    }
    Ok(())
}

/// What containers mount. It is looked at once more then, since others may change it meanwhile.
pub(super) fn shown(source: &HostPathVolumeSource) -> Prepared {
    let must_be = match source.type_.as_deref().unwrap_or("") {
        "Directory" | "DirectoryOrCreate" => Some(FileKind::Directory),
        "File" | "FileOrCreate" => Some(FileKind::File),
        "Socket" => Some(FileKind::Socket),
        "CharDevice" => Some(FileKind::CharDevice),
        "BlockDevice" => Some(FileKind::BlockDevice),
        _ => None,
    };
    Prepared { path: PathBuf::from(&source.path), must_be, read_only: false }
}
