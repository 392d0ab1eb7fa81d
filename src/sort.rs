//! One sort for every list of this program. The standard library's is compiled anew for each type and order, 4 kB at a
//! time; here it sorts positions, and only the swaps know the type.

use std::cmp::Ordering;

/// Like `slice::sort_by`: equal items keep their order.
pub fn by<T>(list: &mut [T], order: impl Fn(&T, &T) -> Ordering) {
    let mut from = positions(list.len(), &|a, b| order(&list[a], &list[b]));
    for at in 0..list.len() {
        // What stood there was swapped away by an earlier step, perhaps more than once.
        while from[at] < at {
            from[at] = from[from[at]];
        }
        list.swap(at, from[at]);
    }
}

/// Like `slice::sort_by_key`.
pub fn by_key<T, K: Ord>(list: &mut [T], key: impl Fn(&T) -> K) {
    by(list, |a, b| key(a).cmp(&key(b)));
}

/// Where each item of the sorted list stands now.
fn positions(len: usize, order: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut positions: Vec<usize> = (0..len).collect();
    positions.sort_by(|&a, &b| order(a, b));
    positions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_as_the_standard_library_does() {
        let mut seed = 1;
        for len in (0..70).chain([1000]) {
            let draw = |_| {
                seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648_u64;
                (seed >> 16) % 20
            };
            let mut list: Vec<(u64, usize)> = (0..len).map(draw).zip(0..).collect();
            let mut expected = list.clone();
            expected.sort_by_key(|item| item.0);
            by_key(&mut list, |item| item.0);
            assert_eq!(list, expected);
            by(&mut list, |a, b| b.cmp(a));
            expected.sort_by(|a, b| b.cmp(a));
            assert_eq!(list, expected);
        }
    }
}
