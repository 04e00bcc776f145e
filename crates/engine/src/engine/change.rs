//! Changing what a container should be: its name, its networks, its limits, its restart policy.
//!
//! There is one way. The new record is made and brought to disk beside the old one; then what runs is
//! brought in line with it; then it takes the old one's place, on disk and in memory. So a change whose
//! record cannot be written has not happened anywhere, and neither has one that what runs refuses.

use crate::container::{ContainerRecord, RestartPolicy};
use crate::engine::Engine;
use crate::error::{Context, Result};
use crate::registry::ContainerCell;
use crate::state::{self, ContainerFile};
use crate::work::blocking;

impl Engine {
    /// Changes what a container should be, as `change` says; on disk when this returns. The caller
    /// holds the container's operation lock.
    ///
    /// `carry_out` is given the new record and brings the kernel, and whoever else must know, in line
    /// with it; if it fails it leaves nothing behind, and nothing has changed. `take_back` undoes it if
    /// the record cannot take its place in the end.
    pub(crate) async fn change_durably<T, Done, Undone>(
        &self,
        cell: &ContainerCell,
        change: impl Fn(&mut ContainerRecord),
        carry_out: impl FnOnce(ContainerRecord) -> Done,
        take_back: impl FnOnce() -> Undone,
    ) -> Result<T>
    where
        Done: Future<Output = Result<T>>,
        Undone: Future<Output = ()>,
    {
        let mut next = ContainerRecord::clone(&cell.record());
        change(&mut next);
        let directory = self.inner.places.container(&cell.id);
        let written = next.clone();
        let staged = blocking(move || {
            // One of version 1 had its life in it, which is written down by itself from now on.
            let is_kept = written.spec.restart != RestartPolicy::No;
            if is_kept || !state::has_life(&directory) {
                state::save_life(&directory, &written)?;
            }
            // Whether a policy starts it again hangs on that too.
            if is_kept {
                state::flush_life(&directory)?;
            }
            state::stage(&directory.join(state::STATE_FILE), &ContainerFile::from(&written))
        })
        .await?;
        let done = match carry_out(next).await {
            Ok(done) => done,
            Err(error) => {
                // That it was in vain is what the caller must hear, whatever becomes of this.
                let _ = blocking(move || {
                    drop(staged);
                    Ok(())
                })
                .await;
                return Err(error);
            }
        };
        let id = cell.id.clone();
        let kept =
            blocking(move || staged.commit().context(|| format!("write the record of container {id}")));
        if let Err(error) = kept.await {
            self.write_again(cell).await;
            take_back().await;
            return Err(error);
        }
        cell.change(change);
        Ok(done)
    }

    /// Puts the record as it was back, if a new one has taken its place and could not be flushed.
    async fn write_again(&self, cell: &ContainerCell) {
        let (path, record) = (self.inner.places.container(&cell.id).join(state::STATE_FILE), cell.record());
        let again = blocking(move || {
            let staged = state::stage(&path, &ContainerFile::from(&*record))?;
            staged.commit().context(|| format!("write `{}`", path.display()))
        });
        if let Err(error) = again.await {
            tracing::error!(container = %cell.id, error = %base::error::chain(&error), "the record of a change that was taken back stays");
        }
    }
}
