//! Lists of resources, as every kind that has one fills it in.

use model::Quantity;
use model::default::{Fields, existing};
use serde_json::Value;

/// Rounds what is finer than a thousandth up to the next one: processors are counted in thousandths, and
/// whoever asks for something gets something.
pub(crate) fn round_up(fields: &mut Fields, list: &str) {
    let amounts = existing(fields, list).into_iter().flat_map(Fields::values_mut);
    for amount in amounts {
        let Some(exact) = Quantity::from_json(amount) else { continue };
        let rounded = exact.round_up_to_millis();
        if rounded != exact {
            *amount = Value::from(rounded.to_string());
        }
    }
}
