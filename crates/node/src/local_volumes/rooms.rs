//! Where volumes of this node lie: a directory for each, with a record of what it is.
//!
//! ```text
//! <root>/<volume>/record.json   what it is and how far it is, written before anything is done
//! <root>/<volume>/data          the volume, if it is a directory
//! <root>/<volume>/disk          the volume, if it is a device
//! ```
//!
//! Containers are shown `data` and what is below: whoever writes there can put links in places of its own, and those
//! are never followed; nobody but this module writes above.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use base::RecordError;
use client::ObjectKey;

use crate::state::{self, LocalVolumeFile};

const RECORD: &str = "record.json";
const DATA: &str = "data";
const DISK: &str = "disk";

/// All rooms of the node.
#[derive(Clone, Debug)]
pub(crate) struct Rooms {
    root: PathBuf,
}

/// One volume's.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    root: PathBuf,
    name: String,
}

/// What is written down of a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// Whom it was made for.
    pub(crate) claim: Claim,
    /// Bytes that were asked for.
    pub(crate) bytes: u64,
    /// What it is.
    pub(crate) form: Form,
    /// What [`release_limit`](crate::runtime::Host::release_limit) takes, where it is limited.
    pub(crate) limit: Option<u32>,
    /// How far it is.
    pub(crate) phase: Phase,
}

/// A claim, by what it is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) uid: String,
}

impl Claim {
    /// Namespace and name.
    pub(crate) fn key(&self) -> ObjectKey {
        ObjectKey::new(self.namespace.as_str(), self.name.as_str())
    }
}

/// What a volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A directory, for volumes that are file systems.
    Directory,
    /// A file of a fixed length, for those that are devices.
    File,
}

/// How far a room is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Some of it may be there; nobody has been told of it.
    Making,
    /// It is there.
    Made,
    /// Some of it may be there still; nobody is to have it.
    Removing,
}

/// Why something could not be done to a room.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RoomError {
    /// No volume that was made here is called so.
    #[error("`{0}` is no name of a volume of this node")]
    Name(String),
    /// What is written down cannot be read: the room is left as it is.
    #[error("read what is known of the volume in {}", path.display())]
    Record {
        /// The record.
        path: PathBuf,
        /// Why.
        source: RecordError,
    },
    /// The room is another claim's.
    #[error("the volume `{name}` is there already, for another claim")]
    Other {
        /// The volume.
        name: String,
    },
    /// What was there before is being removed.
    #[error("the volume `{name}` was still being removed")]
    Going {
        /// The volume.
        name: String,
    },
    /// The disk refused.
    #[error("{tried} {}", path.display())]
    Io {
        /// What was tried.
        tried: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn failed(tried: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RoomError {
    let path = path.to_owned();
    move |source| RoomError::Io { tried, path, source }
}

impl Rooms {
    /// The rooms below `root`, which need not be there.
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The room of a volume, whether it is there or not.
    pub(crate) fn room(&self, name: &str) -> Result<Room, RoomError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        if name.is_empty() || name.starts_with('.') || !name.bytes().all(is_plain) {
            return Err(RoomError::Name(name.to_owned()));
        }
        Ok(Room { root: self.root.clone(), name: name.to_owned() })
    }

    /// All that there are, with what is written down of each. One whose record cannot be read is left out, and told
    /// of; one that has none is being made, or is nothing of ours.
    pub(crate) fn all(&self) -> Result<Vec<(Room, Recorded)>, RoomError> {
        let mut all = Vec::new();
        for path in base::fs::entries(&self.root).map_err(failed("look for volumes in", &self.root))? {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Ok(room) = self.room(name) else { continue };
            match room.read() {
                Ok(Some(recorded)) => all.push((room, recorded)),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(error = %base::error::chain(&error), "a volume is left as it is");
                }
            }
        }
        Ok(all)
    }
}

impl Room {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn directory(&self) -> PathBuf {
        self.root.join(&self.name)
    }

    /// What containers are shown.
    pub(crate) fn path(&self, form: Form) -> PathBuf {
        self.directory().join(match form {
            Form::Directory => DATA,
            Form::File => DISK,
        })
    }

    /// What is written down; nothing where there is no room.
    pub(crate) fn read(&self) -> Result<Option<Recorded>, RoomError> {
        let path = self.directory().join(RECORD);
        match base::record::read::<LocalVolumeFile>(&path) {
            Ok(file) => Ok(Some(file.into())),
            Err(RecordError::Missing) => Ok(None),
            Err(source) => Err(RoomError::Record { path, source }),
        }
    }

    /// Writes down what is so, or is about to be: it survives a power cut.
    pub(crate) fn write(&self, recorded: &Recorded) -> Result<(), RoomError> {
        let path = self.directory().join(RECORD);
        let file = LocalVolumeFile::from(recorded);
        state::save_durably(&path, &file).map_err(failed("write down the volume in", &path))
    }

    /// Writes down that the room is being made, unless it is there; gives what stands there then.
    pub(crate) fn begin(&self, wanted: &Recorded) -> Result<Recorded, RoomError> {
        if let Some(known) = self.read()? {
            if known.claim != wanted.claim || known.form != wanted.form {
                return Err(RoomError::Other { name: self.name.clone() });
            }
            return Ok(known);
        }
        for directory in [&self.root, &self.directory()] {
            let mut private = fs::DirBuilder::new();
            private.mode(0o700).recursive(true);
            private.create(directory).map_err(failed("create", directory))?;
        }
        base::fs::sync_dir(&self.root).map_err(failed("write", &self.root))?;
        self.write(wanted)?;
        Ok(wanted.clone())
    }

    /// Makes what containers will be shown. What an earlier attempt left has been shown to nobody.
    pub(crate) fn make(&self, form: Form, bytes: u64) -> Result<PathBuf, RoomError> {
        self.remove_content()?;
        let path = self.path(form);
        let made = || match form {
            Form::Directory => {
                fs::create_dir(&path)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
                base::fs::sync_dir(&path)
            }
            Form::File => {
                let file = fs::OpenOptions::new().write(true).create_new(true).open(&path)?;
                file.set_permissions(fs::Permissions::from_mode(0o600))?;
                file.set_len(bytes)?;
                file.sync_all()
            }
        };
        made().and_then(|()| base::fs::sync_dir(&self.directory())).map_err(failed("create", &path))?;
        Ok(path)
    }

    /// Makes the file longer; it is never made shorter.
    pub(crate) fn lengthen(&self, bytes: u64) -> Result<(), RoomError> {
        let path = self.path(Form::File);
        let lengthened = || {
            let file = fs::OpenOptions::new().write(true).open(&path)?;
            if file.metadata()?.len() < bytes {
                file.set_len(bytes)?;
                file.sync_all()?;
            }
            Ok(())
        };
        lengthened().map_err(failed("lengthen", &path))
    }

    /// Whether nothing was ever written.
    pub(crate) fn was_never_written(&self, form: Form) -> Result<bool, RoomError> {
        let path = self.path(form);
        let is_empty = match form {
            Form::Directory => base::fs::entries(&path).map(|found| found.is_empty()),
            Form::File => match fs::symlink_metadata(&path) {
                Ok(found) => Ok(found.blocks() == 0),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
                Err(error) => Err(error),
            },
        };
        is_empty.map_err(failed("look at", &path))
    }

    /// Removes what containers were shown, with what is mounted there. May take long.
    pub(crate) fn remove_content(&self) -> Result<(), RoomError> {
        for form in [Form::Directory, Form::File] {
            let path = self.path(form);
            let removed = match fs::symlink_metadata(&path) {
                Ok(found) if found.is_dir() => {
                    base::mounts::take_away(&path).and_then(|()| base::tree::remove(&path))
                }
                Ok(_) => fs::remove_file(&path),
                Err(error) => Err(error),
            };
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes the room, and with it what is written down.
    pub(crate) fn remove(&self) -> Result<(), RoomError> {
        match base::tree::remove(&self.directory()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &self.directory())(error))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
