//! Whether the processes that hold containers answer.

use std::path::Path;
use std::time::Duration;

use runtime::shim::protocol::Request;
use runtime::shim::{Client, ClientError};

use super::Finding;

/// How long a shim may take to say what it holds.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks every shim of the instance, all at once.
pub(super) fn check(run: &Path) -> Vec<Finding> {
    let sockets: Vec<_> = std::fs::read_dir(run.join("shims"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sock"))
        .collect();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let asking: Vec<_> = sockets.iter().map(|socket| scope.spawn(|| ask(socket))).collect();
        asking
            .into_iter()
            .map(|asked| asked.join().unwrap_or_else(|_| Some("it could not be asked".to_owned())))
            .collect()
    });
    let silent: Vec<_> =
        sockets.iter().zip(answers).filter_map(|(socket, answer)| Some((socket, answer?))).collect();
    if silent.is_empty() {
        return vec![Finding::ok("shims", format!("{} hold containers and answer", sockets.len()))];
    }
    silent
        .into_iter()
        .map(|(socket, reason)| {
            let id = socket.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let short = id.get(..12).unwrap_or(&id);
            Finding::problem(
                "shims",
                format!("container or pod {short} is unreachable: its gantry-shim lives and does not answer ({reason})"),
                format!(
                    "look whether the process `gantry-shim {short}` is stopped (kill -CONT) or waits for a disk; \
                     docker rm -f {short} ends and removes it all the same"
                ),
            )
        })
        .collect()
}

/// Why a shim does not answer; `None` if it does, or is gone.
fn ask(socket: &Path) -> Option<String> {
    let asked = Client::connect(socket).and_then(|mut client| {
        client.set_timeout(Some(PATIENCE))?;
        client.ask(&Request::State)
    });
    match asked {
        Ok(_) => None,
        Err(ClientError::Connect { source, .. })
            if matches!(
                source.kind(),
                std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound
            ) =>
        {
            None
        }
        Err(error) => Some(base::error::chain(&error).to_string()),
    }
}
