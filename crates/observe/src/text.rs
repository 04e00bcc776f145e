//! Prometheus' text form, read line by line.
//!
//! One malformed line makes the whole page malformed, as for Prometheus: whoever writes one cannot be trusted with
//! the others. Source: Prometheus documentation, "Exposition formats", text format 0.0.4.

use std::borrow::Cow;
use std::collections::HashMap;

/// What one line tells.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    /// The name, with what a histogram or summary adds to it.
    pub name: &'a str,
    /// Labels, in the order of the line.
    pub labels: Vec<(&'a str, Cow<'a, str>)>,
    /// The number, which may be infinite or none.
    pub value: f64,
    /// When it was read, in milliseconds since 1970, if that is told.
    pub at: Option<i64>,
    /// Whether it only grows, but for restarts of its program.
    pub counts: bool,
}

/// Why a page is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// A line that is none.
    #[error("line {line}: {what}")]
    Malformed {
        /// Which one, from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// More than is read.
    #[error("it tells more than {0} numbers")]
    TooMany(usize),
}

/// So many labels a line may have.
const LABELS: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    /// A histogram or a summary: what is counted has endings.
    Several,
    Other,
}

/// Reads a page and gives what it tells to `each`, `most` numbers at most.
pub fn read<'a>(text: &'a str, most: usize, mut each: impl FnMut(Sample<'a>)) -> Result<(), TextError> {
    let mut kinds: HashMap<&str, Kind> = HashMap::new();
    let mut found = 0;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_matches([' ', '\t', '\r']);
        if let Some(comment) = line.strip_prefix('#') {
            let mut words = comment.split_ascii_whitespace();
            if let (Some("TYPE"), Some(name), Some(kind)) = (words.next(), words.next(), words.next())
                && kinds.len() < most
            {
                kinds.insert(name, kind_of(kind));
            }
            continue;
        }
        if line.is_empty() {
            continue;
        }
        found += 1;
        if found > most {
            return Err(TextError::TooMany(most));
        }
        let malformed = |what| TextError::Malformed { line: index + 1, what };
        let mut sample = sample(line).map_err(malformed)?;
        sample.counts = counts(&kinds, sample.name);
        each(sample);
    }
    Ok(())
}

fn kind_of(kind: &str) -> Kind {
    match kind {
        "counter" => Kind::Counter,
        "histogram" | "summary" => Kind::Several,
        _ => Kind::Other,
    }
}

/// Whether what has this name only grows: what is said of it counts, and what is said of nothing by its ending.
fn counts(kinds: &HashMap<&str, Kind>, name: &str) -> bool {
    match kinds.get(name) {
        Some(Kind::Counter) => return true,
        // A quantile of a summary.
        Some(Kind::Several | Kind::Other) => return false,
        None => {}
    }
    let endings = ["_bucket", "_count", "_sum"];
    let family = endings.iter().find_map(|ending| name.strip_suffix(ending));
    if family.is_some_and(|family| kinds.get(family) == Some(&Kind::Several)) {
        return true;
    }
    name.ends_with("_total")
}

fn sample(line: &str) -> Result<Sample<'_>, &'static str> {
    let end = line.find(|c: char| !is_name(c, true)).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("a name was expected");
    }
    let mut rest = rest.trim_start_matches([' ', '\t']);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = read_labels(inside, &mut labels)?;
    }
    let mut words = rest.split_ascii_whitespace();
    let value = words.next().ok_or("a number was expected")?;
    let value = number(value).ok_or("what was to be a number is none")?;
    let at = match words.next() {
        None => None,
        Some(word) => Some(word.parse().map_err(|_| "what was to be a time is none")?),
    };
    match words.next() {
        None => Ok(Sample { name, labels, value, at, counts: false }),
        Some(_) => Err("there is something behind the time"),
    }
}

fn is_name(c: char, colon: bool) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || (colon && c == ':')
}

/// Reads labels up to the brace that ends them; gives what is behind it.
fn read_labels<'a>(
    mut rest: &'a str,
    labels: &mut Vec<(&'a str, Cow<'a, str>)>,
) -> Result<&'a str, &'static str> {
    let blank = [' ', '\t'];
    loop {
        rest = rest.trim_start_matches(blank);
        if let Some(behind) = rest.strip_prefix('}') {
            return Ok(behind);
        }
        let end = rest.find(|c: char| !is_name(c, false)).unwrap_or(rest.len());
        let (name, behind) = rest.split_at(end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err("the name of a label was expected");
        }
        let behind = behind.trim_start_matches(blank).strip_prefix('=').ok_or("a label has no value")?;
        let behind = behind.trim_start_matches(blank).strip_prefix('"').ok_or("a label has no value")?;
        let (value, behind) = quoted(behind)?;
        if labels.len() == LABELS {
            return Err("it has too many labels");
        }
        labels.push((name, value));
        rest = behind.trim_start_matches(blank);
        match rest.strip_prefix(',') {
            Some(behind) => rest = behind,
            None if rest.starts_with('}') => {}
            None => return Err("a comma or the end of the labels was expected"),
        }
    }
}

/// Reads up to the quotation mark; gives what is behind it.
fn quoted(text: &str) -> Result<(Cow<'_, str>, &str), &'static str> {
    let end = text.find(['"', '\\']).ok_or("a value does not end")?;
    if text.as_bytes()[end] == b'"' {
        return Ok((Cow::Borrowed(&text[..end]), &text[end + 1..]));
    }
    let mut value = text[..end].to_owned();
    let mut characters = text[end..].char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Ok((Cow::Owned(value), &text[end + at + 1..])),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, other)) => value.push(other),
                None => break,
            },
            other => value.push(other),
        }
    }
    Err("a value does not end")
}

/// Reads a number as Go does, of which Rust knows the forms.
fn number(word: &str) -> Option<f64> {
    match word {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        word => word.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a page tells, a line each: `name labels value at counts`.
    fn check(text: &str, expected: Result<&[&str], &str>) {
        let mut told = Vec::new();
        let outcome = read(text, 4, |sample| {
            let labels: Vec<String> =
                sample.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let at = sample.at.map_or(String::new(), |at| format!(" @{at}"));
            let counts = if sample.counts { " counts" } else { "" };
            told.push(format!("{} [{}] {}{at}{counts}", sample.name, labels.join(","), sample.value));
        });
        let told: Vec<&str> = told.iter().map(String::as_str).collect();
        match outcome {
            Ok(()) => assert_eq!(Ok(&*told), expected, "{text}"),
            Err(error) => assert_eq!(Err(error.to_string().as_str()), expected.map(drop), "{text}"),
        }
    }

    #[test]
    fn lines_are_read_with_labels_numbers_and_times() {
        check("", Ok(&[]));
        check("a 1\n", Ok(&["a [] 1"]));
        check("a{} 1.5e3 1700", Ok(&["a [] 1500 @1700"]));
        check("a:b{x=\"1\",y = \"b c\" , } -2", Ok(&["a:b [x=1,y=b c] -2"]));
        check("a{x=\"q\\\"q\\\\n\\n\"}\t+Inf\r\n", Ok(&["a [x=q\"q\\n\n] inf"]));
        check("# HELP a b\n\n  # nothing\na NaN\n", Ok(&["a [] NaN"]));
    }

    #[test]
    fn what_counts_is_told_by_its_type_and_else_by_its_name() {
        check("# TYPE a counter\na 1\nb_total 2\n", Ok(&["a [] 1 counts", "b_total [] 2 counts"]));
        check("# TYPE a_total gauge\na_total 1\n", Ok(&["a_total [] 1"]));
        check(
            "# TYPE a summary\na{quantile=\"1\"} 1\na_sum 2\na_count 3\nb_count 4\n",
            Ok(&["a [quantile=1] 1", "a_sum [] 2 counts", "a_count [] 3 counts", "b_count [] 4"]),
        );
    }

    #[test]
    fn a_malformed_line_makes_the_page_malformed() {
        for (bad, what) in [
            ("1a 1", "a name was expected"),
            ("{\"a\"} 1", "a name was expected"),
            ("a", "a number was expected"),
            ("a x", "what was to be a number is none"),
            ("a 1 x", "what was to be a time is none"),
            ("a 1 2 3", "there is something behind the time"),
            ("a{x=1} 1", "a label has no value"),
            ("a{x=\"1} 1", "a value does not end"),
            ("a{x=\"1\\", "a value does not end"),
            ("a{x=\"1\" y=\"2\"} 1", "a comma or the end of the labels was expected"),
            ("a{,} 1", "the name of a label was expected"),
            ("a{x=\"1\"", "a comma or the end of the labels was expected"),
        ] {
            check(&format!("ok 1\n{bad}\n"), Err(&format!("line 2: {what}")));
        }
        check("a 1\na 1\na 1\na 1\na 1\n", Err("it tells more than 4 numbers"));
        let many: String = (0..65).map(|n| format!("l{n}=\"\",")).collect();
        check(&format!("a{{{many}}} 1"), Err("line 1: it has too many labels"));
    }
}
