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

/// A number, or a percentage of `of`, rounded up or down.
pub(crate) fn resolve(value: &IntOrString, of: i32, up: bool) -> i32 {
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

/// A set that takes part in a change of the wanted number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Replicas that it is told to have.
    pub(super) replicas: i32,
    /// What all sets together could have when it was scaled last.
    pub(super) most: i32,
}

/// Spreads a change of the wanted number over the sets of an unfinished rollout, in proportion to their
/// size, the largest first; `most` is what they can be together from here on. As Kubernetes does it:
/// <https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#proportional-scaling>.
pub(super) fn spread(parts: &[Part], wanted: i32, most: i32) -> Vec<i32> {
    let allowed = if wanted > 0 { i64::from(most) } else { 0 };
    let change = allowed - parts.iter().map(|part| i64::from(part.replicas)).sum::<i64>();
    let mut left = change;
    let mut spread: Vec<i64> = parts
        .iter()
        .map(|part| {
            let replicas = i64::from(part.replicas);
            let fraction = match (wanted, i64::from(part.most)) {
                (0, _) => -replicas,
                (_, ..=0) => 0,
                // Rounded half up; both are below 2^31.
                (_, before) => (2 * replicas * i64::from(most) + before) / (2 * before) - replicas,
            };
            let fraction = if change > 0 { fraction.min(left) } else { fraction.max(left) };
            left -= fraction;
            replicas + fraction
        })
        .collect();
    // What rounding has left goes to the largest.
    if let Some(first) = spread.first_mut() {
        *first += left;
    }
    spread.into_iter().map(narrow).collect()
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
        let whole = Part { replicas: MOST, most: MOST };
        assert_eq!(spread(&[whole, whole], 0, 0), [0, 0]);
        assert_eq!(spread(&[whole, whole], MOST, MOST), [0, MOST]);
    }

    #[test]
    fn scaling_in_the_middle_of_a_rollout_keeps_the_proportions() {
        let check = |sizes: &[i32], before: i32, (wanted, most): (i32, i32), expected: &[i32]| {
            let parts: Vec<Part> = sizes.iter().map(|&replicas| Part { replicas, most: before }).collect();
            assert_eq!(spread(&parts, wanted, most), expected);
        };
        // Kubernetes' own example: ten with three more, of which eight are old, become thirty.
        check(&[8, 5], 13, (30, 33), &[20, 13]);
        check(&[20, 13], 33, (10, 13), &[8, 5]);
        check(&[10, 5], 13, (30, 33), &[25, 8]);
        check(&[10, 5], 13, (5, 8), &[5, 3]);
        check(&[4, 1], 5, (3, 3), &[2, 1]);
        check(&[8, 5], 13, (0, 3), &[0, 0]);
        check(&[8, 5], 13, (10, 13), &[8, 5]);
        // Of a set that was never told no share is known.
        check(&[3, 2], 0, (9, 10), &[8, 2]);
    }
}
