//! `local`, where its path is a device: the file system on it, made if there is nothing on it.
//!
//! Only a device whose beginning and end are empty is formatted: what is not known there is somebody's, and stays. The
//! device is locked meanwhile, as udev and others lock those that they look at. As with the kubelet the programs that
//! format are the host's (`mkfs.ext4` …); what is mounted for several pods is one file system of the kernel.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use rustix::mount::MountFlags;

use super::mounting::{self, is_mounted, text};
use content::{Content, HEAD, TAIL};

mod content;

/// A file system on a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// The device.
    pub device: PathBuf,
    /// What is on it, or to be; what is found there, and [`DEFAULT`], where nothing is said.
    pub kind: Option<String>,
    /// As `mount` takes them.
    pub options: Vec<String>,
    /// The pod only reads.
    pub read_only: bool,
}

/// What a device is formatted with where nothing is said.
const DEFAULT: &str = "ext4";
/// Where programs are that format: the daemon's own path may be anything.
const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
/// So much of what such a program says is kept.
const MOST_SAID: u64 = 2048;
/// The longest name of a kind of file system.
const LONGEST_KIND: usize = 32;

/// Why a file system on a device is not there.
#[derive(Debug, thiserror::Error)]
pub enum FileSystemError {
    /// The host refused.
    #[error("{tried}")]
    Io {
        /// What was tried.
        tried: &'static str,
        /// Why.
        source: io::Error,
    },
    /// It is something else.
    #[error("only directory and block device are supported")]
    NoDevice,
    /// No kind of file system is called so.
    #[error("`{0}` is no kind of a file system")]
    Kind(String),
    /// Somebody else works on it.
    #[error("another program has locked the device")]
    Locked,
    /// It has something else on it.
    #[error("the device has {0} on it, and is left as it is")]
    Occupied(&'static str),
    /// It would have to be written to.
    #[error("cannot mount unformatted disk {} as we are manipulating it in read-only mode", .0.display())]
    Unformatted(PathBuf),
    /// The host cannot make such a file system.
    #[error("the device is empty, and this node has no program mkfs.{0} to format it")]
    NoProgram(String),
    /// What was to make it failed.
    #[error("mkfs.{kind}: {status}: {said}")]
    Format {
        /// What was to be made.
        kind: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        said: String,
    },
    /// The kernel has no such file system.
    #[error("the kernel of this node has no file system {0}")]
    NoKernel(String),
    /// The kernel refused.
    #[error("mount it as {kind}, with {found} on it")]
    Mount {
        /// As what.
        kind: String,
        /// What is on it.
        found: &'static str,
        /// Why.
        source: io::Error,
    },
}

fn failed(tried: &'static str) -> impl FnOnce(io::Error) -> FileSystemError {
    move |source| FileSystemError::Io { tried, source }
}

/// Mounts it at `path`, unless something is mounted there; formats the device before if there is nothing on it.
pub(super) fn mount(path: &Path, wanted: &FileSystem) -> Result<(), FileSystemError> {
    fs::create_dir_all(path).map_err(failed("make the directory"))?;
    if is_mounted(path).map_err(failed("look at the directory"))? {
        return Ok(());
    }
    let kind = wanted.kind.as_deref();
    if let Some(kind) = kind.filter(|kind| !is_kind(kind)) {
        return Err(FileSystemError::Kind(kind.to_owned()));
    }
    let device = wanted.device.canonicalize().map_err(failed("find the device"))?;
    let locked = lock(&device)?;
    let (kind, found) = match look(&locked.0).map_err(failed("read the device"))? {
        Content::Nothing if wanted.read_only || is_read_only(&wanted.options) => {
            return Err(FileSystemError::Unformatted(device));
        }
        Content::Nothing => {
            let kind = kind.unwrap_or(DEFAULT);
            format(&device, kind)?;
            (kind, "what was made just now")
        }
        Content::FileSystem(found) => (kind.unwrap_or(found), found),
        Content::Other(what) => return Err(FileSystemError::Occupied(what)),
    };
    attach(&device, path, kind, wanted).map_err(|source| match source {
        Errno::NODEV => FileSystemError::NoKernel(kind.to_owned()),
        source => FileSystemError::Mount { kind: kind.to_owned(), found, source: source.into() },
    })
}

/// A device from which those are kept away who lock it as well.
#[derive(Debug)]
struct Locked(File);

impl Drop for Locked {
    fn drop(&mut self) {
        // Closing it is not enough: a program that is started at this moment has it until it begins.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// Opens a device, and keeps those away who lock it as well.
fn lock(device: &Path) -> Result<Locked, FileSystemError> {
    let flags = OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(device);
    let opened = opened.map_err(failed("open the device"))?;
    let found = opened.metadata().map_err(failed("look at the device"))?;
    if !found.file_type().is_block_device() {
        return Err(FileSystemError::NoDevice);
    }
    match flock(&opened, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Locked(opened)),
        Err(Errno::WOULDBLOCK) => Err(FileSystemError::Locked),
        Err(error) => Err(failed("lock the device")(error.into())),
    }
}

/// What is on a device, by its beginning and its end.
fn look(device: &File) -> io::Result<Content> {
    let read = |from: u64, most: usize| -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; most];
        let mut length = 0;
        while length < most {
            match device.read_at(&mut bytes[length..], from + length as u64)? {
                0 => break,
                more => length += more,
            }
        }
        bytes.truncate(length);
        Ok(bytes)
    };
    // A device has no length but where its end is.
    let end = rustix::fs::seek(device, rustix::fs::SeekFrom::End(0))?;
    Ok(Content::of(&read(0, HEAD)?, &read(end.saturating_sub(TAIL as u64), TAIL)?))
}

fn attach(device: &Path, path: &Path, kind: &str, wanted: &FileSystem) -> Result<(), Errno> {
    let (flags, left) = mounting::options(&wanted.options);
    let no_nul = |_| Errno::INVAL;
    let source = text(device.as_os_str().as_encoded_bytes()).map_err(no_nul)?;
    let data = text(left.join(",")).map_err(no_nul)?;
    let mount = |flags| rustix::mount::mount(&source, path, kind, flags, Some(data.as_c_str()));
    match mount(flags) {
        // Other pods may write to it; for one that reads, a device that nobody can write to will do.
        Err(Errno::ROFS | Errno::ACCESS) if wanted.read_only => mount(flags | MountFlags::RDONLY),
        done => done,
    }
}

fn format(device: &Path, kind: &str) -> Result<(), FileSystemError> {
    let name = format!("mkfs.{kind}");
    let mut programs = DIRECTORIES.iter().map(|directory| Path::new(directory).join(&name));
    let program = programs.find(|program| program.is_file());
    let program = program.ok_or_else(|| FileSystemError::NoProgram(kind.to_owned()))?;
    let arguments: &[&str] = match kind {
        // Nobody is there to be asked, and no space is kept for root.
        "ext2" | "ext3" | "ext4" => &["-F", "-m0"],
        "xfs" | "btrfs" => &["-f"],
        _ => &[],
    };
    let mut child = Command::new(program)
        .args(arguments)
        .arg(device)
        .env_clear()
        .env("PATH", DIRECTORIES.join(":"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed("run what formats the device"))?;
    let mut said = Vec::new();
    if let Some(mut output) = child.stderr.take() {
        let read = (&mut output).take(MOST_SAID).read_to_end(&mut said);
        // It is not kept from its end by more.
        let rest = io::copy(&mut output, &mut io::sink());
        read.and(rest.map(|_| 0)).map_err(failed("read what formats the device"))?;
    }
    let status = child.wait().map_err(failed("wait for what formats the device"))?;
    if status.success() {
        tracing::info!(device = %device.display(), kind, "an empty device was formatted");
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    Err(FileSystemError::Format { kind: kind.to_owned(), status, said })
}

/// Whether a name is one of a kind of file system, and of no program elsewhere.
fn is_kind(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    !name.is_empty() && name.len() <= LONGEST_KIND && name.bytes().all(is_plain)
}

fn is_read_only(options: &[String]) -> bool {
    mounting::options(options).0.contains(MountFlags::RDONLY)
}

#[cfg(test)]
mod tests;
