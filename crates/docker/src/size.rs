//! Numbers of bytes as people read them.

/// In powers of a thousand with four digits at most: `7.55kB`.
pub(crate) fn decimal(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{}{}", four_digits(value), UNITS[unit])
}

fn four_digits(value: f64) -> String {
    let whole = if value < 1.0 { 1 } else { value.log10().floor() as usize + 1 };
    let text = format!("{value:.*}", 4usize.saturating_sub(whole));
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[track_caller]
    fn check(bytes: u64, expected: &str) {
        assert_eq!(decimal(bytes), expected);
    }

    #[test]
    fn four_digits_are_enough() {
        check(0, "0B");
        check(999, "999B");
        check(1000, "1kB");
        check(7_553_211, "7.553MB");
        check(121_487_360, "121.5MB");
    }
}
