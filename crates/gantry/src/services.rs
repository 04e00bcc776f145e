//! The services of the daemon: each with an owner, an order and a grace time.
//!
//! Started in order, stopped in reverse. The first one to fail stops all; a signal does the same
//! without a failure. Nothing here knows what the services do.

use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

/// The running services, in the order in which they were started.
#[derive(Default)]
pub(crate) struct Services {
    running: Vec<Service>,
}

struct Service {
    name: &'static str,
    grace: Duration,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Services {
    /// Starts a service. It must return soon after the token that it gets is cancelled; after
    /// `grace` it is dropped where it stands. Returning earlier, with or without an error, stops
    /// all the others.
    pub(crate) fn start<F>(
        &mut self,
        name: &'static str,
        grace: Duration,
        service: impl FnOnce(CancellationToken) -> F,
    ) where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.start_on(&Handle::current(), name, grace, service);
    }

    /// As [`Services::start`], on another runtime.
    pub(crate) fn start_on<F>(
        &mut self,
        runtime: &Handle,
        name: &'static str,
        grace: Duration,
        service: impl FnOnce(CancellationToken) -> F,
    ) where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let task = runtime.spawn(service(stop.clone()));
        self.running.push(Service { name, grace, stop, task });
    }

    /// Waits for `signal` or for the first service to end, then stops all, last started first.
    ///
    /// The result is the failure that began it, if one did.
    pub(crate) async fn run_until(
        mut self,
        signal: impl Future<Output = &'static str>,
    ) -> anyhow::Result<()> {
        let failure = tokio::select! {
            name = signal => {
                info!(signal = name, "stopping");
                None
            }
            (index, outcome) = first_ended(&mut self.running) => {
                let service = self.running.remove(index);
                Some(match outcome {
                    Ok(Ok(())) => anyhow::anyhow!("the service `{}` ended by itself", service.name),
                    Ok(Err(error)) => error.context(format!("the service `{}` failed", service.name)),
                    Err(error) => anyhow::Error::new(error).context(format!("the service `{}` panicked", service.name)),
                })
            }
        };
        self.stop_all().await;
        failure.map_or(Ok(()), Err)
    }

    /// Stops all, last started first, each within its grace time.
    pub(crate) async fn stop_all(self) {
        for mut service in self.running.into_iter().rev() {
            service.stop.cancel();
            match tokio::time::timeout(service.grace, &mut service.task).await {
                Ok(ended) => {
                    if let Err(error) = ended.context("join").and_then(|result| result) {
                        error!(service = service.name, error = format!("{error:#}"), "stopped with an error");
                    }
                }
                Err(_) => {
                    warn!(service = service.name, grace = ?service.grace, "did not stop in time and was dropped");
                    service.task.abort();
                }
            }
        }
    }
}

type Ended = (usize, Result<anyhow::Result<()>, tokio::task::JoinError>);

/// The first service to end, by its place in the list.
async fn first_ended(running: &mut [Service]) -> Ended {
    if running.is_empty() {
        return std::future::pending().await;
    }
    let (outcome, index, _) =
        futures::future::select_all(running.iter_mut().map(|service| &mut service.task)).await;
    (index, outcome)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    fn until_stopped(services: &mut Services, name: &'static str, log: &Arc<Mutex<Vec<&'static str>>>) {
        let log = Arc::clone(log);
        services.start(name, GRACE, |stop| async move {
            stop.cancelled().await;
            log.lock().expect("no holder panics").push(name);
            Ok(())
        });
    }

    #[tokio::test(start_paused = true)]
    async fn a_signal_stops_all_last_started_first() {
        let (mut services, log) = (Services::default(), Arc::default());
        until_stopped(&mut services, "store", &log);
        until_stopped(&mut services, "api", &log);
        services.run_until(async { "SIGTERM" }).await.expect("a signal is no failure");
        assert_eq!(*log.lock().expect("no holder panics"), ["api", "store"]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_to_fail_stops_the_others_and_is_the_result() {
        let (mut services, log) = (Services::default(), Arc::default());
        until_stopped(&mut services, "store", &log);
        services.start("api", GRACE, |_| async { Err(anyhow::anyhow!("port taken")) });
        let error = services.run_until(std::future::pending()).await.expect_err("a failure");
        assert_eq!(format!("{error:#}"), "the service `api` failed: port taken");
        assert_eq!(*log.lock().expect("no holder panics"), ["store"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_hangs_is_dropped_after_its_grace_time() {
        let (mut services, log) = (Services::default(), Arc::default());
        until_stopped(&mut services, "store", &log);
        services.start("hangs", GRACE, |_| std::future::pending());
        services.run_until(async { "SIGTERM" }).await.expect("a signal is no failure");
        assert_eq!(*log.lock().expect("no holder panics"), ["store"]);
    }
}
