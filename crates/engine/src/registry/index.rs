//! Which things have a label: so that who asks for those of one pod looks at those alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Ids by label. A thing's labels are what they were when it was made, so that it is entered once.
#[derive(Debug)]
pub(crate) struct LabelIndex<I> {
    by_key: HashMap<String, OfKey<I>>,
}

/// The ids of what has a label of one key.
#[derive(Debug)]
struct OfKey<I> {
    by_value: HashMap<String, BTreeSet<I>>,
    /// How many they are, whatever their values.
    count: usize,
}

impl<I: Ord + Clone> LabelIndex<I> {
    /// Enters a thing with all its labels.
    pub(crate) fn insert(&mut self, id: &I, labels: &BTreeMap<String, String>) {
        for (key, value) in labels {
            if !self.by_key.contains_key(key) {
                self.by_key.insert(key.clone(), OfKey { by_value: HashMap::new(), count: 0 });
            }
            let Some(of_key) = self.by_key.get_mut(key) else { continue };
            let is_new = match of_key.by_value.get_mut(value) {
                Some(ids) => ids.insert(id.clone()),
                None => of_key.by_value.insert(value.clone(), BTreeSet::from([id.clone()])).is_none(),
            };
            of_key.count += usize::from(is_new);
        }
    }

    /// Takes out a thing that was entered with these labels.
    pub(crate) fn remove(&mut self, id: &I, labels: &BTreeMap<String, String>) {
        for (key, value) in labels {
            let Some(of_key) = self.by_key.get_mut(key) else { continue };
            if let Some(ids) = of_key.by_value.get_mut(value) {
                of_key.count -= usize::from(ids.remove(id));
                if ids.is_empty() {
                    of_key.by_value.remove(value);
                }
            }
            if of_key.by_value.is_empty() {
                self.by_key.remove(key);
            }
        }
    }

    /// The ids of what has that one of the `wanted` labels (`key` or `key=value`) which the fewest have:
    /// whatever has all of them is among these. `None` where no label is wanted.
    pub(crate) fn narrowest(&self, wanted: &[String]) -> Option<Vec<I>> {
        let count = |wanted: &String| match wanted.split_once('=') {
            Some((key, value)) => self.with(key, value).map_or(0, BTreeSet::len),
            None => self.by_key.get(wanted).map_or(0, |of_key| of_key.count),
        };
        let rarest = wanted.iter().min_by_key(|wanted| count(wanted))?;
        Some(match rarest.split_once('=') {
            Some((key, value)) => self.with(key, value).into_iter().flatten().cloned().collect(),
            None => {
                let values = self.by_key.get(rarest).into_iter().flat_map(|of_key| of_key.by_value.values());
                values.flatten().cloned().collect()
            }
        })
    }

    fn with(&self, key: &str, value: &str) -> Option<&BTreeSet<I>> {
        self.by_key.get(key)?.by_value.get(value)
    }
}

impl<I> Default for LabelIndex<I> {
    fn default() -> Self {
        Self { by_key: HashMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(texts: &[&str]) -> BTreeMap<String, String> {
        let pair = |text: &&str| {
            let (key, value) = text.split_once('=').expect("a label");
            (key.to_owned(), value.to_owned())
        };
        texts.iter().map(pair).collect()
    }

    #[track_caller]
    fn check(index: &LabelIndex<u32>, wanted: &[&str], expected: Option<&[u32]>) {
        let wanted: Vec<String> = wanted.iter().map(|&text| text.to_owned()).collect();
        let mut found = index.narrowest(&wanted);
        found.iter_mut().for_each(|ids| ids.sort_unstable());
        assert_eq!(found.as_deref(), expected, "{wanted:?}");
    }

    #[test]
    fn the_label_that_the_fewest_have_says_what_is_looked_at() {
        let mut index = LabelIndex::default();
        index.insert(&1, &labels(&["tier=front", "app=a"]));
        index.insert(&2, &labels(&["tier=front", "app=b"]));
        index.insert(&3, &labels(&["tier=back", "note="]));
        check(&index, &[], None);
        check(&index, &["tier=front"], Some(&[1, 2]));
        check(&index, &["tier=front", "app=b"], Some(&[2]));
        check(&index, &["tier"], Some(&[1, 2, 3]));
        check(&index, &["tier", "app"], Some(&[1, 2]));
        check(&index, &["note="], Some(&[3]));
        check(&index, &["tier="], Some(&[]));
        check(&index, &["tier=front", "none"], Some(&[]));
    }

    #[test]
    fn what_is_taken_out_leaves_nothing() {
        let mut index = LabelIndex::default();
        let (one, other) = (labels(&["tier=front", "app=a"]), labels(&["tier=front"]));
        index.insert(&1, &one);
        index.insert(&1, &one);
        index.insert(&2, &other);
        index.remove(&1, &one);
        index.remove(&1, &one);
        check(&index, &["tier"], Some(&[2]));
        check(&index, &["app"], Some(&[]));
        index.remove(&2, &other);
        assert!(index.by_key.is_empty());
    }
}
