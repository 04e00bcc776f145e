//! Work that blocks where it must not: in asynchronous code, whose threads everybody shares.
//!
//! Each source file is read as syntax. A function blocks if it calls one of what is known to block
//! ([`known`]), or one of the house that does, wherever the name leaves no doubt which is meant. To
//! call such a one from an `async` function or block is a complaint, unless it is given to one of
//! [`THREADS`], which run it where it may block.
//!
//! Nor does anybody but [`OWNER`] take a thread of the runtime: all of them have a bound there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;

mod known;
mod read;

use read::{Callee, Function};

/// What runs a closure where it may block.
const THREADS: &[&str] = &[
    "blocking",
    "for_later",
    "foreign",
    "in_place",
    "block_in_place",
    "layer_on",
    "look_into",
    "measure",
    "on_disk",
    "quick",
    "removal",
    "weigh",
    "run",
    "spawn",
    "spawn_blocking",
    "spawn_blocking_on",
    "upload",
    "upload_written",
];

/// What takes a thread of the runtime, of which there are so many.
const BARE: &[&str] = &["spawn_blocking", "spawn_blocking_on", "block_in_place"];

/// The crate that takes them for all others.
const OWNER: &str = "offload";

/// Crates whose code runs in programs of its own, without a runtime, and those that only tests use.
const ELSEWHERE: &[&str] = &["runtime", "testkit"];

/// Names of methods that types of many kinds have.
const COMMON: &[&str] = &[
    "acquire", "append", "apply", "clear", "close", "contains", "drain", "entries", "entry", "events",
    "extend", "fill", "find", "flush", "get", "insert", "iter", "kill", "len", "list", "load", "lock", "map",
    "new", "next", "open", "parent", "pop", "push", "read", "remove", "replace", "retain", "run", "send",
    "start", "stop", "take", "wait", "write",
];

/// Complains about asynchronous code that blocks.
pub(super) fn check(root: &Path, tracked: &[String]) -> anyhow::Result<Vec<String>> {
    let mut functions = Vec::new();
    for path in tracked.iter().filter(|path| is_read(path)) {
        let text = std::fs::read_to_string(root.join(path)).with_context(|| format!("read {path}"))?;
        functions.extend(read::functions(path, &text).with_context(|| format!("parse {path}"))?);
    }
    Ok(complaints(&functions))
}

fn is_read(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(parts[..], ["crates", krate, "src", ..] if !ELSEWHERE.contains(&krate))
        && path.ends_with(".rs")
        && !path.ends_with("tests.rs")
        && !path.contains("/tests/")
        && !path.contains("/bin/")
}

fn complaints(functions: &[Function]) -> Vec<String> {
    let house = House::new(functions);
    let mut complaints: BTreeSet<(String, usize, String)> = BTreeSet::new();
    for function in functions {
        for call in function.calls.iter().chain(&function.awaited) {
            if function.krate != OWNER && BARE.contains(&call.callee.name()) {
                let why = format!("`{}` takes a thread without a bound of its own", call.callee.name());
                complaints.insert((function.path.clone(), call.line, why));
            }
        }
        for call in &function.awaited {
            let why = match &call.callee {
                Callee::Blocks(what) => format!("`{what}` blocks"),
                callee => match house.blocking(function, callee) {
                    Some(found) => format!("`{}` blocks ({})", found.name, house.why(found)),
                    None => continue,
                },
            };
            complaints.insert((function.path.clone(), call.line, why));
        }
    }
    complaints
        .into_iter()
        .map(|(path, line, why)| format!("{path}:{line}: {why}: give it to a thread of `{OWNER}`"))
        .collect()
}

/// All functions, and which of them block.
struct House<'a> {
    functions: &'a [Function],
    by_name: BTreeMap<&'a str, Vec<usize>>,
    /// By function: why it blocks.
    blocks: BTreeMap<usize, String>,
}

impl<'a> House<'a> {
    fn new(functions: &'a [Function]) -> Self {
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (number, function) in functions.iter().enumerate() {
            by_name.entry(&function.name).or_default().push(number);
        }
        let mut house = Self { functions, by_name, blocks: BTreeMap::new() };
        // Until nothing is found any more: a function blocks if what it calls does.
        loop {
            let mut found = Vec::new();
            for (number, function) in functions.iter().enumerate() {
                if function.is_async || house.blocks.contains_key(&number) {
                    continue;
                }
                let why = function.calls.iter().find_map(|call| match &call.callee {
                    Callee::Blocks(what) => Some(format!("`{what}`, {}:{}", function.path, call.line)),
                    callee => house
                        .blocking(function, callee)
                        .map(|inner| format!("`{}`: {}", inner.name, house.why(inner))),
                });
                found.extend(why.map(|why| (number, why)));
            }
            if found.is_empty() {
                return house;
            }
            house.blocks.extend(found);
        }
    }

    fn why(&self, function: &Function) -> &str {
        let number = self.functions.iter().position(|other| std::ptr::eq(other, function));
        number.and_then(|number| self.blocks.get(&number)).map_or("", String::as_str)
    }

    /// The function that `callee` means in `caller`, if that one blocks without a doubt.
    fn blocking(&self, caller: &Function, callee: &Callee) -> Option<&'a Function> {
        let candidates: Vec<usize> = match callee {
            Callee::Blocks(_) => return None,
            Callee::Path { krate, qualifier, name } => {
                let krate = krate.as_ref().unwrap_or(&caller.krate);
                let meant = |function: &Function| {
                    function.krate == *krate
                        && match qualifier.as_deref() {
                            None => function.path == caller.path && function.owner.is_none(),
                            Some("self" | "super" | "crate") => function.owner.is_none(),
                            Some("Self") => function.owner == caller.owner && function.path == caller.path,
                            Some(qualifier) => {
                                function.module == qualifier || function.owner.as_deref() == Some(qualifier)
                            }
                        }
                };
                self.named(name).filter(|number| meant(&self.functions[*number])).collect()
            }
            Callee::Method(name) if COMMON.contains(&name.as_str()) => return None,
            Callee::Method(name) => {
                // What wraps another crate's method of the same name does not call itself.
                let methods = || {
                    self.named(name).filter(|number| {
                        let function = &self.functions[*number];
                        function.owner.is_some() && !std::ptr::eq(function, caller)
                    })
                };
                let own: Vec<usize> =
                    methods().filter(|number| self.functions[*number].krate == caller.krate).collect();
                let public = methods().filter(|number| self.functions[*number].is_public);
                if own.is_empty() { public.collect() } else { own }
            }
        };
        let all = !candidates.is_empty() && candidates.iter().all(|number| self.blocks.contains_key(number));
        all.then(|| &self.functions[candidates[0]])
    }

    fn named(&self, name: &str) -> impl Iterator<Item = usize> {
        self.by_name.get(name).cloned().unwrap_or_default().into_iter()
    }
}

#[cfg(test)]
mod tests;
