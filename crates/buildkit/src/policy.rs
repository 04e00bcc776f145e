//! Source policies as they are on the wire.

use build::solve::SourcePolicy;
use build::solve::policy::{AttributeMatch, AttributeRule, Matching, SourceAction, SourceRule};
use tonic::Status;

use crate::wire::moby::buildkit::v1::sourcepolicy::{
    AttrConstraint, AttrMatch, MatchType, Policy, PolicyAction, Rule,
};

/// Reads policies. A rule that is not understood is refused: to build without it would be what it is to prevent.
pub(crate) fn read(policies: Vec<Policy>) -> Result<Vec<SourcePolicy>, Status> {
    policies
        .into_iter()
        .map(|policy| {
            if policy.version > 1 {
                return Err(Status::invalid_argument(format!(
                    "unsupported policy version {}",
                    policy.version
                )));
            }
            let rules = policy.rules.into_iter().map(rule).collect::<Result<_, _>>()?;
            Ok(SourcePolicy { rules })
        })
        .collect()
}

fn rule(rule: Rule) -> Result<SourceRule, Status> {
    let selector = rule.selector.ok_or_else(|| Status::invalid_argument("invalid nil selector in policy"))?;
    let unknown = |what: &str, number: i32| {
        Status::invalid_argument(format!("source policy: {what} {number} is not known"))
    };
    let action = match PolicyAction::try_from(rule.action) {
        Ok(PolicyAction::Allow) => SourceAction::Allow,
        Ok(PolicyAction::Deny) => SourceAction::Deny,
        Ok(PolicyAction::Convert) => {
            let updates = rule
                .updates
                .ok_or_else(|| Status::invalid_argument("missing destination for convert rule"))?;
            SourceAction::Convert { name: updates.identifier, attributes: updates.attrs }
        }
        Err(_) => return Err(unknown("the action", rule.action)),
    };
    let matching = match MatchType::try_from(selector.match_type) {
        Ok(MatchType::Wildcard) => Matching::Wildcard,
        Ok(MatchType::Exact) => Matching::Exact,
        Ok(MatchType::Regex) => Matching::Regex,
        Err(_) => return Err(unknown("the match type", selector.match_type)),
    };
    let attribute = |constraint: AttrConstraint| {
        let condition = match AttrMatch::try_from(constraint.condition) {
            Ok(AttrMatch::Equal) => AttributeMatch::Equal,
            Ok(AttrMatch::Notequal) => AttributeMatch::NotEqual,
            Ok(AttrMatch::Matches) => AttributeMatch::Matches,
            Err(_) => return Err(unknown("the condition", constraint.condition)),
        };
        Ok(AttributeRule { key: constraint.key, value: constraint.value, condition })
    };
    let attributes = selector.constraints.into_iter().map(attribute).collect::<Result<_, _>>()?;
    Ok(SourceRule { action, pattern: selector.identifier, matching, attributes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::moby::buildkit::v1::sourcepolicy::{Selector, Update};

    #[test]
    fn what_is_not_understood_is_refused() {
        let selector = Selector { identifier: "x".to_owned(), ..Selector::default() };
        let good = Rule { action: 1, selector: Some(selector.clone()), updates: None };
        let of = |rule: Rule| read(vec![Policy { version: 1, rules: vec![rule] }]);
        let policies = of(good.clone()).expect("a policy");
        assert_eq!(policies[0].rules[0].action, SourceAction::Deny);
        assert!(of(Rule { action: 2, updates: Some(Update::default()), ..good.clone() }).is_ok());
        for bad in [
            Rule { action: 2, ..good.clone() },
            Rule { action: 3, ..good.clone() },
            Rule { selector: None, ..good.clone() },
            Rule { selector: Some(Selector { match_type: 7, ..selector.clone() }), ..good.clone() },
            Rule {
                selector: Some(Selector {
                    constraints: vec![AttrConstraint { condition: 9, ..AttrConstraint::default() }],
                    ..selector
                }),
                ..good.clone()
            },
        ] {
            assert!(of(bad.clone()).is_err(), "{bad:?}");
        }
        assert!(read(vec![Policy { version: 2, rules: vec![good] }]).is_err());
    }
}
