//! Contexts that are fetched instead of sent: git repositories, archives, and Dockerfiles alone.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use engine::Engine;
use engine::image::{Opened, Progress, fetched_stream};
use rustix::fs::{Mode, OFlags, ResolveFlags};

use crate::builder::Events;
use crate::context::{TEXT_MAX, directory, io_error};
use crate::error::BuildError;
use crate::git::Repository;
use crate::request::BuildEvent;

/// It is told how much has come at most every so many bytes.
const TELL_EVERY: u64 = 512 << 10;
/// What archives are called by servers, without the `x-` that some have.
const ARCHIVES: [&str; 6] = ["tar", "gzip", "bzip2", "bzip", "xz", "zstd"];

/// Where a context is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Remote {
    Git(Repository),
    Address(String),
}

/// What came from there.
pub(crate) enum Received {
    /// A tree of files.
    Files(OwnedFd),
    /// A Dockerfile without anything beside it.
    Dockerfile(String),
}

impl Remote {
    /// Reads where a context is; none where it is sent.
    pub(crate) fn parse(text: &str) -> Result<Option<Self>, BuildError> {
        let is_address = text.starts_with("http://") || text.starts_with("https://");
        let path = text.split('#').next().unwrap_or(text);
        let is_git = (is_address && path.ends_with(".git"))
            || ["git://", "github.com/", "git@"].iter().any(|prefix| text.starts_with(prefix));
        match text {
            "" => Ok(None),
            "client-session" => Err(BuildError::Step(
                "experimental session with v1 builder is no longer supported, use builder version v2 (BuildKit) instead"
                    .to_owned(),
            )),
            text if is_git => Ok(Some(Self::Git(Repository::parse(text).map_err(BuildError::Step)?))),
            text if is_address => Ok(Some(Self::Address(text.to_owned()))),
            text => {
                Err(BuildError::Step(format!("remoteURL ({text}) could not be recognized as URL")))
            }
        }
    }

    /// Fetches it into a directory, which is empty.
    pub(crate) async fn receive(
        self,
        engine: &Engine,
        scratch: &Path,
        events: &Events,
    ) -> Result<Received, BuildError> {
        let root = offload::in_place(|| directory(scratch)).map_err(io_error)?;
        match self {
            Self::Git(repository) => {
                // As any other context: so many at a time.
                let _turn = engine::work::transfer("build contexts").await?;
                repository.clone_into(scratch).await?;
                let part = offload::in_place(|| subdirectory(root, repository.directory()));
                part.map(Received::Files)
            }
            Self::Address(address) => fetch(engine, &address, root, events).await,
        }
    }
}

/// The part of a repository that is the context. No link in it leads out of it.
fn subdirectory(root: OwnedFd, path: &str) -> Result<OwnedFd, BuildError> {
    if path.is_empty() {
        return Ok(root);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root.as_fd(), path.trim_start_matches('/'), flags, Mode::empty(), resolve).map_err(
        |error| {
            let error = std::io::Error::from(error);
            BuildError::Step(format!("error setting git context, not a directory: {path}: {error}"))
        },
    )
}

async fn fetch(
    engine: &Engine,
    address: &str,
    root: OwnedFd,
    events: &Events,
) -> Result<Received, BuildError> {
    // Whoever waits for a turn keeps no server waiting.
    let transfer = engine::work::transfer("build contexts").await?;
    let opened = engine.fetch(address).await.map_err(|error| {
        let tried = format!("error downloading remote context {address}");
        engine::Error::new(error.kind(), tried).with_source(error)
    })?;
    let kind = opened.media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let bare = kind.strip_prefix("application/").map(|kind| kind.strip_prefix("x-").unwrap_or(kind));
    if kind == "text/plain" {
        return read_text(opened).await.map(Received::Dockerfile);
    }
    // What a server sends that does not know what it sends may be either.
    let is_unknown = kind.is_empty() || bare == Some("octet-stream");
    if !is_unknown && !bare.is_some_and(|kind| ARCHIVES.contains(&kind)) {
        let said = &opened.media_type;
        return Err(BuildError::Step(format!(
            "error detecting content type for remote {address}: unsupported Content-Type {said:?}"
        )));
    }
    let (total, context, told) = (opened.length.unwrap_or_default(), address.to_owned(), events.clone());
    let last = std::sync::atomic::AtomicU64::new(0);
    let tell = move |came: u64| {
        use std::sync::atomic::Ordering::Relaxed;
        if came - last.load(Relaxed) >= TELL_EVERY || came == total {
            last.store(came, Relaxed);
            let bytes = Some((came, total));
            let step =
                Progress::Layer { id: "Downloading context".to_owned(), status: context.clone(), bytes };
            // Whoever does not read hears of the next.
            let _ = told.try_send(Ok(BuildEvent::Pull(step)));
        }
    };
    let stream = fetched_stream(opened, tell);
    let unpacking = root.try_clone().map_err(io_error)?;
    let received = transfer.upload(stream, move |stream| receive(stream, is_unknown, &unpacking));
    Ok(received.await?.map_or(Received::Files(root), Received::Dockerfile))
}

/// Unpacks an archive; gives the text of what may be a Dockerfile instead.
fn receive(
    mut stream: impl std::io::Read,
    is_unknown: bool,
    root: &OwnedFd,
) -> Result<Option<String>, BuildError> {
    use std::io::Read;
    let mut start = Vec::new();
    if is_unknown {
        stream.by_ref().take(BEGINNING).read_to_end(&mut start).map_err(io_error)?;
        let is_text = !start.is_empty() && !start.iter().any(|byte| is_binary(*byte));
        if is_text {
            let mut text = start;
            stream.take(TEXT_MAX + 1).read_to_end(&mut text).map_err(io_error)?;
            return text_of(text).map(Some);
        }
    }
    let archive = std::io::Cursor::new(start).chain(stream);
    image::unpack_files(archive, root.as_fd()).map(|()| None).map_err(BuildError::Context)
}

/// So much is looked at of what may be a text.
const BEGINNING: u64 = 512;

/// What no text has in it.
fn is_binary(byte: u8) -> bool {
    matches!(byte, 0..=8 | 0x0e..=0x1a | 0x1c..=0x1f)
}

async fn read_text(mut opened: Opened) -> Result<String, BuildError> {
    let mut text = Vec::new();
    let failed = |error: &dyn std::error::Error| BuildError::Remote(base::error::chain(error).to_string());
    while let Some(piece) = opened.next().await.map_err(|error| failed(&error))? {
        text.extend_from_slice(&piece);
        if text.len() as u64 > TEXT_MAX {
            break;
        }
    }
    text_of(text)
}

fn text_of(text: Vec<u8>) -> Result<String, BuildError> {
    if text.len() as u64 > TEXT_MAX {
        return Err(BuildError::Step(format!("the Dockerfile is longer than {TEXT_MAX} bytes")));
    }
    String::from_utf8(text).map_err(|_| BuildError::Step("the Dockerfile is no text".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fetched_is_known_by_its_address() {
        let check = |text: &str, is_git: bool| {
            let remote = Remote::parse(text).expect(text).expect("fetched");
            assert_eq!(matches!(remote, Remote::Git(_)), is_git, "{text}");
        };
        check("https://example.org/a.git", true);
        check("https://example.org/a.git#main:dir", true);
        check("https://example.org/a.tar.gz", false);
        check("http://example.org/a.git/Dockerfile", false);
        check("github.com/a/b", true);
        check("git@example.org:a/b", true);
        check("git://example.org/a", true);
        assert_eq!(Remote::parse("").expect("sent"), None);
        let error = |text: &str| Remote::parse(text).expect_err(text).to_string();
        assert_eq!(error("/tmp/x"), "remoteURL (/tmp/x) could not be recognized as URL");
        assert_eq!(error("git://h/a#-x"), "invalid refspec: -x");
    }
}
