//! Shuffle sharding: which queues a flow may use.
//!
//! Two flows have few queues in common, so that one that fills all of its own leaves others some of theirs.

/// The longest hand whose cards a hash of 60 bits can deal, of any number of queues.
const LONGEST: usize = 16;

/// Some queues, each once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hand {
    cards: [u32; LONGEST],
    count: usize,
}

impl Hand {
    pub(super) fn cards(&self) -> &[u32] {
        &self.cards[..self.count]
    }
}

/// Deals `hand` of `queues` by a hash: at least one, and each at most once.
pub(super) fn deal(mut hash: u64, queues: u32, hand: u32) -> Hand {
    let count = (hand.min(queues).max(1) as usize).min(LONGEST);
    let mut cards = [0; LONGEST];
    for at in 0..count {
        // Which of those that are left: the hash is a number whose digits have ever smaller bases.
        let left = u64::from(queues.max(1)) - at as u64;
        let mut card = (hash % left) as u32;
        hash /= left;
        // Counted past those that are dealt already, which are in order.
        let dealt = &mut cards[..at];
        dealt.sort_unstable();
        for known in dealt.iter() {
            card += u32::from(card >= *known);
        }
        cards[at] = card;
    }
    Hand { cards, count }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_has_each_queue_once_and_hashes_spread_evenly() {
        for (queues, hand) in [(1, 1), (2, 2), (64, 6), (128, 6), (16, 4), (16, 15), (10_000_000, 2)] {
            let mut counts = std::collections::HashMap::new();
            for number in 0..2000_u64 {
                let hash = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let dealt = deal(hash, queues, hand);
                let mut cards = dealt.cards().to_vec();
                assert_eq!(cards.len(), hand as usize, "{queues} {hand}");
                assert!(cards.iter().all(|card| *card < queues));
                cards.sort_unstable();
                cards.dedup();
                assert_eq!(cards.len(), hand as usize, "each once");
                for card in cards {
                    *counts.entry(card).or_insert(0_u32) += 1;
                }
            }
            if queues <= 128 {
                let even = 2000 * hand / queues;
                assert_eq!(counts.len(), queues as usize);
                assert!(counts.values().all(|count| *count > even / 2 && *count < even * 2), "{counts:?}");
            }
        }
    }

    #[test]
    fn what_no_object_may_say_deals_a_hand_all_the_same() {
        assert_eq!(deal(7, 0, 0).cards(), [0]);
        assert_eq!(deal(7, 3, 100).cards().len(), 3);
        assert_eq!(deal(u64::MAX, 1000, 1000).cards().len(), LONGEST);
    }
}
