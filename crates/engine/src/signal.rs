//! Signals as requests name them.

pub(crate) use runtime::signal::{KILL, TERM};

use crate::error::{Error, Result};

/// Reads `SIGTERM`, `term`, `15`, `RTMIN+3`.
pub(crate) fn parse(text: &str) -> Result<i32> {
    runtime::signal::by_name(text)
        .filter(|&number| number > 0)
        .ok_or_else(|| Error::invalid(format!("Invalid signal: {text}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_sent_is_a_signal() {
        for (text, number) in [("SIGTERM", 15), ("kill", 9), ("3", 3), ("RTMIN+3", 37), ("SIGRTMAX", 64)] {
            assert_eq!(parse(text).expect("a signal"), number, "{text}");
        }
        for bad in ["", "0", "65", "SIGNOPE", "RTMIN+99", "-9"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
