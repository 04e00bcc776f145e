//! `HEAD`, `GET` and `PUT /containers/{name}/archive`: what `docker cp` uses.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::container::{ArchivePut, PathStat};
use http::header::HeaderValue;
use http::{HeaderMap, StatusCode};

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::fault::Fault;
use crate::wire::path_stat;

/// What a path in a container is, in a header.
pub(crate) async fn stat(call: Call) -> Answer {
    let path = path(&call)?;
    let stat = call.engine().container_archive_stat(&call.container()?, &path).await?;
    let mut response = answer::bare(StatusCode::OK)?;
    add_stat(response.headers_mut(), &stat)?;
    Ok(response)
}

/// A path in a container as an archive.
pub(crate) async fn get(call: Call) -> Answer {
    let path = path(&call)?;
    let (stat, archive) = call.engine().container_archive_get(&call.container()?, &path).await?;
    let mut response = answer::stream("application/x-tar", archive)?;
    add_stat(response.headers_mut(), &stat)?;
    Ok(response)
}

/// Unpacks an archive into a directory of a container.
pub(crate) async fn put(mut call: Call) -> Answer {
    let path = path(&call)?;
    let id = call.container()?;
    let options = ArchivePut {
        no_overwrite_dir_non_dir: call.query.flag("noOverwriteDirNonDir"),
        copy_ownership: call.query.flag("copyUIDGID"),
    };
    let archive = call.body_stream()?;
    call.engine().container_archive_put(&id, &path, options, archive).await?;
    answer::bare(StatusCode::OK)
}

fn path(call: &Call) -> Result<String, Fault> {
    match call.query.text("path") {
        "" => Err(Fault::invalid("bad parameter: path cannot be empty")),
        path => Ok(path.to_owned()),
    }
}

fn add_stat(headers: &mut HeaderMap, stat: &PathStat) -> Result<(), Fault> {
    let text = STANDARD.encode(path_stat::encode(stat));
    let value = HeaderValue::try_from(text)
        .map_err(|error| Fault::internal(format!("write the path's header: {error}")))?;
    headers.insert("X-Docker-Container-Path-Stat", value);
    Ok(())
}
