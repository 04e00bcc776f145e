//! Sets of completion indexes, as a Job's status writes them: `1,3-5,7`.

use std::fmt;

/// A set of indexes: intervals in order, none of which touches another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes(Vec<(i64, i64)>);

impl Indexes {
    /// Reads those below `completions`; what is no interval is left out.
    pub(super) fn parse(text: &str, completions: i64) -> Self {
        let intervals = text.split(',').filter_map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some((first.parse().ok()?, last.parse::<i64>().ok()?.min(completions - 1)))
        });
        Self::of(intervals.collect())
    }

    fn of(mut intervals: Vec<(i64, i64)>) -> Self {
        intervals.retain(|(first, last)| first <= last && *first >= 0);
        intervals.sort_unstable();
        let mut joined: Vec<(i64, i64)> = Vec::with_capacity(intervals.len());
        for (first, last) in intervals {
            match joined.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => joined.push((first, last)),
            }
        }
        Self(joined)
    }

    /// With these as well.
    pub(super) fn with(&self, indexes: impl IntoIterator<Item = i64>) -> Self {
        let more = indexes.into_iter().map(|index| (index, index));
        Self::of(self.0.iter().copied().chain(more).collect())
    }

    /// With those of another set as well.
    pub(super) fn and(&self, other: &Self) -> Self {
        Self::of(self.0.iter().chain(&other.0).copied().collect())
    }

    /// How many there are.
    pub(super) fn count(&self) -> i64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// Whether an index is among them.
    pub(super) fn has(&self, index: i64) -> bool {
        let after = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(after).is_some_and(|(first, _)| *first <= index)
    }

    /// How many are in another set too.
    pub(super) fn common(&self, other: &Self) -> i64 {
        let (mut mine, mut others) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut count = 0;
        while let (Some(one), Some(two)) = (mine.peek(), others.peek()) {
            count += (one.1.min(two.1) - one.0.max(two.0) + 1).max(0);
            let ended = if one.1 < two.1 { &mut mine } else { &mut others };
            ended.next();
        }
        count
    }

    /// The first `count` indexes below `completions` that are not among them.
    pub(super) fn first_absent(&self, count: usize, completions: i64) -> Vec<i64> {
        let mut absent = Vec::new();
        let mut from = 0;
        for (first, last) in self.0.iter().copied().chain([(completions, completions)]) {
            let room = count - absent.len();
            absent.extend((from..first.min(completions)).take(room));
            from = last + 1;
        }
        absent
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (first, last)) in self.0.iter().enumerate() {
            let between = if place == 0 { "" } else { "," };
            match last - first {
                0 => write!(f, "{between}{first}")?,
                1 => write!(f, "{between}{first},{last}")?,
                _ => write!(f, "{between}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_read_joined_and_written() {
        let check = |text: &str, completions: i64, more: &[i64], expected: &str| {
            let set = Indexes::parse(text, completions).with(more.iter().copied());
            assert_eq!(set.to_string(), expected, "{text} and {more:?}");
        };
        check("", 10, &[], "");
        check("1,3-5,7", 10, &[], "1,3-5,7");
        check("1,3-5,7", 10, &[2, 6], "1-7");
        check("0,1", 10, &[], "0,1");
        check("0,1,2", 10, &[9, 9], "0-2,9");
        // Fewer completions than there were.
        check("1,3-5,7", 5, &[], "1,3,4");
        check("5-3,x,-1,2", 10, &[], "2");
        assert_eq!(Indexes::parse("0-3", 9).and(&Indexes::parse("2-5,8", 9)).to_string(), "0-5,8");
    }

    #[test]
    fn sets_are_compared() {
        let set = Indexes::parse("1,3-5,7", 10);
        assert_eq!(set.count(), 5);
        let has: Vec<i64> = (0..10).filter(|index| set.has(*index)).collect();
        assert_eq!(has, [1, 3, 4, 5, 7]);
        assert_eq!(set.common(&Indexes::parse("0-4,7", 10)), 4);
        assert_eq!(set.common(&Indexes::default()), 0);
        assert_eq!(set.first_absent(3, 10), [0, 2, 6]);
        assert_eq!(set.first_absent(9, 9), [0, 2, 6, 8]);
        assert_eq!(set.first_absent(2, 0), [0_i64; 0]);
        assert_eq!(Indexes::default().first_absent(2, 5), [0, 1]);
    }
}
