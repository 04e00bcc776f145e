//! Lists in a cell of a table.

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
