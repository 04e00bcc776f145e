//! Records on disk: small JSON documents that say which version of their form they have.
//!
//! A record is read as sceptically as anything that comes from outside: a power cut, a failing disk,
//! a later version of this program or a person may have been at it. What cannot be read is never
//! removed and never replaced; whoever reads it leaves the thing out, and says so in a [`Trouble`].

mod alike;

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Serialize};

/// No record comes near this many bytes.
const LONGEST: u64 = 64 << 20;

/// A kind of record: a type whose only purpose is the file, in the form that is written today.
///
/// What is in memory is another type, and conversions lead from one to the other: so the one can change
/// without the other, and a change of what is on disk is seen where it is made.
pub trait Record: Serialize + DeserializeOwned {
    /// The latest version that this program knows.
    const KNOWN: u32;

    /// The version that this one is written as: an earlier one where it says nothing that a program which
    /// knows no other would get wrong.
    fn version(&self) -> u32 {
        Self::KNOWN
    }

    /// Reads a document that says that it has `version`, which is one from 1 up to [`Record::KNOWN`].
    ///
    /// Fields may be added within a version if leaving them out means what was before; everything else
    /// gets a new one, and the form of the old one a reader here.
    fn parse(_version: u32, document: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(document)
    }
}

/// Why a record could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// There is none.
    #[error("the record is missing")]
    Missing,
    /// The disk would not give it.
    #[error("the record cannot be read")]
    Io(#[source] io::Error),
    /// It is whole, but of a form that this program does not know.
    #[error(
        "the record has version {version}, and this program knows up to {known}: use the program that wrote it"
    )]
    Newer {
        /// Its version.
        version: u64,
        /// The latest version that the reader knows.
        known: u32,
    },
    /// It is cut off, empty, or something else.
    #[error("the record is damaged")]
    Damaged(#[source] serde_json::Error),
}

/// Something on disk that could not be taken up. It was left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What it is: `container 3f2a…`, `volume data`, `image sha256:…`.
    pub subject: String,
    /// The file or directory.
    pub path: PathBuf,
    /// What is the matter with it, and what helps where something does.
    pub problem: String,
}

impl Trouble {
    /// What is the matter with `subject`, because of `error`.
    pub fn new(subject: impl Into<String>, path: &Path, error: &(dyn std::error::Error + 'static)) -> Self {
        Self {
            subject: subject.into(),
            path: path.to_owned(),
            problem: crate::error::chain(error).to_string(),
        }
    }

    /// What is the matter with `subject`, in words.
    pub fn saying(subject: impl Into<String>, path: &Path, problem: impl Into<String>) -> Self {
        Self { subject: subject.into(), path: path.to_owned(), problem: problem.into() }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} was left alone: {} (`{}`)", self.subject, self.problem, self.path.display())
    }
}

/// Reads the record at `path`, of any version that is known.
///
/// What lies there instead of a plain file (a pipe, a device, a directory) is an error, and nothing
/// is waited for.
pub fn read<T: Record>(path: &Path) -> Result<T, RecordError> {
    #[derive(Deserialize)]
    struct Probe {
        version: u64,
    }
    let bytes = read_plain(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => RecordError::Missing,
        _ => RecordError::Io(error),
    })?;
    let Probe { version } = serde_json::from_slice(&bytes).map_err(RecordError::Damaged)?;
    match u32::try_from(version) {
        Ok(0) => Err(RecordError::Damaged(serde_json::Error::custom("versions begin with 1"))),
        Ok(version) if version <= T::KNOWN => T::parse(version, &bytes).map_err(RecordError::Damaged),
        _ => Err(RecordError::Newer { version, known: T::KNOWN }),
    }
}

/// The document of a record. Fails where something in it is no text, such as a path that is not UTF-8.
pub fn encode<T: Record>(record: &T) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    struct Versioned<'a, T> {
        version: u32,
        #[serde(flatten)]
        record: &'a T,
    }
    serde_json::to_vec(&Versioned { version: record.version(), record })
}

/// The bytes of a plain file that is no longer than records are.
pub fn read_plain(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_plain(path)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "longer than any record"));
    }
    Ok(bytes)
}

/// A plain file to be read, as long as it may be. What lies there instead of one is an error.
pub fn open_plain(path: &Path) -> io::Result<File> {
    // A pipe without a writer would hold up whoever opens it.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits().cast_signed())
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "not a plain file"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Name {
        name: String,
    }

    /// In version 1 it was called otherwise.
    impl Record for Name {
        const KNOWN: u32 = 2;

        fn version(&self) -> u32 {
            if self.name == "plain" { 1 } else { Self::KNOWN }
        }

        fn parse(version: u32, document: &[u8]) -> Result<Self, serde_json::Error> {
            #[derive(Deserialize)]
            struct First {
                called: String,
            }
            match version {
                1 => serde_json::from_slice(document).map(|First { called }| Self { name: called }),
                _ => serde_json::from_slice(document),
            }
        }
    }

    #[track_caller]
    fn check(content: &[u8], expected: &str) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("record.json");
        std::fs::write(&path, content).expect("write a record");
        let read = read::<Name>(&path).map(|record| record.name);
        let read = read.unwrap_or_else(|error| crate::error::chain(&error).to_string());
        assert!(read.starts_with(expected), "{read}");
        assert_eq!(std::fs::read(&path).expect("it is still there"), content);
    }

    #[test]
    fn only_a_whole_record_of_a_known_version_is_read() {
        check(br#"{"version":1,"called":"old"}"#, "old");
        check(br#"{"version":2,"name":"new"}"#, "new");
        check(br#"{"version":99,"name":7}"#, "the record has version 99, and this program knows up to 2");
        check(br#"{"version":4294967297,"name":"new"}"#, "the record has version 4294967297");
        check(br#"{"version":0,"name":"none"}"#, "the record is damaged: versions begin with 1");
        check(b"", "the record is damaged: EOF");
        check(&[0; 100], "the record is damaged");
        check(br#"{"version":1,"na"#, "the record is damaged: EOF");
        check(br#"{"name":"no version"}"#, "the record is damaged: missing field `version`");
    }

    #[test]
    fn a_record_is_written_with_the_version_that_it_needs() {
        let encoded = |name: &str| {
            let document = encode(&Name { name: name.to_owned() }).expect("it is plain text");
            String::from_utf8(document).expect("it is text")
        };
        assert_eq!(encoded("new"), r#"{"version":2,"name":"new"}"#);
        assert_eq!(encoded("plain"), r#"{"version":1,"name":"plain"}"#);
    }

    #[test]
    fn what_is_no_plain_file_is_told_at_once() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let pipe = directory.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).expect("make a pipe");
        for path in [Path::new("/dev/zero"), &pipe, directory.path()] {
            let error = read::<Name>(path).expect_err("no record");
            assert!(matches!(error, RecordError::Io(_)), "{error:?}");
        }
        let missing = read::<Name>(&directory.path().join("none")).expect_err("no record");
        assert!(matches!(missing, RecordError::Missing));
    }
}
