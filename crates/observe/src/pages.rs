//! What programs tell of themselves, asked when somebody wants to know, and kept for as long as he goes on to.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use base::Timestamp;
use parking_lot::Mutex;

use crate::text::{self, TextError};

/// A page so young is good enough: who asks within this time shares it.
const FRESH: Duration = Duration::from_secs(5);
/// Over so long a time what counts is told as a rate, or over as much of it as was seen.
const WINDOW: Duration = Duration::from_secs(60);
/// What nobody has asked for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(300);
/// So many numbers one page may tell.
const NUMBERS: usize = 20_000;
/// So many of one page are kept, so many bytes of their labels, and so many pages.
const KEPT: usize = 500;
const KEPT_BYTES: usize = 64 << 10;
const KEPT_PAGES: usize = 16;
/// So many names may be wanted of one program at a time.
const NAMES: usize = 32;
/// So many programs are asked at a time. What is kept of all is bounded by this and the above.
const TARGETS: usize = 1000;

/// What programs told, by whatever tells one from another.
#[derive(Debug, Default)]
pub struct Pages {
    targets: Mutex<HashMap<String, Kept>>,
}

#[derive(Debug)]
struct Kept {
    asked: Duration,
    history: Arc<tokio::sync::Mutex<History>>,
}

/// Why nothing is told.
#[derive(Debug, thiserror::Error)]
pub enum TellError<E> {
    /// It cannot be asked.
    #[error(transparent)]
    Ask(E),
    /// What it tells is not understood.
    #[error("its page is not understood")]
    Text(#[source] TextError),
    /// Too much is wanted at a time.
    #[error("{0} are asked for at a time")]
    TooMuch(&'static str),
}

/// A number of a program.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// What tells it from others of the same name.
    pub labels: Vec<(String, String)>,
    /// As it is, or so much a second where it counts.
    pub value: f64,
    /// When it was read.
    pub at: Timestamp,
    /// Over how long a time it was counted.
    pub window: Option<Duration>,
}

#[derive(Debug, Default)]
struct History {
    /// Names that are wanted, and when they were the last time.
    wanted: HashMap<String, Duration>,
    /// The oldest first.
    pages: VecDeque<Page>,
}

#[derive(Debug)]
struct Page {
    taken: Duration,
    at: Timestamp,
    series: Vec<Series>,
}

#[derive(Debug)]
struct Series {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
    counts: bool,
}

impl Pages {
    /// What a program tells by a name now; `ask` asks for its page, `now` is the time since some beginning and the
    /// time of day. What counts is told once it was looked at twice.
    pub async fn values<E, F: Future<Output = Result<String, E>>>(
        &self,
        target: &str,
        name: &str,
        now: impl Fn() -> (Duration, Timestamp),
        ask: impl Fn() -> F,
    ) -> Result<Vec<Value>, TellError<E>> {
        let history = self.of(target, now().0).ok_or(TellError::TooMuch("too many programs"))?;
        // Whoever wants the same meanwhile waits for it.
        let mut history = history.lock().await;
        let has_it = history.want(name, now().0).ok_or(TellError::TooMuch("too many names"))?;
        let young = history.pages.back().is_some_and(|page| now().0.saturating_sub(page.taken) < FRESH);
        if !young || !has_it {
            let page = ask().await.map_err(TellError::Ask)?;
            history.read(&page, now()).map_err(TellError::Text)?;
        }
        Ok(history.values(name))
    }

    fn of(&self, target: &str, now: Duration) -> Option<Arc<tokio::sync::Mutex<History>>> {
        let mut targets = self.targets.lock();
        if !targets.contains_key(target) {
            targets.retain(|_, kept| now.saturating_sub(kept.asked) < FORGOTTEN);
            if targets.len() >= TARGETS {
                return None;
            }
        }
        let kept =
            targets.entry(target.to_owned()).or_insert_with(|| Kept { asked: now, history: Arc::default() });
        kept.asked = now;
        Some(Arc::clone(&kept.history))
    }
}

impl History {
    /// Notes that a name is wanted. Whether it was before; nothing where there are too many.
    fn want(&mut self, name: &str, now: Duration) -> Option<bool> {
        self.wanted.retain(|_, asked| now.saturating_sub(*asked) < FORGOTTEN);
        let known = self.wanted.contains_key(name);
        if !known && self.wanted.len() >= NAMES {
            return None;
        }
        self.wanted.insert(name.to_owned(), now);
        Some(known)
    }

    /// Keeps of a page what is wanted.
    fn read(&mut self, page: &str, (taken, at): (Duration, Timestamp)) -> Result<(), TextError> {
        let (mut series, mut bytes) = (Vec::new(), 0);
        text::read(page, NUMBERS, |sample| {
            if !self.wanted.contains_key(sample.name) || !sample.value.is_finite() || series.len() == KEPT {
                return;
            }
            bytes += sample.labels.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
            if bytes > KEPT_BYTES {
                return;
            }
            let mut labels: Vec<(String, String)> = sample
                .labels
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.into_owned()))
                .collect();
            labels.sort();
            let (name, value, counts) = (sample.name.to_owned(), sample.value, sample.counts);
            series.push(Series { name, labels, value, counts });
        })?;
        // One that is old enough to be the beginning of a rate stays, those before it go.
        while self.pages.get(1).is_some_and(|second| taken.saturating_sub(second.taken) >= WINDOW)
            || self.pages.len() >= KEPT_PAGES
        {
            self.pages.pop_front();
        }
        // As does one of which nobody knows what was between.
        if self.pages.back().is_some_and(|last| taken.saturating_sub(last.taken) >= 2 * WINDOW) {
            self.pages.clear();
        }
        self.pages.push_back(Page { taken, at, series });
        Ok(())
    }

    fn values(&self, name: &str) -> Vec<Value> {
        let Some(last) = self.pages.back() else { return Vec::new() };
        let of_name = last.series.iter().filter(|series| series.name == name);
        let value = |series: &Series| {
            let (labels, at) = (series.labels.clone(), last.at);
            if !series.counts {
                return Some(Value { labels, value: series.value, at, window: None });
            }
            let (grown, window) = self.growth(series)?;
            Some(Value { labels, value: grown / window.as_secs_f64(), at, window: Some(window) })
        };
        of_name.filter_map(value).collect()
    }

    /// By how much one has grown, and in what time. One that is less than before was begun anew.
    fn growth(&self, series: &Series) -> Option<(f64, Duration)> {
        let same = |page: &Page| {
            let found = page.series.iter().find(|it| it.name == series.name && it.labels == series.labels);
            found.map(|found| (page.taken, found.value))
        };
        let seen: Vec<(Duration, f64)> = self.pages.iter().filter_map(same).collect();
        let grown =
            seen.windows(2).map(|two| if two[1].1 >= two[0].1 { two[1].1 - two[0].1 } else { two[1].1 });
        let window = seen.last()?.0.saturating_sub(seen.first()?.0);
        (!window.is_zero()).then(|| (grown.sum(), window))
    }
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
        // What was long ago says nothing.
        check("n_total", &[(0, "n_total 5"), (200, "n_total 25")], &[]);
    }

    #[test]
    fn what_is_kept_has_bounds() {
        let mut history = History::default();
        for name in 0..NAMES {
            assert_eq!(history.want(&format!("n{name}"), Duration::ZERO), Some(false));
        }
        assert_eq!(history.want("n0", Duration::ZERO), Some(true));
        assert_eq!(history.want("more", Duration::ZERO), None);
        assert_eq!(history.want("more", FORGOTTEN), Some(false));
        let page: String = (0..2 * KEPT).map(|series| format!("more{{x=\"{series}\"}} 1\n")).collect();
        for second in 0..100 {
            let now = FORGOTTEN + Duration::from_millis(second);
            history.read(&page, (now, Timestamp::UNIX_EPOCH)).expect("a page");
        }
        assert_eq!((history.pages.len(), history.pages[0].series.len()), (KEPT_PAGES, KEPT));
        let long = format!("more{{x=\"{}\"}} 1\nmore 2\n", "x".repeat(KEPT_BYTES));
        history.read(&long, (FORGOTTEN, Timestamp::UNIX_EPOCH)).expect("a page");
        assert!(history.values("more").is_empty());
        let pages = Pages::default();
        for target in 0..TARGETS {
            assert!(pages.of(&target.to_string(), Duration::ZERO).is_some());
        }
        assert!(pages.of("more", Duration::ZERO).is_none());
        assert!(pages.of("0", FORGOTTEN - Duration::from_secs(1)).is_some());
        assert!(pages.of("more", FORGOTTEN).is_some());
        assert_eq!(pages.targets.lock().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_is_asked_when_somebody_wants_to_know() {
        let pages = Pages::default();
        let began = tokio::time::Instant::now();
        let now = || (began.elapsed(), Timestamp::UNIX_EPOCH);
        let ask = || std::future::ready(Ok::<_, &str>("a 1\nb 2\n".to_owned()));
        let told = async |name: &str| pages.values("t", name, now, ask).await.expect("told").len();
        assert_eq!((told("a").await, told("b").await, told("c").await), (1, 1, 0));
        let never = || std::future::ready(Err::<String, _>("asked again"));
        assert!(pages.values("t", "a", now, never).await.is_ok(), "what is young is shared");
        tokio::time::sleep(FRESH).await;
        assert!(matches!(pages.values("t", "a", now, never).await, Err(TellError::Ask("asked again"))));
        let bad = || std::future::ready(Ok::<_, &str>("?".to_owned()));
        assert!(matches!(pages.values("u", "a", now, bad).await, Err(TellError::Text(_))));
    }
}
