use antiphon_history::Ordinal;
use std::collections::VecDeque;

/// What belongs to places in a run, in their order.
///
/// Calls are made in order and end about in order, so adding is at the back and taking out near the front. A run that
/// waits for one thing holds one small allocation, where a tree would hold a node for eleven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ordinals<V>(VecDeque<(Ordinal, V)>);

impl<V> Default for Ordinals<V> {
    fn default() -> Ordinals<V> {
        Ordinals(VecDeque::new())
    }
}

impl<V> Ordinals<V> {
    pub(crate) fn get(&self, ordinal: Ordinal) -> Option<&V> {
        self.find(ordinal).ok().map(|at| &self.0[at].1)
    }

    pub(crate) fn get_mut(&mut self, ordinal: Ordinal) -> Option<&mut V> {
        self.find(ordinal).ok().map(|at| &mut self.0[at].1)
    }

    pub(crate) fn contains(&self, ordinal: Ordinal) -> bool {
        self.find(ordinal).is_ok()
    }

    pub(crate) fn insert(&mut self, ordinal: Ordinal, value: V) {
        match self.find(ordinal) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (ordinal, value)),
        }
    }

    pub(crate) fn remove(&mut self, ordinal: Ordinal) -> Option<V> {
        let at = self.find(ordinal).ok()?;
        self.0.remove(at).map(|(_, value)| value)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Ordinal, &V)> {
        self.0.iter().map(|(ordinal, value)| (*ordinal, value))
    }

    #[inline]
    fn find(&self, ordinal: Ordinal) -> Result<usize, usize> {
        // The oldest is what is looked for most, the newest what is added.
        match (self.0.front(), self.0.back()) {
            (Some((first, _)), _) if *first == ordinal => Ok(0),
            (_, Some((last, _))) if *last < ordinal => Err(self.0.len()),
            _ => self.0.binary_search_by_key(&ordinal, |(known, _)| *known),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_holds_what_a_tree_would_hold_in_the_same_order(steps in proptest::collection::vec((0u32..12, 0u8..3), 0..60)) {
            let (mut ours, mut tree) = (Ordinals::default(), BTreeMap::new());
            for (index, (place, what)) in steps.into_iter().enumerate() {
                let place = Ordinal(place);
                match what {
                    0 => prop_assert_eq!(ours.remove(place), tree.remove(&place)),
                    1 => {
                        ours.insert(place, index);
                        tree.insert(place, index);
                    }
                    _ => prop_assert_eq!(ours.get(place), tree.get(&place)),
                }
                prop_assert_eq!(ours.contains(place), tree.contains_key(&place));
                prop_assert_eq!(ours.iter().map(|(o, v)| (o, *v)).collect::<Vec<_>>(), tree.iter().map(|(o, v)| (*o, *v)).collect::<Vec<_>>());
            }
            prop_assert_eq!((ours.len(), ours.is_empty()), (tree.len(), tree.is_empty()));
        }
    }
}
