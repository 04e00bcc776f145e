//! Layers on top of others, and those between two: nothing is copied where it need not be.

use image::Layer;
use llb::pb::{DiffOp, MergeOp};

use super::schedule::{Done, Step};
use super::value::{self, Chain, Value};
use super::{SolveError, blocking};

/// Puts the layers of each input on top of those before.
pub(crate) async fn merge(step: &Step<'_>, merge: &MergeOp) -> Result<Done, SolveError> {
    let mut chains = Vec::new();
    for input in &merge.inputs {
        chains.push(value::chain(step.job, &step.input(input.input)?).await?);
    }
    let (store, cancel) = (step.job.inner.solver.inner.store.clone(), step.job.inner.cancel.clone());
    let merged = blocking(move || {
        let mut chains = chains.into_iter().filter(|chain| chain.top().is_some());
        let mut merged = chains.next().unwrap_or_default();
        for chain in chains {
            for layer in chain.top().map(|top| store.layer_chain(top)).unwrap_or_default() {
                merged = Chain::new(Some(store.layer_stack_on(merged.top(), &layer, &cancel)?));
            }
        }
        Ok::<_, SolveError>(merged)
    })
    .await?;
    Ok(Done { outputs: vec![Value::Chain(merged)], cached: false })
}

/// The layers that one has and the other, on which it stands, does not.
pub(crate) async fn diff(step: &Step<'_>, diff: &DiffOp) -> Result<Done, SolveError> {
    let of = |number: Option<i64>| step.input(number.unwrap_or(llb::EMPTY));
    let lower = value::chain(step.job, &of(diff.lower.as_ref().map(|side| side.input))?).await?;
    let upper = value::chain(step.job, &of(diff.upper.as_ref().map(|side| side.input))?).await?;
    let (store, cancel) = (step.job.inner.solver.inner.store.clone(), step.job.inner.cancel.clone());
    let between = blocking(move || {
        let layers = |chain: &Chain| chain.top().map(|top| store.layer_chain(top)).unwrap_or_default();
        let (below, above) = (layers(&lower), layers(&upper));
        let stands_on = below.len() <= above.len()
            && below.iter().zip(&above).all(|(lower, upper)| lower.chain_id() == upper.chain_id());
        if !stands_on {
            return Err(SolveError::Unsupported(
                "the difference of two results that do not stand on each other is not supported".to_owned(),
            ));
        }
        let mut between: Option<Layer> = None;
        for layer in &above[below.len()..] {
            between = Some(store.layer_stack_on(between.as_ref(), layer, &cancel)?);
        }
        Ok(Chain::new(between))
    })
    .await?;
    Ok(Done { outputs: vec![Value::Chain(between)], cached: false })
}
