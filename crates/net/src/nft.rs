//! nftables: a ruleset as plain values, its text, its difference to another, and the kernel's own form of it.
//!
//! Only what this crate's planners need exists here. A ruleset is one table of the `ip` family. In
//! tables of others only [`pass`] writes, and only rules of our own.

mod attribute;
mod diff;
mod encode;
mod expression;
mod foreign;
mod listing;
mod pass;
mod ruleset;
mod table;
mod text;

pub(crate) use foreign::{ForeignChain, Stop};
pub(crate) use ruleset::{
    Chain, Content, Field, Hook, HookType, Leads, Point, Rule, Ruleset, Set, Statement, Target, Value, rule,
};
pub(crate) use table::{Disturbance, Table, TableEvents};
