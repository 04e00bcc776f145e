//! Signals by name and number.

/// Ends a process at once.
pub const KILL: i32 = 9;
/// Asks a process to end.
pub const TERM: i32 = 15;

/// Names by number, without `SIG`.
const NAMES: [(&str, i32); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", KILL),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", TERM),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

const FIRST_REAL_TIME: i32 = 34;
const LAST: i32 = 64;

/// A signal by its number or its name, with or without `SIG`, real-time ones as `RTMIN+1`. Number 0
/// is none: sending it only asks whether there is somebody to send to.
pub fn by_name(name: &str) -> Option<i32> {
    if let Ok(number) = name.parse::<i32>() {
        return (0..=LAST).contains(&number).then_some(number);
    }
    let upper = name.to_ascii_uppercase();
    let plain = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |base: i32, offset: &str| {
        let offset = if offset.is_empty() { 0 } else { offset.parse::<i32>().ok()? };
        let number = base + offset;
        (FIRST_REAL_TIME..=LAST).contains(&number).then_some(number)
    };
    if let Some(offset) = plain.strip_prefix("RTMIN") {
        return real_time(FIRST_REAL_TIME, offset);
    }
    if let Some(offset) = plain.strip_prefix("RTMAX") {
        return real_time(LAST, offset);
    }
    NAMES.iter().find(|(known, _)| *known == plain).map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, number: Option<i32>) {
        assert_eq!(by_name(name), number, "{name}");
    }

    #[test]
    fn signals_have_names_and_numbers() {
        check("TERM", Some(15));
        check("sigkill", Some(9));
        check("9", Some(9));
        check("SIGRTMIN+3", Some(37));
        check("RTMAX-1", Some(63));
        check("RTMAX+1", None);
        check("65", None);
        check("INVENTED", None);
    }
}
