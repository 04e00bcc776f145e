//! What others say that the node has besides what it knows of: resources that are advertised by a patch of its
//! capacity, and that pods may ask for then.
//!
//! Source: <https://kubernetes.io/docs/tasks/administer-cluster/extended-resource-node/>.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::NodeStatus;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// Amounts by the names of resources.
type Amounts = BTreeMap<String, Quantity>;

/// What there is for pods of what others advertise, all of it; and the names of what there is no more.
pub(super) fn advertised(there: Option<&NodeStatus>, own: &Amounts) -> (Amounts, Vec<String>) {
    let empty = Amounts::new();
    let capacity = there.and_then(|status| status.capacity.as_ref()).unwrap_or(&empty);
    let allocatable = there.and_then(|status| status.allocatable.as_ref()).unwrap_or(&empty);
    let others = capacity.iter().filter(|(name, _)| !own.contains_key(*name));
    let gone = allocatable.keys().filter(|name| is_extended(name) && !capacity.contains_key(*name));
    (others.map(|(name, amount)| (name.clone(), amount.clone())).collect(), gone.cloned().collect())
}

/// Whether a resource is nobody's but of whoever advertises it.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_advertised_may_be_asked_for_until_it_is_no_more() {
        let amounts = |of: &[(&str, &str)]| -> Amounts {
            of.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect()
        };
        let own = amounts(&[("cpu", "2"), ("memory", "1Gi")]);
        let check = |capacity: &[(&str, &str)], allocatable: &[(&str, &str)], expected, gone: &[&str]| {
            let there = NodeStatus {
                capacity: Some(amounts(capacity)),
                allocatable: Some(amounts(allocatable)),
                ..NodeStatus::default()
            };
            let found = advertised(Some(&there), &own);
            assert_eq!(found, (amounts(expected), gone.iter().map(|name| (*name).to_owned()).collect()));
        };
        assert_eq!(advertised(None, &own), (Amounts::new(), Vec::new()));
        check(&[("cpu", "7"), ("example.com/foo", "3")], &[("cpu", "1")], &[("example.com/foo", "3")], &[]);
        check(
            &[("example.com/foo", "4")],
            &[("example.com/foo", "3"), ("memory", "1Gi")],
            &[("example.com/foo", "4")],
            &[],
        );
        check(
            &[("cpu", "2")],
            &[("cpu", "1"), ("example.com/foo", "3"), ("other.kubernetes.io/x", "1"), ("pods", "9")],
            &[],
            &["example.com/foo"],
        );
    }
}
