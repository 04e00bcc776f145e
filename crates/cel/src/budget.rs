//! What an evaluation may cost, in Kubernetes' units and in work.
//!
//! Kubernetes counts cost by what an expression says and by the sizes of values, and cancels what exceeds its
//! limit. Some of what can be said costs little there and yet takes long or much memory: comparing lists of lists of
//! lists, formatting the same text a thousand times, compiling patterns that are made while evaluating. That is
//! counted as *work*, of which there is so much that nothing ordinary comes near it.

use crate::value::EvalError;

/// What one evaluation of an expression may cost in Kubernetes.
pub const PER_CALL_LIMIT: u64 = 1_000_000;

/// How much work one evaluation may be: about a byte made or a value looked at for each.
pub const MOST_WORK: u64 = 50_000_000;

/// What is left of what an evaluation may cost.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    cost: u64,
    work_left: u64,
}

impl Budget {
    /// As much as this, in units of cost.
    pub fn new(limit: u64) -> Self {
        Self::going_on(limit, MOST_WORK)
    }

    /// As much as this, in units of cost, where only so much work is left: for expressions that share what they may
    /// take, each of which goes on with the [`work_left`](Self::work_left) by the one before.
    pub fn going_on(limit: u64, work: u64) -> Self {
        Self { limit, cost: 0, work_left: work }
    }

    /// Does work for whoever makes something of what was evaluated.
    pub fn take(&mut self, amount: usize) -> Result<(), EvalError> {
        self.work(amount)
    }

    /// How much work may still be done.
    pub fn work_left(&self) -> u64 {
        self.work_left
    }

    /// What was spent.
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// Spends cost.
    #[inline]
    pub(crate) fn spend(&mut self, cost: u64) -> Result<(), EvalError> {
        self.cost = self.cost.saturating_add(cost);
        if self.cost > self.limit { Err(EvalError::Cancelled) } else { Ok(()) }
    }

    /// Whether so much more would be too much: asked before what is paid afterwards.
    pub(crate) fn affords(&self, cost: u64) -> Result<(), EvalError> {
        if self.cost.saturating_add(cost) > self.limit { Err(EvalError::Cancelled) } else { Ok(()) }
    }

    /// Does work.
    #[inline]
    pub(crate) fn work(&mut self, amount: usize) -> Result<(), EvalError> {
        let left = self.work_left.checked_sub(amount as u64);
        // Who has asked for too much gets nothing more.
        self.work_left = left.unwrap_or_default();
        left.map_or(Err(EvalError::Cancelled), |_| Ok(()))
    }
}
