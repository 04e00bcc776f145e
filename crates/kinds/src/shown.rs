//! Lists and selectors in a cell of a table.

use apiserver::table::NONE;
use model::select::LabelSelector;
use serde_json::Value;

/// How many are shown before the rest is only counted.
const SHOWN: usize = 3;

/// The first few of them, or what is shown for none.
pub(crate) fn shorten(all: &[String], otherwise: &str) -> String {
    match all.len() {
        0 => otherwise.to_owned(),
        count if count > SHOWN => format!("{} + {} more...", all[..SHOWN].join(","), count - SHOWN),
        _ => all.join(","),
    }
}

/// A `metav1.LabelSelector` in its short form, or what is shown for none.
pub(crate) fn selector(selector: Option<&Value>) -> String {
    let text = LabelSelector::from_json(selector).map(|selector| selector.to_string()).unwrap_or_default();
    if text.is_empty() { NONE.to_owned() } else { text }
}
