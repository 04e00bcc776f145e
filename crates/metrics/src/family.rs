//! Many numbers of a kind, told apart by labels.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::text::{Kind, Text};
use crate::{Counter, Gauge, Histogram};

/// So many label sets there may be of one kind; all others are told as one whose labels are all [`REST`].
const MOST: usize = 4096;
const REST: &str = "other";

/// Numbers of a kind by the values of `N` labels. Who looks one up waits for nobody and allocates nothing, if
/// it is there.
pub struct Family<M, const N: usize> {
    labels: [&'static str; N],
    make: fn() -> M,
    hasher: RandomState,
    series: ArcSwap<Series<M, N>>,
    adding: Mutex<()>,
}

/// By the hash of the values.
type Series<M, const N: usize> = HashMap<u64, Vec<Entry<M, N>>, BuildHasherDefault<Hashed>>;

struct Entry<M, const N: usize>(Arc<[Box<str>; N]>, Arc<M>);

impl<M, const N: usize> Clone for Entry<M, N> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), self.1.clone())
    }
}

/// Keys that are hashes already.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl<M, const N: usize> Family<M, N> {
    /// Numbers that `make` begins, with these labels.
    pub fn new(labels: [&'static str; N], make: fn() -> M) -> Self {
        Self {
            labels,
            make,
            hasher: RandomState::new(),
            series: ArcSwap::from_pointee(Series::default()),
            adding: Mutex::new(()),
        }
    }

    /// The number with these values of the labels.
    pub fn with(&self, values: [&str; N]) -> Arc<M> {
        let hash = self.hasher.hash_one(values);
        match find(&self.series.load(), hash, values) {
            Some(found) => found,
            None => self.add(hash, values),
        }
    }

    fn add(&self, hash: u64, values: [&str; N]) -> Arc<M> {
        let adding = self.adding.lock();
        let known = self.series.load_full();
        if let Some(found) = find(&known, hash, values) {
            return found;
        }
        if known.values().map(Vec::len).sum::<usize>() >= MOST && values != [REST; N] {
            drop(adding);
            return self.with([REST; N]);
        }
        let made = Arc::new((self.make)());
        let mut all = Series::clone(&known);
        all.entry(hash).or_default().push(Entry(Arc::new(values.map(Box::from)), made.clone()));
        self.series.store(Arc::new(all));
        made
    }

    /// Tells of each, in the order of their values.
    pub fn each(&self, mut tell: impl FnMut(&[(&str, &str)], &M)) {
        let series = self.series.load_full();
        let mut all: Vec<&Entry<M, N>> = series.values().flatten().collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        for Entry(values, number) in all {
            let labels: Vec<(&str, &str)> =
                self.labels.iter().copied().zip(values.iter().map(AsRef::as_ref)).collect();
            tell(&labels, number);
        }
    }

    /// Forgets all.
    pub fn clear(&self) {
        let _adding = self.adding.lock();
        self.series.store(Arc::new(Series::default()));
    }
}

fn find<M, const N: usize>(series: &Series<M, N>, hash: u64, values: [&str; N]) -> Option<Arc<M>> {
    let same = |entry: &&Entry<M, N>| entry.0.iter().zip(values).all(|(known, value)| **known == *value);
    series.get(&hash)?.iter().find(same).map(|entry| entry.1.clone())
}

impl<const N: usize> Family<Counter, N> {
    /// Writes all.
    pub fn write(&self, text: &mut Text, name: &str, help: &str) {
        let block = text.block(name, Kind::Counter, help);
        self.each(|labels, counter| block.value(labels, counter.get()));
    }
}

impl<const N: usize> Family<Gauge, N> {
    /// Writes all.
    pub fn write(&self, text: &mut Text, name: &str, help: &str) {
        let block = text.block(name, Kind::Gauge, help);
        self.each(|labels, gauge| block.value(labels, gauge.get()));
    }
}

impl<const N: usize> Family<Histogram, N> {
    /// Writes all.
    pub fn write(&self, text: &mut Text, name: &str, help: &str) {
        let block = text.block(name, Kind::Histogram, help);
        self.each(|labels, histogram| block.histogram(labels, histogram));
    }
}

impl<M, const N: usize> std::fmt::Debug for Family<M, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Family").field("labels", &self.labels).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_count_at_once_is_counted_once_each() {
        let family = Family::new(["verb", "code"], Counter::default);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let family = &family;
                scope.spawn(move || {
                    for n in 0..1000 {
                        let code = (200 + (n + thread) % 10).to_string();
                        family.with(["GET", &code]).increment();
                    }
                });
            }
        });
        let mut seen = Vec::new();
        family.each(|labels, counter| seen.push((labels[1].1.to_owned(), counter.get())));
        let expected: Vec<_> = (200..210).map(|code| (code.to_string(), 400)).collect();
        assert_eq!(seen, expected);
    }

    #[test]
    fn labels_that_nobody_bounds_become_one() {
        let family = Family::new(["path"], Counter::default);
        for n in 0..MOST + 100 {
            family.with([&n.to_string()]).increment();
        }
        let (mut count, mut rest) = (0, 0);
        family.each(|labels, counter| {
            count += 1;
            if labels[0].1 == REST {
                rest = counter.get();
            }
        });
        assert_eq!((count, rest), (MOST + 1, 100));
    }
}
