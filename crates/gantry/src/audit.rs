//! The audit log of the Kubernetes API: what a policy has noted, and all who are given it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use apiserver::audit::{Audit, Backend, Event, Policy};
use apiserver::outside::Outside as _;
use base::{Clock, Random};
use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use metrics::{Counter, Kind};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::config::Config;
use crate::plugs::OverHttps;
use crate::{audit_log, audit_webhook};

/// It is told no more often that events are lost.
const QUIET: Duration = Duration::from_secs(60);

/// Whether requests wait until their events are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They do, and go on if they cannot be.
    Blocking,
    /// They do, and are refused if they cannot be.
    BlockingStrict,
    /// They do not.
    Batch,
}

/// How many events one of those is not given who are to have them.
pub(crate) struct Losses {
    counter: Arc<Counter>,
    clock: Arc<dyn Clock>,
    /// When it may be told again, in milliseconds of the steady clock.
    quiet_until: AtomicU64,
}

/// Everybody is given each event.
struct All(Vec<Arc<dyn Backend>>);

/// Whoever keeps events, as long as they come.
type Keeping = BoxFuture<'static, ()>;

/// What is noted, and those who keep it, until the token is cancelled.
pub(crate) struct Opened {
    pub(crate) audit: Arc<Audit>,
    pub(crate) keeping: Keeping,
    pub(crate) stop: CancellationToken,
}

/// Opens what a policy and a place are given for.
pub(crate) async fn open(
    config: &Config,
    clock: &Arc<dyn Clock>,
    random: &Arc<dyn Random>,
    metrics: &metrics::Registry,
) -> anyhow::Result<Option<Opened>> {
    let (log, webhook) = (config.audit_log.clone(), config.audit_webhook.clone());
    let Some(path) = config.audit_policy.clone() else {
        if log.is_some() || webhook.is_some() {
            info!("no audit-policy-file is given: nothing is noted in the audit log");
        }
        return Ok(None);
    };
    let (clock, random, metrics) = (Arc::clone(clock), Arc::clone(random), metrics.clone());
    let open = move || {
        let loading = || format!("loading audit policy file: from file {}", path.display());
        let text = std::fs::read_to_string(&path).with_context(loading)?;
        let (policy, odd) = Policy::parse(&text).with_context(loading)?;
        for odd in odd {
            tracing::warn!(policy = %path.display(), odd, "the audit policy has what is not known; it does nothing");
        }
        let stop = CancellationToken::new();
        let (mut backends, mut keeping): (Vec<Arc<dyn Backend>>, Vec<Keeping>) = Default::default();
        if let Some(options) = &log {
            let losses = Losses::new("log", &clock, &metrics);
            let opened = audit_log::open(options, Arc::clone(&clock), losses);
            let (log, writer) = opened.context("open the audit log that audit-log-path names")?;
            backends.push(Arc::new(log));
            keeping.push(writer.run(stop.clone()).boxed());
        }
        if let Some(options) = webhook {
            let peer = OverHttps.of_kubeconfig(&options.kubeconfig).map_err(anyhow::Error::msg);
            let (url, peer) = peer.context("initializing audit webhook")?;
            let losses = Losses::new("webhook", &clock, &metrics);
            let (webhook, sender) = audit_webhook::open(options, url, peer, losses, random);
            backends.push(Arc::new(webhook));
            keeping.push(sender.run(stop.clone()).boxed());
        }
        if backends.is_empty() {
            info!(
                "neither audit-log-path nor audit-webhook-config-file is given: the audit policy is for nothing"
            );
            return Ok(None);
        }
        let audit = Arc::new(Audit::new(policy, Arc::new(All(backends))));
        Ok(Some(Opened { audit, keeping: join_all(keeping).map(drop).boxed(), stop }))
    };
    offload::Threads::new(1).run(open).await
}

impl Backend for All {
    fn process(&self, event: Event) -> BoxFuture<'static, bool> {
        match self.0.as_slice() {
            [one] => one.process(event),
            several => {
                all_keep(several.iter().map(|backend| backend.process(event.clone())).collect()).boxed()
            }
        }
    }
}

/// Whether all of those keep an event who must; all have been waited for.
async fn all_keep(kept: Vec<BoxFuture<'static, bool>>) -> bool {
    join_all(kept).await.into_iter().all(|kept| kept)
}

impl Losses {
    /// Those of the one who has this name in Kubernetes.
    pub(crate) fn new(
        plugin: &'static str,
        clock: &Arc<dyn Clock>,
        metrics: &metrics::Registry,
    ) -> Arc<Self> {
        let counter = Arc::new(Counter::default());
        metrics.add(Arc::new({
            let counter = counter.clone();
            move |text: &mut metrics::Text| {
                let help = "[ALPHA] Counter of audit events that failed to be audited properly. Plugin identifies the \
                            plugin affected by the error.";
                let block = text.block("apiserver_audit_error_total", Kind::Counter, help);
                block.value(&[("plugin", plugin)], counter.get());
            }
        }));
        Arc::new(Self { counter, clock: Arc::clone(clock), quiet_until: AtomicU64::new(0) })
    }

    /// So many events are lost.
    pub(crate) fn count(&self, events: usize) {
        self.counter.add(events as u64);
    }

    /// How many are lost by now.
    pub(crate) fn get(&self) -> u64 {
        self.counter.get()
    }

    /// So many are lost for this reason, which is told now and then: some may be lost and others not.
    pub(crate) fn tell(&self, events: usize, why: &dyn std::fmt::Display) {
        self.count(events);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let (now, until) = (self.clock.elapsed(), self.quiet_until.load(Ordering::Relaxed));
        let next = millis(now.saturating_add(QUIET));
        // Of several at once one tells.
        let tells = || self.quiet_until.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed);
        if millis(now) >= until && tells().is_ok() {
            tracing::error!(error = %why, lost = self.get(), "audit events are lost");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_that_must_keep_an_event_is_enough_to_refuse_and_all_are_waited_for() {
        let kept = Arc::new(Counter::default());
        let keep = |is_kept: bool| {
            let kept = kept.clone();
            async move {
                tokio::task::yield_now().await;
                kept.increment();
                is_kept
            }
            .boxed()
        };
        assert!(!all_keep(vec![keep(true), keep(false), keep(true)]).await);
        assert!(all_keep(vec![keep(true), keep(true)]).await);
        assert_eq!(kept.get(), 5);
    }

    #[test]
    fn losses_are_counted_by_who_loses_them() {
        let metrics = metrics::Registry::default();
        let clock: Arc<dyn Clock> = Arc::new(base::SystemClock::new());
        let all = ["log", "webhook"].map(|plugin| Losses::new(plugin, &clock, &metrics));
        all[1].tell(400, &"nobody answers");
        all[1].tell(1, &"nobody answers");
        all[0].count(2);
        let text = metrics.text();
        for (plugin, count) in [("log", 2), ("webhook", 401)] {
            let line = format!("apiserver_audit_error_total{{plugin=\"{plugin}\"}} {count}");
            assert!(text.lines().any(|told| told == line), "{line}: {text}");
        }
        assert_eq!(text.matches("# TYPE").count(), 1, "{text}");
    }
}
