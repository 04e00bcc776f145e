//! What sources a build may have, and which it gets in the place of others: rules that its client or its front end
//! gives.

use std::collections::{BTreeMap, HashMap};

use llb::pb::SourceOp;
use parking_lot::Mutex;
use regex::{Regex, RegexBuilder};

use super::SolveError;

/// How often one source may be put in the place of another.
const CHANGES_MAX: usize = 20;
/// Rules of one build, and bytes of one pattern.
const RULES_MAX: usize = 10_000;
const PATTERN_MAX: usize = 4 << 10;
/// What a pattern may take when it is compiled.
const COMPILED_MAX: usize = 1 << 20;
/// The longest name that a rule may make.
const NAME_MAX: usize = 64 << 10;

/// Rules. Of those that allow or deny, the last that fits a source counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourcePolicy {
    /// In their order.
    pub rules: Vec<SourceRule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRule {
    /// What it does to the sources that it fits.
    pub action: SourceAction,
    /// Which it fits, by what they are called (`docker-image://docker.io/library/alpine:latest`).
    pub pattern: String,
    /// How the pattern is meant.
    pub matching: Matching,
    /// What has to be said of a source besides.
    pub attributes: Vec<AttributeRule>,
}

/// What is done to a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceAction {
    /// It may be used.
    Allow,
    /// It may not.
    Deny,
    /// Another is used in its place.
    Convert {
        /// What that is called, with `${1}` for a part of the name that the pattern found; the pattern itself if empty.
        name: String,
        /// What is said of it besides.
        attributes: BTreeMap<String, String>,
    },
}

/// How a pattern is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Matching {
    /// `*` stands for anything.
    Wildcard,
    /// It is the name.
    Exact,
    /// It is a regular expression, which has to be found in the name.
    Regex,
}

/// What has to be said of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeRule {
    /// Of which attribute.
    pub key: String,
    /// What.
    pub value: String,
    /// And how.
    pub condition: AttributeMatch,
}

/// How an attribute is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttributeMatch {
    /// It is that.
    Equal,
    /// It is something else, or there is none.
    NotEqual,
    /// A regular expression is found in it.
    Matches,
}

/// Policies that are applied, with what was compiled of them.
#[derive(Debug, Default)]
pub struct Policies {
    policies: Vec<SourcePolicy>,
    compiled: Mutex<HashMap<String, Regex>>,
}

impl Policies {
    /// Checks policies: what a rule says that cannot be is known before anything is built.
    pub fn new(policies: Vec<SourcePolicy>) -> Result<Self, SolveError> {
        let policies = Self { policies, compiled: Mutex::default() };
        let rules = || policies.policies.iter().flat_map(|policy| &policy.rules);
        if rules().count() > RULES_MAX {
            return Err(SolveError::Invalid(format!("source policies have at most {RULES_MAX} rules")));
        }
        for rule in rules() {
            if rule.matching != Matching::Exact {
                policies.pattern(rule)?;
            }
            for attribute in &rule.attributes {
                if attribute.condition == AttributeMatch::Matches {
                    policies.regex(&attribute.value)?;
                }
            }
        }
        Ok(policies)
    }

    /// These after others.
    pub(crate) fn after(&self, mut others: Vec<SourcePolicy>) -> Result<Self, SolveError> {
        others.extend(self.policies.iter().cloned());
        Self::new(others)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.policies.iter().all(|policy| policy.rules.is_empty())
    }

    /// Makes of a source what the rules say; tells whether it is another now. Fails if it may not be used.
    pub(crate) fn apply(&self, source: &mut SourceOp) -> Result<bool, SolveError> {
        if self.is_empty() {
            return Ok(false);
        }
        let mut named = source.clone();
        named.identifier = canonical(&named.identifier);
        let mut is_changed = false;
        for _ in 0..=CHANGES_MAX {
            if !self.apply_once(&mut named)? {
                // What no rule changes stays as it was written, or clients would not know it again.
                if is_changed {
                    *source = named;
                }
                return Ok(is_changed);
            }
            is_changed = true;
        }
        Err(SolveError::Invalid("too many mutations on a single source: too many operations".to_owned()))
    }

    fn apply_once(&self, source: &mut SourceOp) -> Result<bool, SolveError> {
        for policy in &self.policies {
            let mut is_denied = false;
            for rule in &policy.rules {
                if !self.fits(rule, source)? {
                    continue;
                }
                match &rule.action {
                    SourceAction::Allow => is_denied = false,
                    SourceAction::Deny => is_denied = true,
                    SourceAction::Convert { name, attributes } => {
                        if self.convert(rule, name, attributes, source)? {
                            return Ok(true);
                        }
                    }
                }
            }
            if is_denied {
                let name = &source.identifier;
                return Err(SolveError::SourceDenied(format!(
                    "source {name:?} denied by policy: source denied by policy"
                )));
            }
        }
        Ok(false)
    }

    fn fits(&self, rule: &SourceRule, source: &SourceOp) -> Result<bool, SolveError> {
        for wanted in &rule.attributes {
            let value = source.attrs.get(&wanted.key).map(String::as_str).unwrap_or_default();
            let fits = match wanted.condition {
                AttributeMatch::Equal => value == wanted.value,
                AttributeMatch::NotEqual => value != wanted.value,
                AttributeMatch::Matches => self.regex(&wanted.value)?.is_match(value),
            };
            if !fits {
                return Ok(false);
            }
        }
        if rule.pattern == source.identifier {
            return Ok(true);
        }
        match rule.matching {
            Matching::Exact => Ok(false),
            Matching::Wildcard | Matching::Regex => Ok(self.pattern(rule)?.is_match(&source.identifier)),
        }
    }

    fn convert(
        &self,
        rule: &SourceRule,
        name: &str,
        attributes: &BTreeMap<String, String>,
        source: &mut SourceOp,
    ) -> Result<bool, SolveError> {
        let wanted = if name.is_empty() { &rule.pattern } else { name };
        let was = &source.identifier;
        let name = match rule.matching {
            Matching::Exact => wanted.to_owned(),
            Matching::Regex => {
                let pattern = self.pattern(rule)?;
                let longest = wanted.len().saturating_add(was.len()).saturating_mul(
                    pattern.find_iter(was).count().saturating_mul(1 + wanted.matches('$').count()).max(1),
                );
                if longest > NAME_MAX {
                    return Err(too_long());
                }
                pattern.replace_all(was, wanted).into_owned()
            }
            Matching::Wildcard => match self.pattern(rule)?.captures(was) {
                None => was.clone(),
                Some(_) if was.len().saturating_mul(1 + wanted.matches('$').count()) > NAME_MAX => {
                    return Err(too_long());
                }
                Some(found) => {
                    let mut name = String::new();
                    found.expand(wanted, &mut name);
                    name
                }
            },
        };
        let mut is_changed = false;
        if !name.is_empty() && name != source.identifier {
            (source.identifier, is_changed) = (name, true);
        }
        for (key, value) in attributes {
            if source.attrs.get(key) != Some(value) {
                source.attrs.insert(key.clone(), value.clone());
                is_changed = true;
            }
        }
        Ok(is_changed)
    }

    fn pattern(&self, rule: &SourceRule) -> Result<Regex, SolveError> {
        if rule.matching == Matching::Regex {
            return self.regex(&rule.pattern);
        }
        if rule.pattern.contains("**") {
            let pattern = &rule.pattern;
            return Err(SolveError::Invalid(format!(
                "error matching source policy: failed to translate wildcard {pattern:?} to regexp: invalid wildcard: \"**\""
            )));
        }
        let parts: Vec<String> = rule.pattern.split('*').map(regex::escape).collect();
        self.regex(&format!("^{}$", parts.join("(.*)")))
    }

    fn regex(&self, pattern: &str) -> Result<Regex, SolveError> {
        if let Some(known) = self.compiled.lock().get(pattern) {
            return Ok(known.clone());
        }
        let failed = |why: &dyn std::fmt::Display| {
            SolveError::Invalid(format!("error matching source policy: invalid regex {pattern:?}: {why}"))
        };
        if pattern.len() > PATTERN_MAX {
            let problem = format!("a pattern of a source policy has at most {PATTERN_MAX} bytes");
            return Err(SolveError::Invalid(problem));
        }
        let compiled =
            RegexBuilder::new(pattern).size_limit(COMPILED_MAX).dfa_size_limit(COMPILED_MAX).build();
        let compiled = compiled.map_err(|error| failed(&error))?;
        self.compiled.lock().insert(pattern.to_owned(), compiled.clone());
        Ok(compiled)
    }
}

fn too_long() -> SolveError {
    SolveError::Invalid(format!("a source policy makes a name of more than {NAME_MAX} bytes"))
}

/// A source's name as rules mean it: images in full, the directory of a repository without ways around.
fn canonical(identifier: &str) -> String {
    if let Some(name) = identifier.strip_prefix("docker-image://")
        && let Ok(reference) = oci::Reference::parse(name)
    {
        let reference = if reference.digest().is_some() { reference } else { reference.with_default_tag() };
        return format!("docker-image://{reference}");
    }
    if identifier.starts_with("git://")
        && let Some((address, fragment)) = identifier.split_once('#')
        && let Some((reference, directory)) = fragment.split_once(':')
    {
        let directory = crate::ignore::clean(directory);
        let directory = directory.trim_start_matches('/');
        return match directory {
            "" => format!("{address}#{reference}"),
            directory => format!("{address}#{reference}:{directory}"),
        };
    }
    identifier.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(action: SourceAction, matching: Matching, pattern: &str) -> SourceRule {
        SourceRule { action, pattern: pattern.to_owned(), matching, attributes: Vec::new() }
    }

    fn convert(name: &str, attributes: &[(&str, &str)]) -> SourceAction {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        SourceAction::Convert { name: name.to_owned(), attributes: attributes.collect() }
    }

    fn apply(rules: Vec<SourceRule>, source: &str) -> Result<SourceOp, String> {
        let policies = Policies::new(vec![SourcePolicy { rules }]).map_err(|error| error.to_string())?;
        let mut source = SourceOp { identifier: source.to_owned(), ..SourceOp::default() };
        policies.apply(&mut source).map_err(|error| error.to_string())?;
        Ok(source)
    }

    #[test]
    fn the_last_rule_that_allows_or_denies_counts() {
        use SourceAction::{Allow, Deny};
        let deny_all = || rule(Deny, Matching::Wildcard, "*");
        let allow = || rule(Allow, Matching::Wildcard, "docker-image://docker.io/library/a*");
        let image = "docker-image://alpine";
        for (rules, allowed) in [
            (vec![], true),
            (vec![deny_all()], false),
            (vec![deny_all(), allow()], true),
            (vec![allow(), deny_all()], false),
            (vec![rule(Deny, Matching::Exact, "docker-image://docker.io/library/alpine")], true),
            (vec![rule(Deny, Matching::Exact, "docker-image://docker.io/library/alpine:latest")], false),
            (vec![rule(Deny, Matching::Regex, "library/alp.ne")], false),
        ] {
            let said = format!("{rules:?}");
            assert_eq!(apply(rules, image).is_ok(), allowed, "{said}");
        }
        let told = apply(vec![deny_all()], "http://h/a").expect_err("denied");
        assert_eq!(told, "source \"http://h/a\" denied by policy: source denied by policy");
    }

    #[test]
    fn a_directory_of_a_repository_is_known_however_it_is_written() {
        let denied = "git://h/a.git#main:absolute/path";
        for source in ["git://h/a.git#main:../absolute/path", "git://h/a.git#main:/absolute/x/../path/"] {
            let rules = vec![rule(SourceAction::Deny, Matching::Exact, denied)];
            assert!(apply(rules, source).is_err(), "{source}");
        }
    }

    #[test]
    fn one_source_is_put_in_the_place_of_another() {
        let of = |matching, pattern: &str, to: &str, source: &str| {
            let made =
                apply(vec![rule(convert(to, &[]), matching, pattern)], source).expect("it may be used");
            made.identifier
        };
        let golang = "docker-image://docker.io/library/golang";
        let wildcard = format!("{golang}:*");
        let to = format!("{golang}@sha256:${{1}}");
        assert_eq!(
            of(Matching::Wildcard, &wildcard, &to, &format!("{golang}:x")),
            format!("{golang}@sha256:x")
        );
        assert_eq!(
            of(Matching::Regex, "^https://h/(.*)$", "http://other/$1", "https://h/a"),
            "http://other/a"
        );
        assert_eq!(of(Matching::Exact, "http://h/a", "http://h/b", "http://h/a"), "http://h/b");
        let pinned = apply(
            vec![rule(convert("", &[("http.checksum", "sha256:1")]), Matching::Exact, "http://h/a")],
            "http://h/a",
        );
        let pinned = pinned.expect("it may be used");
        assert_eq!(pinned.identifier, "http://h/a");
        assert_eq!(pinned.attrs["http.checksum"], "sha256:1");
        // Rules see what has been put in the place, too.
        let rules = vec![
            rule(SourceAction::Deny, Matching::Exact, "http://h/b"),
            rule(convert("http://h/b", &[]), Matching::Exact, "http://h/a"),
        ];
        assert!(apply(rules, "http://h/a").is_err());
    }

    #[test]
    fn attributes_count_where_a_rule_says_so() {
        let mut pinned = rule(SourceAction::Deny, Matching::Wildcard, "http*");
        let attribute = |condition, value: &str| {
            let (key, value) = ("http.checksum".to_owned(), value.to_owned());
            vec![AttributeRule { key, value, condition }]
        };
        for (condition, value, denied) in [
            (AttributeMatch::Equal, "", true),
            (AttributeMatch::Equal, "sha256:1", false),
            (AttributeMatch::NotEqual, "sha256:1", true),
            (AttributeMatch::Matches, "^$", true),
            (AttributeMatch::Matches, "^sha256", false),
        ] {
            pinned.attributes = attribute(condition, value);
            assert_eq!(apply(vec![pinned.clone()], "http://h/a").is_err(), denied, "{condition:?} {value}");
        }
    }

    #[test]
    fn what_has_no_end_and_what_is_no_pattern_is_refused() {
        let to_and_fro = vec![
            rule(convert("http://h/b", &[]), Matching::Exact, "http://h/a"),
            rule(convert("http://h/a", &[]), Matching::Exact, "http://h/b"),
        ];
        assert!(apply(to_and_fro, "http://h/a").expect_err("for ever").contains("too many operations"));
        let grows = vec![rule(convert("${1}${1}${1}", &[]), Matching::Regex, "^(.*)$")];
        assert!(apply(grows, &"x".repeat(1000)).expect_err("too long").contains("bytes"));
        for (matching, pattern) in [
            (Matching::Regex, "(".to_owned()),
            (Matching::Regex, "(a{1000}){1000}".to_owned()),
            (Matching::Wildcard, "a**".to_owned()),
            (Matching::Regex, "a".repeat(PATTERN_MAX + 1)),
        ] {
            assert!(
                apply(vec![rule(SourceAction::Allow, matching, &pattern)], "x").is_err(),
                "{pattern:.20}"
            );
        }
        let many = vec![rule(SourceAction::Allow, Matching::Exact, "x"); RULES_MAX + 1];
        assert!(apply(many, "x").is_err());
    }
}
