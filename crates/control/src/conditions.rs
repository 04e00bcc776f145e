//! Conditions as most kinds have them in their status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// Says how it stands with something, in the place of what was said of it; since when it was so before, where that was
/// the same.
pub(crate) fn set(conditions: &mut Vec<Condition>, mut condition: Condition) {
    match conditions.iter_mut().find(|known| known.type_ == condition.type_) {
        Some(known) => {
            if known.status == condition.status {
                condition.last_transition_time = known.last_transition_time.clone();
            }
            *known = condition;
        }
        None => conditions.push(condition),
    }
}

/// The word for whether something holds.
pub(crate) fn status(holds: bool) -> String {
    if holds { "True" } else { "False" }.to_owned()
}
