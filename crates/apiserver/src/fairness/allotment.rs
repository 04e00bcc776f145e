//! How the seats of all levels are divided among them.
//!
//! Source: Kubernetes' KEP-1040, "Dispatching" and "Seat Borrowing".

/// What a level may get.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Claim {
    /// What it would have use for: not less than `least`.
    pub(super) target: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

/// What a level has by its configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Its share of all seats.
    pub(super) nominal: u32,
    /// What others may not borrow.
    pub(super) least: u32,
    /// What it has with all that it may borrow.
    pub(super) most: u32,
}

/// Targets below are taken for this.
const LEAST_TARGET: f64 = 0.001;
/// How often the middle is taken: a double has no more bits.
const STEPS: usize = 200;

impl Bounds {
    /// The bounds of a level with `shares` of `all`, of so many seats in the server.
    pub(super) fn of(seats: u32, shares: u32, all: u64, lends: u32, borrows: Option<u32>) -> Self {
        let all = all.max(1) as f64;
        let nominal = (f64::from(seats) * f64::from(shares) / all).ceil() as u32;
        let part = |percent: u32| (f64::from(nominal) * f64::from(percent) / 100.0).round() as u32;
        let borrowed = borrows.map_or(seats, part);
        Self { nominal, least: nominal.saturating_sub(part(lends)), most: nominal.saturating_add(borrowed) }
    }

    /// What a level has until its demand is known.
    pub(super) fn first(&self) -> u32 {
        self.nominal - (self.nominal - self.least) / 2
    }
}

/// Divides `all` so that each gets the same part of its target, within its bounds. None where bounds do not let
/// that come out.
pub(super) fn divide(all: u64, claims: &[Claim]) -> Option<Vec<f64>> {
    let all = all as f64;
    let sum = |part: f64| -> f64 { claims.iter().map(|claim| claim.at(part)).sum() };
    let (least, most): (f64, f64) =
        (claims.iter().map(|claim| claim.least).sum(), claims.iter().map(|claim| claim.most).sum());
    let apart = 1e-7;
    if claims.iter().any(|claim| claim.most < claim.least) || least > all + apart || most < all - apart {
        return None;
    }
    // The sum grows with the part: where it is as much as there is lies between nothing and what brings each to
    // its most.
    let reach = claims.iter().map(|claim| claim.most / claim.target.max(LEAST_TARGET));
    let (mut low, mut high) = (0.0, reach.fold(0.0, f64::max));
    for _ in 0..STEPS {
        let middle = (low + high) / 2.0;
        if sum(middle) < all { low = middle } else { high = middle }
    }
    Some(claims.iter().map(|claim| claim.at(high)).collect())
}

impl Claim {
    fn at(&self, part: f64) -> f64 {
        (self.target.max(LEAST_TARGET) * part).clamp(self.least, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(all: u64, claims: &[(f64, f64, f64)], expected: Option<&[f64]>) {
        let claims: Vec<Claim> =
            claims.iter().map(|&(target, least, most)| Claim { target, least, most }).collect();
        let divided = divide(all, &claims);
        let divided: Option<Vec<f64>> =
            divided.map(|all| all.into_iter().map(|one| (one * 1000.0).round() / 1000.0).collect());
        assert_eq!(divided.as_deref(), expected, "{all} {claims:?}");
    }

    #[test]
    fn each_gets_the_same_part_of_what_it_wants_within_its_bounds() {
        check(0, &[], Some(&[]));
        check(1, &[], None);
        check(10, &[(1.0, 0.0, 100.0)], Some(&[10.0]));
        check(30, &[(10.0, 0.0, 100.0), (20.0, 0.0, 100.0)], Some(&[10.0, 20.0]));
        check(60, &[(10.0, 0.0, 100.0), (20.0, 0.0, 100.0)], Some(&[20.0, 40.0]));
        // What one may not have goes to the others.
        check(60, &[(10.0, 0.0, 15.0), (20.0, 0.0, 100.0)], Some(&[15.0, 45.0]));
        // What one must have comes from the others.
        check(15, &[(10.0, 10.0, 100.0), (20.0, 0.0, 100.0)], Some(&[10.0, 5.0]));
        check(15, &[(10.0, 10.0, 20.0), (20.0, 10.0, 20.0)], None);
        check(50, &[(10.0, 10.0, 20.0), (20.0, 10.0, 20.0)], None);
        check(40, &[(10.0, 10.0, 20.0), (20.0, 10.0, 20.0)], Some(&[20.0, 20.0]));
        check(20, &[(10.0, 10.0, 20.0), (20.0, 10.0, 20.0)], Some(&[10.0, 10.0]));
        // Without demand.
        check(10, &[(0.0, 0.0, 10.0), (0.0, 0.0, 10.0)], Some(&[5.0, 5.0]));
    }

    #[test]
    fn the_levels_of_every_cluster_have_the_bounds_that_kubernetes_gives_them() {
        let bounds = |shares, lends, borrows| {
            let Bounds { nominal, least, most } = Bounds::of(600, shares, 245, lends, borrows);
            (nominal, least, most)
        };
        assert_eq!(bounds(30, 33, None), (74, 50, 674));
        assert_eq!(bounds(100, 90, None), (245, 24, 845));
        assert_eq!(bounds(5, 0, None), (13, 13, 613));
        assert_eq!(bounds(0, 0, None), (0, 0, 600));
        assert_eq!(bounds(10, 0, Some(0)), (25, 25, 25));
        assert_eq!(bounds(10, 100, Some(300)), (25, 0, 100));
        assert_eq!(Bounds::of(600, 100, 245, 90, None).first(), 135);
        assert_eq!(Bounds::of(600, 5, 0, 0, None).nominal, 3000, "shares that are none divide by one");
    }
}
