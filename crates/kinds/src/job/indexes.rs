//! Lists of indexes as Jobs write them: `1,3-5,7`.

use std::ops::RangeInclusive;

/// Reads a list of indexes below `completions`: its parts, and how many indexes they are. The error is in
/// Kubernetes' words.
pub(crate) fn parse(text: &str, completions: i64) -> Result<(Vec<RangeInclusive<i64>>, i64), String> {
    let (mut parts, mut count) = (Vec::new(), 0);
    if text.is_empty() {
        return Ok((parts, 0));
    }
    let mut last: Option<i64> = None;
    for part in text.split(',') {
        let range = interval(part, completions)?;
        if let Some(last) = last
            && last >= *range.start()
        {
            return Err(format!("non-increasing order, previous: {last}, current: {}", range.start()));
        }
        count += range.end() - range.start() + 1;
        last = Some(*range.end());
        parts.push(range);
    }
    Ok((parts, count))
}

fn interval(part: &str, completions: i64) -> Result<RangeInclusive<i64>, String> {
    let limits: Vec<&str> = part.split('-').collect();
    if limits.len() > 2 {
        return Err(format!(
            "the fragment \"{part}\" violates the requirement that an index interval can have at most two parts separated by '-'"
        ));
    }
    let number = |text: &str| -> Result<i64, String> {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<i64>().ok().filter(|_| is_number);
        let number =
            number.ok_or_else(|| format!("cannot convert string to integer for index: \"{text}\""))?;
        if number >= completions {
            return Err(format!("too large index: \"{text}\""));
        }
        Ok(number)
    };
    let first = number(limits[0])?;
    let Some(second) = limits.get(1) else { return Ok(first..=first) };
    let second = number(second)?;
    if first >= second {
        return Err(format!("non-increasing order, previous: {first}, current: {second}"));
    }
    Ok(first..=second)
}

/// The first index that is in both lists.
pub(crate) fn overlap(a: &[RangeInclusive<i64>], b: &[RangeInclusive<i64>]) -> Option<i64> {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    while let (Some(one), Some(other)) = (a.peek(), b.peek()) {
        let first = *one.start().max(other.start());
        if first <= *one.end().min(other.end()) {
            return Some(first);
        }
        let ended = if one.end() < other.end() { &mut a } else { &mut b };
        ended.next();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_indexes_are_read() {
        let check = |text: &str, expected: Result<i64, &str>| {
            let count = parse(text, 10).map(|(_, count)| count);
            assert_eq!(
                count.as_ref().map_err(String::as_str),
                expected.as_ref().map_err(|text| *text),
                "{text}"
            );
        };
        check("", Ok(0));
        check("1,3-5,7", Ok(5));
        check("0-9", Ok(10));
        check("3,3", Err("non-increasing order, previous: 3, current: 3"));
        check("5-3", Err("non-increasing order, previous: 5, current: 3"));
        check("10", Err("too large index: \"10\""));
        check("a", Err("cannot convert string to integer for index: \"a\""));
        check("1,", Err("cannot convert string to integer for index: \"\""));
        let parts = |text| parse(text, 100).expect("a list").0;
        assert_eq!(overlap(&parts("1,3-5"), &parts("2,4")), Some(4));
        assert_eq!(overlap(&parts("1,3-5"), &parts("0,2,6-9")), None);
    }
}
