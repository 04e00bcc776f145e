//! Names of containers: what is allowed, and making one up.

use base::Random;

use crate::error::{Error, Result};

const ADJECTIVES: [&str; 48] = [
    "able", "airy", "amber", "azure", "bold", "brave", "brisk", "calm", "clever", "cosy", "crisp", "daring",
    "deft", "eager", "early", "fair", "fleet", "fond", "frank", "fresh", "gentle", "glad", "golden", "grand",
    "happy", "hardy", "jolly", "keen", "kind", "lively", "loyal", "lucid", "merry", "mild", "neat", "noble",
    "plucky", "proud", "quick", "quiet", "sharp", "silver", "steady", "sunny", "swift", "tidy", "warm",
    "witty",
];

const NOUNS: [&str; 48] = [
    "anchor", "barge", "beacon", "boom", "bosun", "bow", "bridge", "buoy", "cable", "capstan", "cargo",
    "chart", "clipper", "compass", "crane", "cutter", "deck", "dinghy", "dock", "ferry", "fleet", "galley",
    "gull", "harbour", "hawser", "helm", "hoist", "hull", "jetty", "keel", "ketch", "lagoon", "lantern",
    "mast", "mooring", "paddle", "pier", "pilot", "prow", "quay", "reef", "rudder", "sail", "sextant",
    "sloop", "tide", "tug", "wharf",
];

/// The name without its leading slash, if it may be one.
pub(super) fn check(name: &str) -> Result<&str> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let mut characters = bare.chars();
    let first = characters.next().is_some_and(|first| first.is_ascii_alphanumeric());
    let rest = characters.all(|next| next.is_ascii_alphanumeric() || matches!(next, '_' | '.' | '-'));
    if first && rest && bare.len() > 1 {
        return Ok(bare);
    }
    Err(Error::invalid(format!(
        "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    )))
}

/// A name that is free.
pub(super) fn make_up<T>(random: &dyn Random, claim: impl Fn(&str) -> Option<T>) -> (String, T) {
    loop {
        let number = random.next_u64();
        let pick = |words: &[&'static str], number: u64| words[(number % words.len() as u64) as usize];
        let name = format!("{}_{}", pick(&ADJECTIVES, number), pick(&NOUNS, number >> 16));
        if let Some(claimed) = claim(&name) {
            return (name, claimed);
        }
        let name = format!("{name}{}", (number >> 32) % 10_000);
        if let Some(claimed) = claim(&name) {
            return (name, claimed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_allowed() {
        assert_eq!(check("/web-1.a_b").expect("a good name"), "web-1.a_b");
        for bad in ["", "/", "a", "-web", "we b", "web/1", "wéb"] {
            assert!(check(bad).is_err(), "{bad} is no name");
        }
    }
}
