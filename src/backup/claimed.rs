//! The ids of a kind that a run adds. Whoever claims one first stores it.
//!
//! A set of its own, as memory counts: hash sets that double hold 33 bytes in up to twice as many places as they need,
//! and all of 64 such sets double at the same time. Here a part grows by an eighth of itself when seven of eight places
//! are taken, eight parts at a time at most: 36 to 42 bytes an id.

use std::sync::Mutex;

use super::run::lock;
use crate::repository::Id;

const PARTS: usize = 64;
/// Places that the first part begins with.
const FIRST_PLACES: usize = 64;

/// Ids, in parts that workers lock one by one.
pub(super) struct Claimed {
    parts: Vec<Mutex<Part>>,
}

impl Default for Claimed {
    fn default() -> Self {
        Self { parts: (0..PARTS).map(|_| Mutex::default()).collect() }
    }
}

impl Claimed {
    /// Whether nobody claimed it before.
    pub(super) fn claim(&self, id: Id) -> bool {
        let [.., last] = id.0;
        let number = usize::from(last) % PARTS;
        // Eight sizes to begin with, an eighth apart in all: no more than eight parts grow at the same moment.
        let first_places = FIRST_PLACES + number / 8;
        self.parts.get(number).is_some_and(|part| lock(part).insert(id, first_places))
    }
}

/// A set with open addressing: an id lies at the place that its first bytes say, or behind it in the next one that was
/// free. The id of zeros marks a free place, and is itself remembered apart.
#[derive(Default)]
struct Part {
    places: Vec<Id>,
    taken: usize,
    holds_zero: bool,
}

const FREE: Id = Id([0; 32]);

impl Part {
    /// Whether it is new.
    fn insert(&mut self, id: Id, first_places: usize) -> bool {
        if id == FREE {
            return !std::mem::replace(&mut self.holds_zero, true);
        }
        if (self.taken + 1) * 8 > self.places.len() * 7 {
            self.grow(first_places);
        }
        let is_new = put(&mut self.places, id);
        self.taken += usize::from(is_new);
        is_new
    }

    fn grow(&mut self, first_places: usize) {
        let count = (self.places.len() + self.places.len() / 8).max(first_places);
        let mut places = vec![FREE; count];
        for id in self.places.iter().filter(|id| **id != FREE) {
            put(&mut places, *id);
        }
        self.places = places;
    }
}

/// Whether it was not there. One place at least is free.
fn put(places: &mut [Id], id: Id) -> bool {
    let leading = id.0.first_chunk().copied().map_or(0, u64::from_be_bytes);
    let start = ((u128::from(leading) * places.len() as u128) >> 64) as usize;
    let (before, from) = places.split_at_mut(start);
    for place in from.iter_mut().chain(before) {
        if *place == id {
            return false;
        }
        if *place == FREE {
            *place = id;
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use std::collections::HashSet;

    use super::*;
    use crate::random::{Random, SystemRandom};

    #[test]
    fn an_id_is_claimed_once() {
        let mut dice = vec![0; 60_000];
        SystemRandom.fill(&mut dice).unwrap();
        let (claimed, mut plain) = (Claimed::default(), HashSet::from([FREE]));
        assert!(claimed.claim(FREE));
        for dice in dice.chunks_exact(4) {
            // Few ids, so that many come again, and all of them want the first places or the last.
            let mut id = Id(if dice[0] % 2 == 0 { [0; 32] } else { [255; 32] });
            (id.0[7], id.0[16], id.0[31]) = (dice[1] % 4, dice[2], dice[3] % 3);
            assert_eq!(claimed.claim(id), plain.insert(id), "{}", id.hex());
        }
        assert!(plain.len() > 2000);
    }

    #[test]
    fn it_takes_less_than_an_entry_of_the_index() {
        let claimed = Claimed::default();
        for count in 1..=200_000_u32 {
            assert!(claimed.claim(Id::of(&count.to_le_bytes())));
            if count >= 20_000 && count % 1000 == 0 {
                let bytes: usize = claimed.parts.iter().map(|part| size_of_val(&*lock(part).places)).sum();
                assert!(bytes < 44 * count as usize, "{bytes} bytes for {count} ids");
            }
        }
        assert!((1..=200_000_u32).all(|count| !claimed.claim(Id::of(&count.to_le_bytes()))));
    }
}
