//! Layers on top of others, and those between two: nothing is copied where it need not be.

mod between;

use base::cancel::Cancel;
use image::Layer;
use llb::pb::{DiffOp, MergeOp};

use super::SolveError;
use super::key::Key;
use super::schedule::{Done, Step};
use super::usage::{self, Made};
use super::value::{self, Chain, Value};

/// Puts the layers of each input on top of those before.
pub(crate) async fn merge(step: &Step<'_>, merge: &MergeOp) -> Result<Done, SolveError> {
    let mut chains = Vec::new();
    for input in &merge.inputs {
        chains.push(value::chain(step.job, &step.input(input.input)?).await?);
    }
    let mut chains = chains.into_iter().filter(|chain| chain.top().is_some());
    let mut merged = chains.next().unwrap_or_default();
    for chain in chains {
        for layer in layers(step, &chain).await {
            merged = put_on(step, merged, layer).await?;
        }
    }
    Ok(Done { outputs: vec![Value::Chain(merged)], cached: false })
}

/// The layers that one has and the other, on which it stands, does not.
pub(crate) async fn diff(step: &Step<'_>, diff: &DiffOp) -> Result<Done, SolveError> {
    let of = |number: Option<i64>| step.input(number.unwrap_or(llb::EMPTY));
    let lower = value::chain(step.job, &of(diff.lower.as_ref().map(|side| side.input))?).await?;
    let upper = value::chain(step.job, &of(diff.upper.as_ref().map(|side| side.input))?).await?;
    let (below, above) = (layers(step, &lower).await, layers(step, &upper).await);
    let stands_on = below.len() <= above.len()
        && below.iter().zip(&above).all(|(lower, upper)| lower.chain_id() == upper.chain_id());
    if !stands_on {
        return unrelated(step, lower, upper).await;
    }
    let mut between = Chain::default();
    for layer in above.into_iter().skip(below.len()) {
        between = put_on(step, between, layer).await?;
    }
    Ok(Done { outputs: vec![Value::Chain(between)], cached: false })
}

/// What makes one result of another that does not stand on it: a layer of its own.
async fn unrelated(step: &Step<'_>, lower: Chain, upper: Chain) -> Result<Done, SolveError> {
    let mut key = Key::new("diff");
    for side in [&lower, &upper] {
        key.add(side.chain_id().map(ToString::to_string).unwrap_or_default());
    }
    usage::once(step, key.finish(), "regular", || async {
        let tree = async |side: &Chain| value::tree(step.job, &Value::Chain(side.clone())).await;
        let (from, to) = (tree(&lower).await?, tree(&upper).await?);
        let below = lower.clone();
        let changed =
            value::layer_on(step.job, below, move |target| between::make(&from.tree, &to.tree, target));
        let changed = changed.await?;
        let is_other = changed.chain_id() != lower.chain_id();
        let output = match layers(step, &changed).await.pop().filter(|_| is_other) {
            Some(layer) => put_on(step, Chain::default(), layer).await?,
            None => Chain::default(),
        };
        Ok(Made { outputs: vec![output] })
    })
    .await
}

async fn layers(step: &Step<'_>, chain: &Chain) -> Vec<Layer> {
    let (store, chain) = (step.job.inner.solver.inner.store.clone(), chain.clone());
    step.job.blocking(move || chain.top().map(|top| store.layer_chain(top)).unwrap_or_default()).await
}

/// Puts a layer on others: once, if several want the same, and no longer than somebody wants it.
async fn put_on(step: &Step<'_>, below: Chain, layer: Layer) -> Result<Chain, SolveError> {
    let inner = &step.job.inner.solver.inner;
    let mut key = Key::new("stack");
    key.add(below.chain_id().map(ToString::to_string).unwrap_or_default());
    key.add(layer.diff_id().to_string());
    let _flight = inner.flights.begin(&key.finish(), |_| {}).await;
    let (store, cancel) = (inner.store.clone(), Cancel::default());
    let _wanted = cancel.on_drop();
    step.job.blocking(move || Ok(Chain::new(Some(store.layer_stack_on(below.top(), &layer, &cancel)?)))).await
}
