//! What has to change so that one ruleset becomes another: pure.

use std::collections::BTreeMap;

use super::ruleset::{Chain, Leads, Rule, Ruleset, Set, Value};

/// One step of a transaction; the order of the steps matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change<'a> {
    /// Makes a chain without rules.
    ChainAdd(&'a str, &'a Chain),
    /// Takes all rules out of a chain.
    ChainFlush(&'a str),
    /// Removes an empty chain that nothing leads to.
    ChainRemove(&'a str),
    /// Appends a rule to a chain.
    RuleAdd(&'a str, &'a Rule),
    /// Makes a set without elements.
    SetAdd(&'a str, &'a Set),
    /// Removes a set.
    SetRemove(&'a str),
    /// Adds elements to a set.
    ElementsAdd(&'a str, Vec<Element<'a>>),
    /// Takes elements out of a set.
    ElementsRemove(&'a str, Vec<Element<'a>>),
}

/// A key of a set and what it leads to.
pub(crate) type Element<'a> = (&'a [Value], &'a Leads);

/// The steps that make a whole ruleset in an empty table.
pub(crate) fn create(ruleset: &Ruleset) -> Vec<Change<'_>> {
    static EMPTY: Ruleset = Ruleset { chains: BTreeMap::new(), sets: BTreeMap::new() };
    difference(&EMPTY, ruleset)
}

/// The steps that turn `old` into `new`.
///
/// What is led to is made before what leads to it and removed after it; an element that leads
/// elsewhere now is taken out and added again, which the kernel does in one go.
pub(crate) fn difference<'a>(old: &'a Ruleset, new: &'a Ruleset) -> Vec<Change<'a>> {
    let mut changes = Vec::new();
    for (name, chain) in &new.chains {
        if !old.chains.contains_key(name) {
            changes.push(Change::ChainAdd(name, chain));
        }
    }
    for (name, set) in &new.sets {
        if !old.sets.contains_key(name) {
            changes.push(Change::SetAdd(name, set));
        }
    }
    for (name, set) in &old.sets {
        let Some(kept) = new.sets.get(name) else { continue };
        let removed = missing(set, Some(kept));
        if !removed.is_empty() {
            changes.push(Change::ElementsRemove(name, removed));
        }
    }
    for (name, set) in &new.sets {
        let added = missing(set, old.sets.get(name));
        if !added.is_empty() {
            changes.push(Change::ElementsAdd(name, added));
        }
    }
    for (name, chain) in &new.chains {
        let before = old.chains.get(name).map_or(&[][..], |before| &before.rules);
        if before == chain.rules {
            continue;
        }
        if !before.is_empty() {
            changes.push(Change::ChainFlush(name));
        }
        changes.extend(chain.rules.iter().map(|rule| Change::RuleAdd(name, rule)));
    }
    let gone = || old.chains.iter().filter(|(name, _)| !new.chains.contains_key(*name));
    changes.extend(
        gone().filter(|(_, chain)| !chain.rules.is_empty()).map(|(name, _)| Change::ChainFlush(name)),
    );
    changes.extend(
        old.sets.keys().filter(|name| !new.sets.contains_key(*name)).map(|name| Change::SetRemove(name)),
    );
    changes.extend(gone().map(|(name, _)| Change::ChainRemove(name)));
    changes
}

/// The elements of `set` that `other` does not have, or has leading elsewhere.
fn missing<'a>(set: &'a Set, other: Option<&Set>) -> Vec<Element<'a>> {
    set.elements
        .iter()
        .filter(|(key, leads)| other.and_then(|other| other.elements.get(*key)) != Some(leads))
        .map(|(key, leads)| (key.as_slice(), leads))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::{Content, Field, Statement, Target};

    fn ruleset(chains: &[(&str, usize)], elements: &[(u16, &str)]) -> Ruleset {
        let mut set = Set::new([Field::Port], Content::Chains);
        for (port, chain) in elements {
            set.elements.insert(vec![Value::Port(*port)], Leads::Chain((*chain).to_owned()));
        }
        let chain = |rules: &usize| Chain { hook: None, rules: vec![vec![Statement::Accept]; *rules] };
        Ruleset {
            chains: chains.iter().map(|(name, rules)| ((*name).to_owned(), chain(rules))).collect(),
            sets: [("ports".to_owned(), set)].into(),
        }
    }

    fn kinds(changes: &[Change<'_>]) -> Vec<String> {
        changes
            .iter()
            .map(|change| match change {
                Change::ChainAdd(name, _) => format!("+chain {name}"),
                Change::ChainFlush(name) => format!("flush {name}"),
                Change::ChainRemove(name) => format!("-chain {name}"),
                Change::RuleAdd(name, _) => format!("+rule {name}"),
                Change::SetAdd(name, _) => format!("+set {name}"),
                Change::SetRemove(name) => format!("-set {name}"),
                Change::ElementsAdd(name, elements) => format!("+{} {name}", elements.len()),
                Change::ElementsRemove(name, elements) => format!("-{} {name}", elements.len()),
            })
            .collect()
    }

    #[test]
    fn equal_rulesets_differ_in_nothing() {
        let one = ruleset(&[("a", 2)], &[(80, "a")]);
        assert!(difference(&one, &one.clone()).is_empty());
    }

    #[test]
    fn what_is_led_to_comes_before_and_goes_after_what_leads_to_it() {
        let old = ruleset(&[("a", 1)], &[(80, "a"), (81, "a"), (82, "a")]);
        let new = ruleset(&[("b", 1)], &[(80, "b"), (83, "b")]);
        assert_eq!(
            kinds(&difference(&old, &new)),
            ["+chain b", "-3 ports", "+2 ports", "+rule b", "flush a", "-chain a"]
        );
    }

    #[test]
    fn a_chain_with_other_rules_is_written_anew() {
        let old = ruleset(&[("a", 1)], &[]);
        let new = ruleset(&[("a", 2)], &[]);
        assert_eq!(kinds(&difference(&old, &new)), ["flush a", "+rule a", "+rule a"]);
    }

    #[test]
    fn everything_is_made_in_an_empty_table() {
        let new = ruleset(&[("a", 1)], &[(80, "a")]);
        assert_eq!(kinds(&create(&new)), ["+chain a", "+set ports", "+1 ports", "+rule a"]);
    }

    #[test]
    fn an_element_that_leads_elsewhere_is_replaced() {
        let with = |port| {
            let mut ruleset = ruleset(&[], &[]);
            let set = ruleset.sets.get_mut("ports").unwrap();
            let target = Target { address: [10u8, 0, 0, 2].into(), port };
            set.elements.insert(vec![Value::Port(80)], Leads::Target(target));
            ruleset
        };
        assert_eq!(kinds(&difference(&with(1), &with(2))), ["-1 ports", "+1 ports"]);
    }
}
