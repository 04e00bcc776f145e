//! Panics that end one piece of work and nothing else: caught by its owner, counted, told with their place.
//!
//! A panic is a fault of this program. Whoever owns a piece of work (a request, one call of a
//! reconciler, a worker) runs it through [`catch`] or [`catch_async`], answers for it as for any other
//! failure, and goes on with the next. What the work had borrowed may be half changed; an owner whose
//! own state may be must begin anew from what is stored.
//!
//! [`watch`] is called once by a daemon; without it panics are printed as the standard library does,
//! and caught all the same.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, Location, PanicHookInfo, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

/// A panic: what was said, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    /// The panic's message.
    pub message: String,
    /// File, line and column, where [`watch`] was called before.
    pub place: Option<String>,
}

/// All panics of this process since [`watch`], those that nobody caught included.
static COUNT: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Where the panic began that is unwinding this thread.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on counts every panic of this process and hands it to `tell`, which should log it.
///
/// Takes the place of the standard library's message on stderr.
pub fn watch(tell: impl Fn(&Panic) + Send + Sync + 'static) {
    std::panic::set_hook(Box::new(move |info| {
        let panic = Panic { message: message(info.payload()), place: Some(place(info)) };
        COUNT.fetch_add(1, Ordering::Relaxed);
        // Set before it is told: telling may itself fail.
        PLACE.set(panic.place.clone());
        tell(&panic);
    }));
}

/// How many panics there were since [`watch`].
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Runs `work`; a panic in it becomes an error.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| Panic::of(&*payload))
}

/// Runs `work`; a panic in it becomes an error, and what is left of it is dropped.
pub async fn catch_async<F: Future>(work: F) -> Result<F::Output, Panic> {
    let mut work = std::pin::pin!(work);
    std::future::poll_fn(move |context| match catch(|| work.as_mut().poll(context)) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

impl Panic {
    /// From what `catch_unwind` or a task's handle gives, on the thread that unwound.
    pub fn of(payload: &(dyn Any + Send)) -> Self {
        Self { message: message(payload), place: PLACE.take() }
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "panic at {place}: {}", self.message),
            None => write!(f, "panic: {}", self.message),
        }
    }
}

impl std::error::Error for Panic {}

fn message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it said nothing".to_owned())
}

fn place(info: &PanicHookInfo<'_>) -> String {
    info.location().map_or_else(|| "an unknown place".to_owned(), Location::to_string)
}

#[cfg(test)]
mod tests {
    use std::task::Context;

    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_words_and_the_rest_goes_on() {
        assert_eq!(catch(|| 1), Ok(1));
        let panic = catch(|| -> u8 { panic!("no {}", "more") }).expect_err("it panicked");
        assert_eq!(panic.message, "no more");
    }

    #[test]
    fn a_future_that_panics_after_it_was_polled_becomes_an_error() {
        let mut polls = 0;
        let work = std::future::poll_fn(|_| {
            polls += 1;
            assert!(polls < 2, "polled twice");
            Poll::<()>::Pending
        });
        let mut work = Box::pin(catch_async(work));
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(work.as_mut().poll(&mut context).is_pending());
        let Poll::Ready(Err(panic)) = work.as_mut().poll(&mut context) else { panic!("it goes on") };
        assert_eq!(panic.message, "polled twice");
    }

    #[test]
    fn watched_panics_are_counted_and_have_a_place() {
        let before = count();
        watch(|_| {});
        let panic = catch(|| -> () { panic!("here") }).expect_err("it panicked");
        let _ = std::panic::take_hook();
        assert!(count() > before);
        let place = panic.place.expect("a place");
        assert!(place.starts_with("crates/base/src/panics.rs:"), "{place}");
    }
}
