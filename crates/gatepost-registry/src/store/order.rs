//! Where items stand when a list replaces what was there.
//!
//! Most of such a list is what was there before, in the order that it had. Items that need not
//! move keep their positions, so that the history of an import is what is different in it.

/// Room between two items that were added one after the other: 24 can be put into the same place
/// before a neighbour has to move, and 2^39 can be added at the end.
pub(super) const STRIDE: i64 = 1 << 24;

/// The positions of a list, which grow. `before` has those that its items had, in the order of the
/// list; as many as can be are kept.
pub(super) fn positions(before: &[Option<i64>]) -> Vec<i64> {
    let mut positions = Vec::with_capacity(before.len());
    for anchor in ascent(before) {
        let Some(position) = before[anchor] else { continue };
        let between = anchor - positions.len();
        if let Some(between) = room(positions.last().copied(), position, between) {
            positions.extend(between);
            positions.push(position);
        }
        // Else there is too little room in front of it: it goes with those that have to move.
    }
    let mut last = positions.last().copied().unwrap_or(0);
    positions.resize_with(before.len(), || {
        // No store sees 2^39 edits.
        last = last.saturating_add(STRIDE);
        last
    });
    positions
}

/// Positions for `count` items behind `left`, if there is one, and in front of `right`.
fn room(left: Option<i64>, right: i64, count: usize) -> Option<impl Iterator<Item = i64>> {
    let count = i64::try_from(count).ok()?;
    let left = left.unwrap_or_else(|| right.saturating_sub((count + 1).saturating_mul(STRIDE)));
    let step = right.saturating_sub(left) / (count + 1);
    (step > 0).then(|| (1..=count).map(move |number| left + number * step))
}

/// The longest part of a list whose positions grow, as indexes: those that can stay. (Patience
/// sorting: the n-th pile has on top the smallest end of an ascent of n.)
fn ascent(positions: &[Option<i64>]) -> Vec<usize> {
    let mut piles: Vec<usize> = Vec::new();
    let mut previous = vec![None; positions.len()];
    for (index, position) in positions.iter().enumerate().filter(|(_, position)| position.is_some())
    {
        let pile = piles.partition_point(|&top| positions[top] < *position);
        previous[index] = pile.checked_sub(1).map(|left| piles[left]);
        if pile == piles.len() {
            piles.push(index);
        } else {
            piles[pile] = index;
        }
    }
    let last = piles.last().copied();
    let mut ascent: Vec<_> = std::iter::successors(last, |&index| previous[index]).collect();
    ascent.reverse();
    ascent
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept(before: &[Option<i64>], after: &[i64]) -> usize {
        before.iter().zip(after).filter(|(before, after)| **before == Some(**after)).count()
    }

    #[test]
    fn what_need_not_move_stays() {
        let old = [10, 20, 30, 40].map(|position| Some(position * STRIDE));
        assert_eq!(kept(&old, &positions(&old)), 4);
        // One goes, one comes at each end and in between, the last goes to the front.
        let new = [None, old[3], old[0], None, old[2], None];
        let after = positions(&new);
        assert_eq!(kept(&new, &after), 2);
        assert!(after.is_sorted_by(|left, right| left < right), "{after:?}");
        assert_eq!(positions(&[None, None]), [STRIDE, 2 * STRIDE]);
        assert!(positions(&[]).is_empty());
    }

    #[test]
    fn a_place_that_is_full_takes_its_neighbours_with_it() {
        let before = [Some(1), None, Some(2), Some(3), Some(9)];
        let after = positions(&before);
        assert!(after.is_sorted_by(|left, right| left < right), "{after:?}");
        assert_eq!((after[0], after[4]), (1, 9));
        // The same place again and again.
        let mut list = positions(&[None, None]);
        for _ in 0..200 {
            let mut before: Vec<_> = list.iter().copied().map(Some).collect();
            before.insert(1, None);
            list = positions(&before);
            assert!(list.is_sorted_by(|left, right| left < right), "{list:?}");
        }
    }

    proptest! {
        #[test]
        fn positions_grow_and_no_more_move_than_must(
            order in Just((1..40_i64).collect::<Vec<_>>()).prop_shuffle(),
            new in prop::collection::vec(any::<bool>(), 39),
            wide in any::<bool>(),
        ) {
            let scale = if wide { STRIDE } else { 1 };
            let before: Vec<_> =
                order.iter().zip(&new).map(|(at, new)| (!new).then_some(at * scale)).collect();
            let after = positions(&before);
            prop_assert_eq!(after.len(), before.len());
            prop_assert!(after.is_sorted_by(|left, right| left < right));
            if wide {
                prop_assert_eq!(kept(&before, &after), longest(&before));
            }
        }
    }

    /// The length of the longest ascent, in the slow and obvious way.
    fn longest(before: &[Option<i64>]) -> usize {
        let known: Vec<_> = before.iter().flatten().collect();
        let mut ends = vec![1; known.len()];
        for right in 0..known.len() {
            for left in 0..right {
                if known[left] < known[right] {
                    ends[right] = ends[right].max(ends[left] + 1);
                }
            }
        }
        ends.into_iter().max().unwrap_or(0)
    }
}
