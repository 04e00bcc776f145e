//! The build context: received, unpacked, and searched for its Dockerfile.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use base::cancel::Cancel;
use engine::Engine;
use oci::Platform;
use rustix::fs::{Mode, OFlags};

use crate::args::Args;
use crate::builder::{Builder, Events};
use crate::dockerfile::Dockerfile;
use crate::error::BuildError;
use crate::files::{FileError, Tree};
use crate::ignore::Ignore;
use crate::request::BuildRequest;

const DEFAULT_DOCKERFILE: &str = "Dockerfile";
const IGNORE_FILE: &str = ".dockerignore";

/// The longest Dockerfile and list of what to leave out.
const TEXT_MAX: u64 = 4 << 20;

/// Receives the context and builds.
pub(crate) async fn build(engine: Engine, request: BuildRequest, events: Events) -> Result<(), BuildError> {
    let options = request.options;
    if options.squash {
        return Err(BuildError::Squash);
    }
    let platform = match options.platform.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => text.parse::<Platform>().map_err(|error| BuildError::Step(error.to_string()))?,
        None => Platform::host(),
    };
    let store = engine.images().clone();
    let scratch = store.scratch().map_err(io_error)?;
    let root = offload::in_place(|| directory(scratch.path())).map_err(io_error)?;
    let unpacking = root.try_clone().map_err(io_error)?;
    let unpack = move |context| image::unpack_files(context, unpacking.as_fd());
    let transfer = engine::work::transfer("build contexts").await?;
    transfer.upload(request.context, unpack).await.map_err(BuildError::Context)?;

    let cancel = Cancel::default();
    let plain = Tree::new(root.try_clone().map_err(io_error)?, Ignore::default(), &cancel);
    let (dockerfile, ignore) = offload::in_place(|| -> Result<_, BuildError> {
        let (path, text) = read_dockerfile(&plain, &options.dockerfile)?;
        Ok((Dockerfile::parse(&text)?, read_ignore(&plain, &path)?))
    })?;
    let args = Args::new(&options.args, &platform);
    let context = Arc::new(Tree::new(root, ignore, &cancel));
    Builder::new(engine, options, events, context, args, platform, scratch).build(dockerfile).await
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

fn directory(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn io_error(error: io::Error) -> BuildError {
    BuildError::Step(format!("cannot keep the build context: {error}"))
}
