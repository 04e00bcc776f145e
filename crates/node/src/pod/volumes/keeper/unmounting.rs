//! Taking away what is mounted of a server: it is out of sight at once, but the kernel takes leave of the server then,
//! and whoever unmounted waits for that as long as the server does not answer.

use std::path::PathBuf;
use std::time::Duration;

use super::super::mounting::is_listed;
use super::VolumeError;

/// Before it is looked whether it is out of sight, though the work goes on.
const PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 3_000 });

/// Waits for `work`, which unmounts what is at `place` and goes on if nobody waits for it; not longer than until
/// nothing is mounted there any more.
pub(super) async fn out_of_sight(
    name: &str,
    place: PathBuf,
    work: impl Future<Output = Result<Result<(), VolumeError>, offload::Busy>> + Send + 'static,
) -> Result<(), VolumeError> {
    let mut work = tokio::spawn(work);
    loop {
        match tokio::time::timeout(PATIENCE, &mut work).await {
            Ok(Ok(done)) => {
                return done.map_err(|source| VolumeError::Busy { name: name.to_owned(), source })?;
            }
            Ok(Err(error)) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => return Err(VolumeError::Slow { name: name.to_owned() }),
            },
            Err(_) => {}
        }
        let listed = offload::in_place(|| is_listed(&place));
        match listed {
            Ok(false) => {
                tracing::warn!(place = %place.display(), "the server of a volume that was unmounted does not answer");
                return Ok(());
            }
            Ok(true) => {}
            Err(source) => {
                return Err(VolumeError::Io {
                    name: name.to_owned(),
                    tried: "look for what is mounted at",
                    path: place,
                    source,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::memory::{self, Memory};
    use super::*;

    #[tokio::test]
    async fn what_is_out_of_sight_is_gone_though_its_server_does_not_answer() {
        testkit::require_root();
        let root = tempfile::tempdir().expect("temporary directory");
        let place = root.path().join("v");
        memory::mount(&place, &Memory::default()).expect("mount");
        let waits = out_of_sight("v", place.clone(), std::future::pending());
        tokio::pin!(waits);
        let early = tokio::time::timeout(PATIENCE * 5, &mut waits).await;
        assert!(early.is_err(), "it is there");
        memory::unmount(&place);
        waits.await.expect("it is gone");
        let failed = || async { Ok(Err(VolumeError::Slow { name: "v".to_owned() })) };
        out_of_sight("v", place.clone(), failed()).await.expect_err("what came of the work is told");
        out_of_sight("v", root.path().join("none/v"), std::future::pending())
            .await
            .expect("nothing was there");
    }
}
