//! When something is rolled: what was noted, what is, and the time in, a step out.

use std::time::Duration;

/// How long it is waited for more after a change.
const GATHER: Duration = Duration::from_secs(2);
/// How long it is waited at most where it goes on changing.
const MOST: Duration = Duration::from_secs(15);

/// What is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hashes {
    /// Of the data, as it may be shown.
    pub(super) shown: String,
    /// Of the data alone: as it may not be.
    pub(super) plain: [u8; 32],
}

/// What there is to decide by.
pub(super) struct View<'a> {
    /// What was noted last.
    pub(super) noted: Option<&'a str>,
    /// Which objects are used.
    pub(super) used: &'a str,
    /// Their data; nothing as long as one is not there that has to be.
    pub(super) data: Option<&'a Hashes>,
}

/// What is known of one beside what is written on it.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    /// The data when it was as noted.
    plain: Option<[u8; 32]>,
    /// Data that is not noted yet: which, since when, and since when there is any.
    change: Option<(String, Duration, Duration)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Nothing,
    Wait(Duration),
    /// Note what is used: nothing has to be rolled for it.
    Note(String),
    Roll {
        noted: String,
        data: String,
    },
}

/// What is to be done now; `pending` is kept from one time to the next.
pub(super) fn plan(view: &View<'_>, pending: &mut Pending, now: Duration) -> Step {
    // Pods that lack something do not start, or start when it comes.
    let Some(data) = view.data else { return Step::Nothing };
    let noted = format!("{}.{}", view.used, data.shown);
    let before = view.noted.and_then(|noted| noted.split_once('.'));
    let is_same = match before {
        Some((used, shown)) if used == view.used => {
            if shown == data.shown {
                *pending = Pending { plain: Some(data.plain), change: None };
                return Step::Nothing;
            }
            // Other objects with the same data.
            pending.plain == Some(data.plain)
        }
        // Seen for the first time, or rolled by whoever has changed what it uses.
        _ => true,
    };
    if is_same {
        *pending = Pending { plain: Some(data.plain), change: None };
        return Step::Note(noted);
    }
    let (since, first) = match &pending.change {
        Some((change, since, first)) if *change == data.shown => (*since, *first),
        Some((.., first)) => (now, *first),
        None => (now, now),
    };
    let rest = (since + GATHER).min(first + MOST).saturating_sub(now);
    if rest.is_zero() {
        pending.change = None;
        return Step::Roll { noted, data: data.shown.clone() };
    }
    pending.change = Some((data.shown.clone(), since, first));
    Step::Wait(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At each second what is noted, used and there (a letter for its data, its case for the object that has
    /// it), and what is done.
    #[track_caller]
    fn check(looks: &[(u64, &str, &str, &str, &str)]) {
        let mut pending = Pending::default();
        for (second, noted, used, data, expected) in looks {
            let hashes = data.chars().next().map(|letter| Hashes {
                shown: data.to_string(),
                plain: [u8::try_from(letter.to_ascii_lowercase()).expect("a letter"); 32],
            });
            let noted = Some(*noted).filter(|noted| !noted.is_empty());
            let view = View { noted, used, data: hashes.as_ref() };
            let word = match plan(&view, &mut pending, Duration::from_secs(*second)) {
                Step::Nothing => String::new(),
                Step::Wait(rest) => format!("wait {}", rest.as_secs()),
                Step::Note(noted) => format!("note {noted}"),
                Step::Roll { noted, data } => format!("roll {noted} {data}"),
            };
            assert_eq!(word, *expected, "at {second}");
        }
    }

    #[test]
    fn changed_data_rolls_once_after_a_while() {
        check(&[
            (0, "u.a", "u", "a", ""),
            (1, "u.a", "u", "b", "wait 2"),
            (2, "u.a", "u", "c", "wait 2"),
            (3, "u.a", "u", "c", "wait 1"),
            (4, "u.a", "u", "c", "roll u.c c"),
            (5, "u.c", "u", "c", ""),
        ]);
    }

    #[test]
    fn what_is_changed_back_rolls_nothing() {
        check(&[(0, "u.a", "u", "a", ""), (1, "u.a", "u", "b", "wait 2"), (2, "u.a", "u", "a", "")]);
    }

    #[test]
    fn what_goes_on_changing_rolls_in_the_end() {
        let data = ["b", "c"];
        let mut looks = Vec::new();
        for second in 0..15 {
            let expected = if second == 14 { "wait 1" } else { "wait 2" };
            looks.push((second, "u.a", "u", data[usize::try_from(second % 2).expect("small")], expected));
        }
        looks.push((15, "u.a", "u", "c", "roll u.c c"));
        check(&looks);
    }

    #[test]
    fn the_first_sight_and_other_objects_are_noted_only() {
        check(&[(0, "", "u", "a", "note u.a"), (0, "u.a", "u", "a", "")]);
        // The template names others: that has rolled it.
        check(&[(0, "u.a", "v", "b", "note v.b"), (1, "v.b", "v", "b", "")]);
        // A change between two starts of the controller is one still.
        check(&[(0, "u.a", "u", "b", "wait 2"), (2, "u.a", "u", "b", "roll u.b b")]);
    }

    #[test]
    fn what_is_made_anew_with_the_same_data_rolls_nothing() {
        check(&[
            (0, "u.a", "u", "a", ""),
            (1, "u.a", "u", "", ""),
            (2, "u.a", "u", "A", "note u.A"),
            (3, "u.A", "u", "A", ""),
            (4, "u.A", "u", "", ""),
            (5, "u.A", "u", "B", "wait 2"),
        ]);
    }
}
