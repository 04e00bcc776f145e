//! The build context: received or fetched, unpacked, and searched for its Dockerfile.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use dockerfile::classic::{Dockerfile, ParseError};
use oci::Platform;
use rustix::fs::{Mode, OFlags};

use crate::builder::{self, Builder, Events};
use crate::error::BuildError;
use crate::files::{FileError, Tree};
use crate::ignore::Ignore;
use crate::remote::{Received, Remote};
use crate::request::BuildRequest;
use crate::solve::Solver;
use crate::solve::value::HeldTree;

const DEFAULT_DOCKERFILE: &str = "Dockerfile";
const IGNORE_FILE: &str = ".dockerignore";

/// The longest Dockerfile and list of what to leave out.
pub(crate) const TEXT_MAX: u64 = 4 << 20;

/// Receives the context and builds.
pub(crate) async fn build(solver: Solver, request: BuildRequest, events: Events) -> Result<(), BuildError> {
    let options = request.options;
    if options.squash {
        return Err(BuildError::Squash);
    }
    let platform = options.platform.as_deref().filter(|text| !text.is_empty());
    let platform = platform.map(str::parse::<Platform>).transpose();
    let platform = platform.map_err(|error| BuildError::Step(error.to_string()))?;
    let remote = Remote::parse(&options.remote)?;
    let engine = solver.engine().clone();
    let scratch = engine.images().scratch().map_err(io_error)?;
    let received = match remote {
        None => {
            let root = offload::in_place(|| directory(scratch.path())).map_err(io_error)?;
            let unpacking = root.try_clone().map_err(io_error)?;
            let unpack = move |context| image::unpack_files(context, unpacking.as_fd());
            let transfer = engine::work::transfer("build contexts").await?;
            transfer.upload(request.context, unpack).await.map_err(BuildError::Context)?;
            Received::Files(root)
        }
        Some(remote) => {
            drop(request.context);
            remote.receive(&engine, scratch.path(), &events).await?
        }
    };

    let job = builder::job(&solver, &options, platform);
    let cancel = &job.inner.cancel;
    let has_files = matches!(received, Received::Files(_));
    let (root, dockerfile, ignore) = match received {
        Received::Files(root) => {
            let plain = Tree::new(root.try_clone().map_err(io_error)?, Ignore::default(), cancel);
            let read = offload::in_place(|| -> Result<_, BuildError> {
                let (path, text) = read_dockerfile(&plain, &options.dockerfile)?;
                Ok((parse(&path, &text)?, read_ignore(&plain, &path)?))
            });
            let (dockerfile, ignore) = read?;
            (root, dockerfile, ignore)
        }
        Received::Dockerfile(text) => {
            let root = offload::in_place(|| directory(scratch.path())).map_err(io_error)?;
            (root, parse(DEFAULT_DOCKERFILE, &text)?, Ignore::default())
        }
    };
    let context = HeldTree::new(Tree::new(root, ignore, cancel).of_another_machine());
    Builder::new(job, options, context, has_files, scratch)?.build(dockerfile, &events).await
}

fn parse(name: &str, text: &str) -> Result<Dockerfile, BuildError> {
    if text.is_empty() {
        return Err(BuildError::EmptyDockerfile(name.to_owned()));
    }
    Dockerfile::parse(text).map_err(|error| match error {
        ParseError::Empty => BuildError::Unparsed { name: name.to_owned(), source: error },
        other => other.into(),
    })
}

fn read_dockerfile(context: &Tree, path: &str) -> Result<(String, String), BuildError> {
    let names = match path {
        "" => vec![DEFAULT_DOCKERFILE, "dockerfile"],
        path => vec![path],
    };
    for name in &names {
        let clean = crate::ignore::clean(name);
        match context.file(Path::new(&clean)) {
            Ok(file) => {
                let text = read_short(file).map_err(|error| {
                    BuildError::Step(format!("the Dockerfile ({name}) cannot be read: {error}"))
                })?;
                return Ok((clean, text));
            }
            Err(FileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(BuildError::Step(base::error::chain(&error).to_string())),
        }
    }
    Err(BuildError::NoDockerfile(names[0].to_owned()))
}

/// What is left out of the context: a file beside the Dockerfile that carries its name goes before
/// the common one.
fn read_ignore(context: &Tree, dockerfile: &str) -> Result<Ignore, BuildError> {
    for name in [format!("{dockerfile}{IGNORE_FILE}"), IGNORE_FILE.to_owned()] {
        match context.file(Path::new(&name)) {
            Ok(file) => {
                let text = read_short(file).map_err(|error| BuildError::Ignore(error.to_string()))?;
                return Ignore::parse(&text).map_err(BuildError::Ignore);
            }
            Err(FileError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            // Without it more would be copied than is meant.
            Err(error) => return Err(BuildError::Ignore(base::error::chain(&error).to_string())),
        }
    }
    Ok(Ignore::default())
}

/// The text of a file that is written by hand; a long one is something else.
fn read_short(file: impl io::Read) -> io::Result<String> {
    let text = io::read_to_string(file.take(TEXT_MAX + 1))?;
    if text.len() as u64 > TEXT_MAX {
        let problem = format!("it is longer than {TEXT_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    Ok(text)
}

pub(crate) fn directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

pub(crate) fn io_error(error: io::Error) -> BuildError {
    BuildError::Step(format!("cannot keep the build context: {error}"))
}
