//! Places of which there are so many, and for each asker no more than a part.
//!
//! When all are taken, whoever has more than another gives way to it: first the network with the most
//! places, and in that the asker with the most, by its oldest. So somebody who asks in the names of many
//! neighbours leaves to everybody else as much as it has in any of theirs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::NetworkId;

/// Who takes places.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Asker {
    /// The network that it asks from; none for the host.
    pub(super) network: Option<NetworkId>,
    /// Who it is there; empty for everybody whom nobody knows.
    pub(super) owner: String,
}

/// The places.
pub(super) struct Shares {
    all: usize,
    each: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    next: u64,
    all: usize,
    by_network: HashMap<Option<NetworkId>, OfNetwork>,
}

#[derive(Default)]
struct OfNetwork {
    all: usize,
    /// What each has, the oldest first.
    by_owner: BTreeMap<String, BTreeMap<u64, CancellationToken>>,
}

/// A place, until it is dropped or has to be given up.
pub(super) struct Share {
    shares: Arc<Shares>,
    asker: Asker,
    number: u64,
    given_up: CancellationToken,
}

impl Shares {
    /// So many places for all, and for each.
    pub(super) fn new(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { all, each, taken: Mutex::default() })
    }

    /// A place for `asker`, if there is one, or somebody else has more.
    pub(super) fn take(self: &Arc<Self>, asker: &Asker) -> Option<Share> {
        let mut taken = self.taken.lock();
        if taken.of(asker) >= self.each || (taken.all >= self.all && !taken.make_room(asker)) {
            return None;
        }
        let (number, given_up) = (taken.next, CancellationToken::new());
        taken.next += 1;
        taken.all += 1;
        let of_network = taken.by_network.entry(asker.network.clone()).or_default();
        of_network.all += 1;
        of_network.by_owner.entry(asker.owner.clone()).or_default().insert(number, given_up.clone());
        Some(Share { shares: self.clone(), asker: asker.clone(), number, given_up })
    }
}

impl Share {
    /// Ends when the place has to be given up.
    pub(super) async fn given_up(&self) {
        self.given_up.cancelled().await;
    }
}

impl Taken {
    /// How many places somebody has.
    fn of(&self, asker: &Asker) -> usize {
        let of_network = self.by_network.get(&asker.network);
        of_network.and_then(|of_network| of_network.by_owner.get(&asker.owner)).map_or(0, BTreeMap::len)
    }

    /// Has somebody give a place up who has more than `asker` would have; whether there is such a one.
    fn make_room(&mut self, asker: &Asker) -> bool {
        let own = self.by_network.get(&asker.network).map_or(0, |of_network| of_network.all);
        let Some((largest, most)) = self
            .by_network
            .iter()
            .max_by_key(|(_, of_network)| of_network.all)
            .map(|(id, of)| (id.clone(), of.all))
        else {
            return false;
        };
        // Where others have no more than one's own network, it is one's neighbours who have to.
        let network = if most > own + 1 { largest } else { asker.network.clone() };
        let Some(of_network) = self.by_network.get(&network) else { return false };
        let Some((owner, places)) = of_network.by_owner.iter().max_by_key(|(_, places)| places.len()) else {
            return false;
        };
        if network == asker.network && places.len() <= self.of(asker) + 1 {
            return false;
        }
        let Some(oldest) = places.keys().next().copied() else { return false };
        let victim = Asker { network, owner: owner.clone() };
        self.give_up(&victim, oldest);
        true
    }

    fn give_up(&mut self, asker: &Asker, number: u64) {
        let Some(of_network) = self.by_network.get_mut(&asker.network) else { return };
        let Some(places) = of_network.by_owner.get_mut(&asker.owner) else { return };
        let Some(place) = places.remove(&number) else { return };
        place.cancel();
        self.all -= 1;
        of_network.all -= 1;
        if places.is_empty() {
            of_network.by_owner.remove(&asker.owner);
        }
        if of_network.all == 0 {
            self.by_network.remove(&asker.network);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shares.taken.lock().give_up(&self.asker, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(network: char, owner: &str) -> Asker {
        let network = NetworkId::parse(&network.to_string().repeat(64)).expect("an id");
        Asker { network: Some(network), owner: owner.to_owned() }
    }

    fn held(shares: &[Share]) -> usize {
        shares.iter().filter(|share| !share.given_up.is_cancelled()).count()
    }

    #[test]
    fn nobody_takes_more_than_a_part_and_all_together_no_more_than_there_are() {
        let shares = Shares::new(5, 2);
        let take =
            |owner: &str| -> Vec<Share> { (0..9).map_while(|_| shares.take(&asker('a', owner))).collect() };
        let (a, b, c) = (take("a"), take("b"), take("c"));
        assert_eq!((a.len(), b.len(), c.len()), (2, 2, 1));
        drop(a);
        assert_eq!((take("b").len(), take("d").len()), (0, 2));
        drop((b, c));
        assert!(shares.taken.lock().by_network.is_empty());
        assert_eq!(shares.taken.lock().all, 0);
    }

    #[test]
    fn whoever_has_more_than_another_gives_way_to_it_and_nobody_else_does() {
        let shares = Shares::new(12, 4);
        let take = |network, owner: &str, count: usize| -> Vec<Share> {
            (0..count).map_while(|_| shares.take(&asker(network, owner))).collect()
        };
        // Somebody in the names of three neighbours.
        let hog = [take('a', "one", 4), take('a', "two", 4), take('a', "three", 4)];
        let neighbour = take('a', "neighbour", 9);
        assert_eq!(neighbour.len(), 3, "as much as each of them has left");
        let hog_has = || hog.iter().map(|shares| held(shares)).sum::<usize>();
        assert_eq!((hog_has(), held(&neighbour)), (9, 3));
        // Those of another network have as much as this one, and take it from whoever has the most.
        let elsewhere = [take('b', "x", 4), take('b', "y", 4)];
        assert_eq!(elsewhere.iter().map(|shares| held(shares)).collect::<Vec<_>>(), [3, 3]);
        assert_eq!((hog_has(), held(&neighbour)), (4, 2));
        // It is given up once, however it ends.
        drop((hog, neighbour, elsewhere));
        assert_eq!(shares.taken.lock().all, 0);
        assert!(shares.taken.lock().by_network.is_empty());
    }
}
