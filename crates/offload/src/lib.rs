//! Work that blocks in asynchronous code, where it holds up nobody else.
//!
//! What is short and waits for files of our own is done [`in_place`]. All else has a thread, of a kind
//! with a bound of its own: [`Threads`], or [`SharedThreads`] where one of many that have nothing to do with
//! each other (a file system that others chose, a registry, a client) may keep whoever serves it for
//! ever. The threads themselves are the runtime's, of which there are some hundreds; nothing else in
//! the house takes one, so that the bounds together say how many there can be.
#![forbid(unsafe_code)]

mod removals;
mod threads;

use tokio::runtime::{Handle, RuntimeFlavor};

pub use removals::Removals;
pub use threads::{Busy, Place, SharedThreads, Threads};

/// Runs `work`, which is short and looks at files of our own, here and now: what else this worker
/// has to do is taken over by another.
pub fn in_place<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        // A thread of nobody's, or a runtime that has only this one.
        _ => work(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::in_place;

    #[test]
    fn what_waits_holds_up_nobody_on_a_runtime_of_one_worker() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build();
        let runtime = runtime.expect("a runtime");
        let (tell, told) = mpsc::channel();
        let waiting = runtime.spawn(async move { in_place(|| told.recv().expect("somebody tells")) });
        // Only another task can end the wait.
        runtime.spawn(async move { tell.send(7).expect("somebody listens") });
        assert_eq!(runtime.block_on(waiting).expect("it ends"), 7);
    }

    #[test]
    fn without_a_runtime_it_is_a_call() {
        assert_eq!(in_place(|| 7), 7);
    }
}
