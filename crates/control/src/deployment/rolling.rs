//! How many replicas each set may have during a rolling update: pure arithmetic.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// How far a rolling update may go from the wanted number, in pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// So many more than wanted at most.
    pub(super) surge: i32,
    /// So many fewer than wanted available at most.
    pub(super) unavailable: i32,
}

impl Bounds {
    /// Resolves numbers and percentages of `wanted`; 25 % each where nothing is said. A surge is
    /// rounded up, an outage down, and if both are none, one pod may be unavailable.
    pub(super) fn new(wanted: i32, surge: Option<&IntOrString>, unavailable: Option<&IntOrString>) -> Self {
        let quarter = IntOrString::String("25%".to_owned());
        let surge = resolve(surge.unwrap_or(&quarter), wanted, true);
        let unavailable = resolve(unavailable.unwrap_or(&quarter), wanted, false);
        if surge == 0 && unavailable == 0 {
            Self { surge, unavailable: 1 }
        } else {
            Self { surge, unavailable }
        }
    }
}

fn resolve(value: &IntOrString, of: i32, up: bool) -> i32 {
    match value {
        IntOrString::Int(number) => (*number).max(0),
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let product = i64::from(of).saturating_mul(percent.max(0));
            let whole = product / 100 + i64::from(up && product % 100 != 0);
            i32::try_from(whole).unwrap_or(i32::MAX)
        }
    }
}

/// A set during a rolling update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// Replicas that it is told to have.
    pub(super) replicas: i32,
    /// Replicas of it that are available.
    pub(super) available: i32,
}

/// The replicas of the new set: as many more as the surge leaves room for.
pub(super) fn grow(wanted: i32, bounds: Bounds, new: Share, old: &[Share]) -> i32 {
    if new.replicas >= wanted {
        return wanted;
    }
    let room = i64::from(wanted) + i64::from(bounds.surge) - total(new, old);
    let missing = i64::from(wanted) - i64::from(new.replicas);
    if room <= 0 { new.replicas } else { narrow(i64::from(new.replicas) + room.min(missing)) }
}

/// The replicas of the old sets, oldest first: as many fewer as availability allows, those that
/// are not available first.
pub(super) fn shrink(wanted: i32, bounds: Bounds, new: Share, old: &[Share]) -> Vec<i32> {
    let least = i64::from(wanted) - i64::from(bounds.unavailable);
    let new_unavailable = (i64::from(new.replicas) - i64::from(new.available)).max(0);
    let mut spare = total(new, old) - least - new_unavailable;
    let mut shrunk: Vec<i32> = old.iter().map(|share| share.replicas).collect();
    if spare <= 0 {
        return shrunk;
    }
    for (share, replicas) in old.iter().zip(&mut shrunk) {
        let broken = (i64::from(share.replicas) - i64::from(share.available)).clamp(0, spare);
        *replicas = narrow(i64::from(*replicas) - broken);
        spare -= broken;
    }
    let available = old.iter().map(|share| i64::from(share.available.min(share.replicas))).sum::<i64>();
    let mut spare = i64::from(new.available) + available - least;
    for replicas in &mut shrunk {
        let fewer = i64::from(*replicas).min(spare.max(0));
        *replicas = narrow(i64::from(*replicas) - fewer);
        spare -= fewer;
    }
    shrunk
}

/// What all sets are told to have together; more than any of them can.
fn total(new: Share, old: &[Share]) -> i64 {
    i64::from(new.replicas) + old.iter().map(|share| i64::from(share.replicas)).sum::<i64>()
}

/// As a set can be told.
fn narrow(replicas: i64) -> i32 {
    i32::try_from(replicas.max(0)).unwrap_or(i32::MAX)
}

/// Spreads a change of the wanted number over the sets of an unfinished rollout, in proportion to
/// their size; `most` is what they could be together before, `now` what they can be from here on.
pub(super) fn spread(shares: &[i32], now: i32) -> Vec<i32> {
    let total: i64 = shares.iter().map(|&share| i64::from(share)).sum();
    let change = i64::from(now) - total;
    if total == 0 || change == 0 {
        return shares.to_vec();
    }
    let mut left = change;
    let mut spread: Vec<i32> = shares
        .iter()
        .map(|&share| {
            // Rounded half away from nothing. Both are below 2^31 times the number of sets.
            let (product, total) = (i128::from(share) * i128::from(change), i128::from(total));
            let half = product.signum() * total / 2;
            let part = i64::try_from((product + half) / total).unwrap_or(left);
            let part = part.clamp(left.min(0), left.max(0));
            left -= part;
            narrow(i64::from(share) + part)
        })
        .collect();
    // What rounding has left goes to the largest.
    if let Some(largest) = spread.iter_mut().max() {
        *largest = narrow(i64::from(*largest) + left);
    }
    spread
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_bounds(wanted: i32, surge: &str, unavailable: &str, expected: (i32, i32)) {
        let value = |text: &str| match text.parse() {
            Ok(number) => IntOrString::Int(number),
            Err(_) => IntOrString::String(text.to_owned()),
        };
        let bounds = Bounds::new(wanted, Some(&value(surge)), Some(&value(unavailable)));
        assert_eq!((bounds.surge, bounds.unavailable), expected);
    }

    #[test]
    fn a_surge_is_rounded_up_and_an_outage_down() {
        check_bounds(3, "25%", "25%", (1, 0));
        check_bounds(10, "25%", "25%", (3, 2));
        check_bounds(10, "2", "0", (2, 0));
        check_bounds(10, "0", "0", (0, 1));
    }

    /// Plays a rollout in which every pod becomes available at once, and shows each stand.
    fn play(wanted: i32, bounds: Bounds) -> Vec<(i32, i32)> {
        let (mut new, mut old) = (0, wanted);
        let mut stands = Vec::new();
        for _ in 0..20 {
            let share = |replicas| Share { replicas, available: replicas };
            new = grow(wanted, bounds, share(new), &[share(old)]);
            stands.push((new, old));
            old = shrink(wanted, bounds, share(new), &[share(old)])[0];
            stands.push((new, old));
            if (new, old) == (wanted, 0) {
                break;
            }
        }
        stands.dedup();
        stands
    }

    #[test]
    fn a_rollout_stays_within_its_bounds_and_ends() {
        assert_eq!(
            play(3, Bounds { surge: 1, unavailable: 0 }),
            [(1, 3), (1, 2), (2, 2), (2, 1), (3, 1), (3, 0)]
        );
        assert_eq!(play(2, Bounds { surge: 0, unavailable: 1 }), [(0, 2), (0, 1), (1, 1), (1, 0), (2, 0)]);
        for (new, old) in play(10, Bounds { surge: 3, unavailable: 2 }) {
            assert!(new + old <= 13 && new + old >= 8, "{new} + {old}");
        }
    }

    #[test]
    fn old_pods_stay_while_new_ones_do_not_become_available() {
        let bounds = Bounds { surge: 1, unavailable: 0 };
        let stuck = Share { replicas: 1, available: 0 };
        assert_eq!(shrink(3, bounds, stuck, &[Share { replicas: 3, available: 3 }]), [3]);
        assert_eq!(grow(3, bounds, stuck, &[Share { replicas: 3, available: 3 }]), 1);
    }

    #[test]
    fn broken_old_pods_go_before_working_ones() {
        let bounds = Bounds { surge: 1, unavailable: 1 };
        let old = [Share { replicas: 2, available: 2 }, Share { replicas: 2, available: 0 }];
        assert_eq!(shrink(3, bounds, Share { replicas: 0, available: 0 }, &old), [2, 0]);
    }

    #[test]
    fn the_largest_numbers_are_no_smaller_than_others() {
        const MOST: i32 = i32::MAX;
        check_bounds(MOST, "100%", "100%", (MOST, MOST));
        check_bounds(MOST, "9223372036854775807%", "0", (MOST, 0));
        let bounds = Bounds { surge: MOST, unavailable: 0 };
        let all = |replicas| Share { replicas, available: replicas };
        assert_eq!(grow(MOST, bounds, all(0), &[all(MOST)]), MOST);
        assert_eq!(grow(MOST, Bounds { surge: 1, unavailable: 0 }, all(0), &[all(MOST), all(MOST)]), 0);
        assert_eq!(shrink(MOST, bounds, all(MOST), &[all(MOST), all(MOST)]), [0, 0]);
        let broken = Share { replicas: MOST, available: -MOST };
        assert_eq!(shrink(MOST, bounds, all(MOST), &[broken]), [0]);
        assert_eq!(spread(&[MOST, MOST], 0), [0, 0]);
        assert_eq!(spread(&[MOST, MOST], MOST), [1_073_741_823, 1_073_741_824]);
    }

    #[test]
    fn scaling_in_the_middle_of_a_rollout_keeps_the_proportions() {
        assert_eq!(spread(&[10, 5], 30), [20, 10]);
        assert_eq!(spread(&[4, 1], 3), [2, 1]);
        assert_eq!(spread(&[0, 3], 5), [0, 5]);
    }
}
