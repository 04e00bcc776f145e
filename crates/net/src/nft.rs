//! nftables: a ruleset as plain values, its text, its difference to another, and the kernel's own form of it.
//!
//! Only what this crate's planners need exists here. An instance has a table of
//! the family `inet` and one of the family `ip`, both with its name. In tables of others only [`pass`]
//! writes, and only rules of our own.

mod attribute;
mod diff;
mod encode;
mod expression;
mod foreign;
mod held;
mod listing;
mod pass;
mod ruleset;
mod table;
mod text;

use crate::netlink::Reply;

pub(crate) use foreign::{ForeignChain, Stop};
pub(crate) use ruleset::{
    Chain, Content, Field, Hook, HookType, IpFamily, Leads, Point, Rule, Ruleset, Rulesets, Set, Statement,
    Target, Value, rule,
};
pub(crate) use table::{Disturbance, Table, TableEvents};

/// Reads a reply as one about chains and rules of others.
pub(crate) fn fuzz(reply: &Reply) {
    foreign::fuzz(reply);
    pass::fuzz(&reply.payload);
    held::fuzz(reply);
}
