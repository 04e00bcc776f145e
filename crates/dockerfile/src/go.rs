//! Text as Go's `fmt` prints it and its `strconv` reads it: what BuildKit says and writes down has these forms.

/// A text in quotes, as `%q` prints it.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            c if (c as u32) < 0x20 || c == '\u{7f}' => quoted.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() || (c.is_whitespace() && c != ' ') => {
                quoted.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// A list of texts, each in quotes, as `%q` prints it.
pub(crate) fn quote_all(texts: &[String]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| quote(text)).collect();
    format!("[{}]", texts.join(" "))
}

/// A list of texts as `%v` prints it.
pub(crate) fn list(texts: &[String]) -> String {
    format!("[{}]", texts.join(" "))
}

/// A path without `.`, `..` and doubled slashes, as `path.Clean` has it.
pub(crate) fn clean_path(path: &str) -> String {
    let is_absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if is_absolute => {}
            part => parts.push(part),
        }
    }
    match (is_absolute, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// Two paths as one, as `path.Join` has it.
pub(crate) fn join_paths(first: &str, second: &str) -> String {
    match (first.is_empty(), second.is_empty()) {
        (true, true) => String::new(),
        (true, false) => clean_path(second),
        (false, true) => clean_path(first),
        (false, false) => clean_path(&format!("{first}/{second}")),
    }
}

/// The last part of a path, as `path.Base` has it.
pub(crate) fn base_name(path: &str) -> &str {
    if path.is_empty() {
        return ".";
    }
    let path = path.trim_end_matches('/');
    match path.is_empty() {
        true => "/",
        false => path.rsplit('/').next().unwrap_or(path),
    }
}

/// The fields of a line of comma-separated values, some of them perhaps in quotes.
pub(crate) fn csv(line: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut field = String::new();
            let mut after = quoted;
            loop {
                let Some(end) = after.find('"') else {
                    return Err("parse error on line 1: extraneous or missing \" in quoted-field".to_owned());
                };
                field.push_str(&after[..end]);
                after = &after[end + 1..];
                match after.strip_prefix('"') {
                    Some(more) => {
                        field.push('"');
                        after = more;
                    }
                    None => break,
                }
            }
            fields.push(field);
            match after.strip_prefix(',') {
                Some(more) => rest = more,
                None if after.is_empty() => return Ok(fields),
                None => {
                    return Err("parse error on line 1: extraneous or missing \" in quoted-field".to_owned());
                }
            }
            continue;
        }
        let (field, more) = match rest.split_once(',') {
            Some((field, more)) => (field, Some(more)),
            None => (rest, None),
        };
        if field.contains('"') {
            return Err("parse error on line 1: bare \" in non-quoted-field".to_owned());
        }
        fields.push(field.to_owned());
        match more {
            Some(more) => rest = more,
            None => return Ok(fields),
        }
    }
}

/// Reads a size such as `64m`, `1.5g` or `1GiB`, in bytes; units are powers of 1024.
pub(crate) fn size(text: &str) -> Option<i64> {
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.')? + 1;
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok().filter(|number: &f64| *number >= 0.0)?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_lowercase();
    let exponent = match unit.as_str() {
        "" | "b" => 0,
        unit => {
            let power = "kmgtp".find(&unit[..unit.chars().next()?.len_utf8()])?;
            if !matches!(&unit[1..], "" | "b" | "ib") {
                return None;
            }
            power as i32 + 1
        }
    };
    let bytes = number * 1024f64.powi(exponent);
    (bytes < i64::MAX as f64).then_some(bytes as i64)
}

/// A duration as Go prints one.
pub(crate) fn duration(nanoseconds: i64) -> String {
    let magnitude = base::duration::text(std::time::Duration::from_nanos(nanoseconds.unsigned_abs()));
    if nanoseconds < 0 { format!("-{magnitude}") } else { magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_as_go_does_it() {
        assert_eq!(quote("a\"b\\\n\u{1}é\u{85}"), r#""a\"b\\\n\x01é\u0085""#);
        assert_eq!(quote_all(&["a".into(), "b c".into()]), r#"["a" "b c"]"#);
    }

    #[test]
    fn paths_are_cleaned_as_go_does_it() {
        for (path, expected) in [
            ("", "."),
            ("/", "/"),
            ("a/./b//c/..", "a/b"),
            ("/..", "/"),
            ("../a/../..", "../.."),
            ("./", "."),
            ("/a/", "/a"),
        ] {
            assert_eq!(clean_path(path), expected, "{path}");
        }
        assert_eq!(join_paths("/", "../x"), "/x");
        assert_eq!(join_paths("", ""), "");
        for (path, expected) in [("", "."), ("///", "/"), ("/a/b/", "b"), ("a", "a")] {
            assert_eq!(base_name(path), expected, "{path}");
        }
    }

    #[test]
    fn fields_are_cut_at_commas_outside_quotes() {
        assert_eq!(csv("a=b,,\"c,\"\"d\"").expect("fields"), ["a=b", "", "c,\"d"]);
        assert!(csv("a\"b").is_err() && csv("\"a").is_err() && csv("\"a\"b").is_err());
    }

    #[test]
    fn sizes_have_units() {
        for (text, expected) in [
            ("64m", Some(64 << 20)),
            ("1.5GiB", Some(3 << 29)),
            ("10", Some(10)),
            ("1 kb", Some(1024)),
            ("", None),
            ("x", None),
            ("1z", None),
            ("1mx", None),
            ("-1", None),
            ("1é", None),
        ] {
            assert_eq!(size(text), expected, "{text}");
        }
    }
}
