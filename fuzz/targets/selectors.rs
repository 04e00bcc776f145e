//! Selectors of labels and fields, and quantities: what is printed of them is read as the same.
#![no_main]

use model::Quantity;
use model::select::{FieldSelector, LabelSelector};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(selector) = text.parse::<LabelSelector>() {
        let printed = selector.to_string();
        assert_eq!(printed.parse::<LabelSelector>().expect(&printed).to_string(), printed);
    }
    if let Ok(selector) = text.parse::<FieldSelector>() {
        let printed = selector.to_string();
        assert_eq!(printed.parse::<FieldSelector>().expect(&printed).to_string(), printed);
    }
    if let Ok(quantity) = text.parse::<Quantity>() {
        let printed = quantity.to_string();
        assert_eq!(printed.parse::<Quantity>().expect(&printed), quantity);
    }
});
