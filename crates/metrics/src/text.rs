//! The text that Prometheus reads.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use crate::number::Histogram;

/// The media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Of what kind numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// They only grow.
    Counter,
    /// They go up and down.
    Gauge,
    /// They say how many were how large.
    Histogram,
}

/// The text, while it is being written: blocks in the order of their names.
#[derive(Debug, Default)]
pub struct Text {
    blocks: BTreeMap<String, Block>,
}

/// All numbers of one name.
#[derive(Debug)]
pub struct Block {
    name: String,
    head: String,
    out: String,
}

impl Text {
    /// The numbers of this name; where there are some already, more of them.
    pub fn block(&mut self, name: &str, kind: Kind, help: &str) -> &mut Block {
        self.blocks.entry(name.to_owned()).or_insert_with(|| {
            let kind = match kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let help = help.replace('\\', "\\\\").replace('\n', "\\n");
            let head = format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
            Block { name: name.to_owned(), head, out: String::new() }
        })
    }

    /// A number without labels.
    pub fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.block(name, kind, help).value(&[], value);
    }

    /// The whole of it. Of a name that has no numbers nothing is said.
    pub fn finish(self) -> String {
        let said = self.blocks.into_values().filter(|block| !block.out.is_empty());
        said.flat_map(|block| [block.head, block.out]).collect()
    }
}

impl Block {
    /// One number.
    pub fn value(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line("", labels, None, value);
    }

    /// One distribution.
    pub fn histogram(&mut self, labels: &[(&str, &str)], histogram: &Histogram) {
        self.distribution(labels, &histogram.counts(), histogram.sum());
    }

    /// One distribution that somebody else has counted: how many were in each bucket, by its upper bound, the last of
    /// which is infinite, and what all were together.
    pub fn distribution(&mut self, labels: &[(&str, &str)], buckets: &[(f64, u64)], sum: f64) {
        let mut all = 0;
        for (bound, count) in buckets {
            all += count;
            let bound = if bound.is_infinite() { "+Inf".to_owned() } else { bound_text(*bound) };
            self.line("_bucket", labels, Some(&bound), all);
        }
        self.line("_sum", labels, None, sum);
        self.line("_count", labels, None, all);
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], bound: Option<&str>, value: impl Display) {
        self.out.push_str(&self.name);
        self.out.push_str(suffix);
        let bound = bound.map(|bound| ("le", bound));
        let mut before = '{';
        for (name, value) in labels.iter().copied().chain(bound) {
            self.out.push(before);
            before = ',';
            self.out.push_str(name);
            self.out.push_str("=\"");
            for character in value.chars() {
                match character {
                    '\\' => self.out.push_str("\\\\"),
                    '"' => self.out.push_str("\\\""),
                    '\n' => self.out.push_str("\\n"),
                    other => self.out.push(other),
                }
            }
            self.out.push('"');
        }
        if before == ',' {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
    }
}

/// As Go writes them: `1e+06`, `0.005`, `5e-07`.
fn bound_text(bound: f64) -> String {
    if bound != 0.0 && !(1e-4..1e21).contains(&bound) || (bound >= 1e6 && bound % 1e6 == 0.0) {
        let text = format!("{bound:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    bound.to_string()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_text_reads_as_prometheus_writes_it() {
        let mut text = Text::default();
        text.single("z_total", Kind::Counter, "Last,\nof \\ all", 3);
        let histogram = Histogram::of_seconds(&[0.005, 1.0, 1e6]);
        for milliseconds in [5, 6, 1500] {
            histogram.observe(Duration::from_millis(milliseconds));
        }
        text.block("a_seconds", Kind::Histogram, "A").histogram(&[("who", "a\"b\\c\nd")], &histogram);
        let expected = "\
# HELP a_seconds A
# TYPE a_seconds histogram
a_seconds_bucket{who=\"a\\\"b\\\\c\\nd\",le=\"0.005\"} 1
a_seconds_bucket{who=\"a\\\"b\\\\c\\nd\",le=\"1\"} 2
a_seconds_bucket{who=\"a\\\"b\\\\c\\nd\",le=\"1e+06\"} 3
a_seconds_bucket{who=\"a\\\"b\\\\c\\nd\",le=\"+Inf\"} 3
a_seconds_sum{who=\"a\\\"b\\\\c\\nd\"} 1.511
a_seconds_count{who=\"a\\\"b\\\\c\\nd\"} 3
# HELP z_total Last,\\nof \\\\ all
# TYPE z_total counter
z_total 3
";
        assert_eq!(text.finish(), expected);
    }

    #[test]
    fn bounds_read_as_go_writes_them() {
        for (bound, expected) in [
            (0.0, "0"),
            (5e-7, "5e-07"),
            (0.0001, "0.0001"),
            (1000.0, "1000"),
            (1e5, "100000"),
            (1e9, "1e+09"),
        ] {
            assert_eq!(bound_text(bound), expected);
        }
    }
}
