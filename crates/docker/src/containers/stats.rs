//! `GET /containers/{name}/stats`: what a container uses.

use std::time::Duration;

use bytes::Bytes;
use engine::container::{Stats, Status};
use engine::{ContainerId, Engine};
use futures::stream;
use tokio::time::{Instant, MissedTickBehavior};

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::convert::stats as convert;
use crate::fault::Fault;

/// Time between two samples.
const PERIOD: Duration = Duration::from_secs(1);

/// One sample a second, or one alone.
pub(crate) async fn stats(call: Call) -> Answer {
    let id = call.container()?;
    let container = call.engine().container_inspect(&id)?;
    let name = container.name.clone();
    let streaming = call.query.flag_or("stream", true);
    let engine = call.engine().clone();
    if streaming && call.query.flag("one-shot") {
        return Err(Fault::invalid("cannot have stream=true and one-shot=true"));
    }
    if !streaming && !matches!(container.state.status, Status::Running | Status::Paused) {
        // There is nothing to wait for.
        return answer::json(&convert::document(&name, &id, &Stats::default(), &Stats::default()));
    }
    if !streaming {
        let mut earlier = Stats::default();
        if !call.query.flag("one-shot") {
            // Use over time needs two samples.
            earlier = engine.container_stats(&id).await?;
            tokio::time::sleep(PERIOD).await;
        }
        let sample = engine.container_stats(&id).await?;
        return answer::json(&convert::document(&name, &id, &sample, &earlier));
    }
    let mut ticks = tokio::time::interval_at(Instant::now(), PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let samples = stream::unfold((ticks, Stats::default()), move |(mut ticks, earlier)| {
        let (engine, id, name) = (engine.clone(), id.clone(), name.clone());
        async move {
            ticks.tick().await;
            // The stream ends with the container.
            let (line, sample) = sample(&engine, &id, &name, &earlier).await?;
            Some((Ok(line), (ticks, sample)))
        }
    });
    answer::endless("application/json", samples, call.api.closing.clone())
}

async fn sample(engine: &Engine, id: &ContainerId, name: &str, earlier: &Stats) -> Option<(Bytes, Stats)> {
    let sample = engine.container_stats(id).await.ok()?;
    let document = convert::document(name, id, &sample, earlier);
    let mut line = serde_json::to_vec(&document).ok()?;
    line.push(b'\n');
    Some((line.into(), sample))
}
