//! What one program told: of the names that somebody wants, for a minute.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use base::Timestamp;

use super::{FORGOTTEN, FRESH, Value};
use crate::text::{self, TextError};

/// Over so long a time what counts is told as a rate, or over as much of it as was seen.
const WINDOW: Duration = Duration::from_secs(60);
/// So many numbers one page may tell.
const NUMBERS: usize = 20_000;
/// So many series are kept, they may cost so many bytes, and so many looks at each.
const KEPT: usize = 500;
const KEPT_BYTES: usize = 256 << 10;
const KEPT_LOOKS: usize = 16;
/// So many names may be wanted at a time, each so long.
const NAMES: usize = 32;
const NAME_LENGTH: usize = 1024;
/// What a program costs of which nothing is kept, a name or a label besides its text, a series besides both, and
/// one of which the looks are kept.
const OF_A_PROGRAM: usize = 512;
const OF_A_TEXT: usize = 64;
const OF_A_SERIES: usize = 128;
const OF_LOOKS: usize = KEPT_LOOKS * 24;

#[derive(Debug, Default)]
pub(super) struct History {
    /// Which place it was asked at.
    place: u64,
    /// Names that are wanted, and when they were the last time.
    wanted: HashMap<String, Duration>,
    /// When it was read the last time, and at which time of day.
    read: Option<(Duration, Timestamp)>,
    /// Until when it is not asked, and why.
    failed: Option<(Duration, String)>,
    series: HashMap<Key, Series>,
    /// What the series cost.
    bytes: usize,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    name: String,
    labels: Vec<(String, String)>,
}

#[derive(Debug)]
struct Series {
    /// The how manieth it was on its page.
    order: usize,
    value: f64,
    /// If it counts: what was seen, the oldest first.
    looks: Option<VecDeque<(Duration, f64)>>,
}

impl History {
    /// It is asked at this place: what it told elsewhere is nothing.
    pub(super) fn is_at(&mut self, place: u64) {
        if self.place != place {
            let wanted = std::mem::take(&mut self.wanted);
            *self = Self { place, wanted, ..Self::default() };
        }
    }

    /// Why nothing was told a moment ago.
    pub(super) fn failed(&self, now: Duration) -> Option<&str> {
        self.failed.as_ref().filter(|(until, _)| now < *until).map(|(_, why)| why.as_str())
    }

    pub(super) fn fail(&mut self, now: Duration, mut why: String) {
        why.truncate(why.floor_char_boundary(NAME_LENGTH));
        self.failed = Some((now + FRESH, why));
    }

    /// Notes that a name is wanted. Whether it was before; fails where there are too many.
    pub(super) fn want(&mut self, name: &str, now: Duration) -> Result<bool, &'static str> {
        self.wanted.retain(|_, asked| now.saturating_sub(*asked) < FORGOTTEN);
        if let Some(asked) = self.wanted.get_mut(name) {
            *asked = now;
            return Ok(true);
        }
        if name.len() > NAME_LENGTH {
            return Err("names so long");
        }
        if self.wanted.len() >= NAMES {
            return Err("too many names");
        }
        self.wanted.insert(name.to_owned(), now);
        Ok(false)
    }

    /// Whether what was read is good enough.
    pub(super) fn is_young(&self, now: Duration) -> bool {
        self.read.is_some_and(|(taken, _)| now.saturating_sub(taken) < FRESH)
    }

    /// What all of it costs, about.
    pub(super) fn bytes(&self) -> usize {
        let wanted: usize = self.wanted.keys().map(|name| OF_A_TEXT + name.len()).sum();
        let failed = self.failed.as_ref().map_or(0, |(_, why)| why.len());
        OF_A_PROGRAM + wanted + failed + self.bytes
    }

    /// Keeps of a page what is wanted. What one page leaves out is begun anew by the next.
    pub(super) fn read(&mut self, page: &str, (taken, at): (Duration, Timestamp)) -> Result<(), TextError> {
        let (mut series, mut bytes) = (HashMap::new(), 0);
        // Nobody knows what was between, if that is long.
        let known = self.read.is_some_and(|(before, _)| taken.saturating_sub(before) < 2 * WINDOW);
        let read = text::read(page, NUMBERS, |sample| {
            if !self.wanted.contains_key(sample.name) || !sample.value.is_finite() || series.len() == KEPT {
                return;
            }
            let text = |text: &str| OF_A_TEXT + text.len();
            let labels: usize = sample.labels.iter().map(|(name, value)| text(name) + value.len()).sum();
            let looks = if sample.counts { OF_LOOKS } else { 0 };
            let cost = OF_A_SERIES + text(sample.name) + labels + looks;
            if bytes + cost > KEPT_BYTES {
                return;
            }
            let mut labels: Vec<(String, String)> = sample
                .labels
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.into_owned()))
                .collect();
            labels.sort();
            let key = Key { name: sample.name.to_owned(), labels };
            if series.contains_key(&key) {
                return;
            }
            bytes += cost;
            let before = self.series.get_mut(&key).filter(|_| known).and_then(|before| before.looks.take());
            let looks = sample.counts.then(|| looked(before.unwrap_or_default(), taken, sample.value));
            let order = series.len();
            series.insert(key, Series { order, value: sample.value, looks });
        });
        if let Err(error) = read {
            // What was seen before was used up.
            (self.series, self.bytes, self.read) = (HashMap::new(), 0, None);
            return Err(error);
        }
        (self.series, self.bytes, self.read, self.failed) = (series, bytes, Some((taken, at)), None);
        Ok(())
    }

    pub(super) fn values(&self, name: &str) -> Vec<Value> {
        let Some((_, at)) = self.read else { return Vec::new() };
        let mut of_name: Vec<(&Key, &Series)> =
            self.series.iter().filter(|(key, _)| key.name == name).collect();
        of_name.sort_by_key(|(_, series)| series.order);
        let value = |(key, series): (&Key, &Series)| {
            let labels = key.labels.clone();
            let Some(looks) = &series.looks else {
                return Some(Value { labels, value: series.value, at, window: None });
            };
            let (grown, window) = growth(looks)?;
            Some(Value { labels, value: grown / window.as_secs_f64(), at, window: Some(window) })
        };
        of_name.into_iter().filter_map(value).collect()
    }
}

/// What was seen with one more look.
fn looked(mut looks: VecDeque<(Duration, f64)>, taken: Duration, value: f64) -> VecDeque<(Duration, f64)> {
    // One that is old enough to be the beginning of a rate stays, those before it go.
    while looks.get(1).is_some_and(|second| taken.saturating_sub(second.0) >= WINDOW)
        || looks.len() >= KEPT_LOOKS
    {
        looks.pop_front();
    }
    looks.push_back((taken, value));
    looks
}

/// By how much something has grown, and in what time. What is less than before was begun anew.
fn growth(looks: &VecDeque<(Duration, f64)>) -> Option<(f64, Duration)> {
    let window = looks.back()?.0.saturating_sub(looks.front()?.0);
    let steps = looks.iter().zip(looks.iter().skip(1));
    let grown = steps.map(|(one, next)| if next.1 >= one.1 { next.1 - one.1 } else { next.1 });
    (!window.is_zero()).then(|| (grown.sum(), window))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages at these seconds; what is told of `name` at last, and over how many seconds.
    fn check(name: &str, pages: &[(u64, &str)], expected: &[(&str, f64, Option<u64>)]) {
        let mut history = History::default();
        for (second, page) in pages {
            let now = Duration::from_secs(*second);
            history.want(name, now).expect("few names");
            history.read(page, (now, Timestamp::UNIX_EPOCH)).expect("a page");
        }
        let values = history.values(name);
        let told: Vec<(String, f64, Option<u64>)> = values
            .into_iter()
            .map(|value| {
                let labels: Vec<String> =
                    value.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
                (labels.join(","), value.value, value.window.map(|window| window.as_secs()))
            })
            .collect();
        let expected: Vec<_> =
            expected.iter().map(|(labels, value, window)| ((*labels).to_owned(), *value, *window)).collect();
        assert_eq!(told, expected, "{pages:?}");
    }

    #[test]
    fn what_is_there_is_told_as_it_is_and_what_counts_as_a_rate() {
        let gauge = "queue{b=\"2\",a=\"1\"} 7\nother 1\nqueue{a=\"2\"} NaN\n";
        check("queue", &[(0, gauge)], &[("a=1,b=2", 7.0, None)]);
        check("n_total", &[(0, "n_total 5")], &[]);
        check("n_total", &[(0, "n_total 5"), (10, "n_total 25")], &[("", 2.0, Some(10))]);
        // Over a minute at most, and from where it was begun anew.
        let pages = [(0, "n_total 0"), (30, "n_total 60"), (60, "n_total 120"), (95, "n_total 190")];
        check("n_total", &pages, &[("", 2.0, Some(65))]);
        check(
            "n_total",
            &[(0, "n_total 100"), (10, "n_total 10"), (20, "n_total 30")],
            &[("", 1.5, Some(20))],
        );
        // What was left out once is begun anew, and of two of a kind the first counts.
        check("n_total", &[(0, "n_total 5"), (10, ""), (20, "n_total 25")], &[]);
        check("queue", &[(0, "queue 1\nqueue 2\n")], &[("", 1.0, None)]);
        // What was long ago says nothing.
        check("n_total", &[(0, "n_total 5"), (200, "n_total 25")], &[]);
    }

    #[test]
    fn what_is_kept_has_bounds() {
        let mut history = History::default();
        let (first, at) = (Duration::ZERO, Timestamp::UNIX_EPOCH);
        for name in 0..NAMES {
            assert_eq!(history.want(&format!("n{name}"), first), Ok(false));
        }
        assert_eq!(history.want("n0", first), Ok(true));
        assert_eq!(history.want("x_total", first), Err("too many names"));
        assert_eq!(history.want("x_total", FORGOTTEN), Ok(false));
        assert_eq!(history.want(&"n".repeat(2000), FORGOTTEN), Err("names so long"));
        let page: String = (0..2 * KEPT).map(|series| format!("x_total{{x=\"{series}\"}} 1\n")).collect();
        for second in 0..100 {
            history.read(&page, (FORGOTTEN + Duration::from_millis(second), at)).expect("a page");
        }
        let looks = history.series.values().map(|series| series.looks.as_ref().map_or(0, VecDeque::len));
        assert!(history.series.len() > KEPT / 2 && history.series.len() <= KEPT, "{}", history.series.len());
        assert!(looks.clone().all(|looks| looks == KEPT_LOOKS));
        assert!(history.bytes <= KEPT_BYTES);
        // Labels of one byte cost more than that, and so do long texts.
        history.want("x", FORGOTTEN).expect("few names");
        let labels: String = (0..60).map(|label| format!("l{label}=\"\",")).collect();
        let page: String = (0..KEPT).map(|series| format!("x{{{labels}n=\"{series}\"}} 1\n")).collect();
        history.read(&page, (FORGOTTEN, at)).expect("a page");
        assert!(history.series.len() < KEPT_BYTES / (60 * OF_A_TEXT) + 1 && !history.series.is_empty());
        let long = format!("x{{x=\"{}\"}} 1\n", "x".repeat(KEPT_BYTES));
        history.read(&long, (FORGOTTEN, at)).expect("a page");
        assert!(history.values("x").is_empty());
        history.fail(FORGOTTEN, "é".repeat(NAME_LENGTH));
        assert!(history.bytes() < OF_A_PROGRAM + 4 * NAME_LENGTH);
    }
}
