//! What is mounted in a container.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// One mount.
#[derive(Clone, Debug, PartialEq)]
pub struct Mount {
    /// Where in the container: an absolute path.
    pub target: String,
    /// Nothing can be written.
    pub read_only: bool,
    /// What is mounted.
    pub source: MountSource,
}

/// What a mount shows.
#[derive(Clone, Debug, PartialEq)]
pub enum MountSource {
    /// A file or directory of the host.
    Bind {
        /// Absolute path on the host.
        path: PathBuf,
        /// The part of it that is shown, found without leaving it, whatever links those who can
        /// write there have made; `None` is the whole.
        subpath: Option<String>,
        /// What it must be when it is mounted; `None` is anything.
        must_be: Option<FileKind>,
        /// How mounts travel across it.
        propagation: Propagation,
        /// Makes the directory (the part that is shown, if one is named) where it is missing
        /// (`-v`), instead of failing (`--mount`).
        create: bool,
        /// Leaves out the mounts below it.
        non_recursive: bool,
        /// Leaves the mounts below it as they are where it is read-only itself.
        writable_below: bool,
    },
    /// A volume; a new anonymous one where there is no name.
    Volume {
        /// The volume's name.
        name: Option<String>,
        /// Does not fill an empty volume with what the image has at the target.
        no_copy: bool,
        /// The part of the volume that is shown.
        subpath: Option<String>,
        /// The driver, labels and options a volume is made with where it does not exist.
        driver: Option<String>,
        /// Labels of a new volume.
        labels: BTreeMap<String, String>,
        /// Options of a new volume.
        options: BTreeMap<String, String>,
    },
    /// An image's files, which cannot be written.
    Image {
        /// The image as the user named it. It must be present.
        reference: String,
        /// The part of it that is shown.
        subpath: Option<String>,
    },
    /// Memory.
    Tmpfs {
        /// Bytes; `None` is half of the machine's memory.
        size: Option<u64>,
        /// Permission bits; `None` is 1777.
        mode: Option<u32>,
        /// Further mount options (`noexec`, `uid=…`).
        options: Vec<String>,
    },
}

/// Kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// How mounts travel across a bind mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// Not at all.
    #[default]
    Rprivate,
    /// Not at all, this mount alone.
    Private,
    /// From the host into the container.
    Rslave,
    /// From the host into the container, this mount alone.
    Slave,
    /// Both ways.
    Rshared,
    /// Both ways, this mount alone.
    Shared,
}
