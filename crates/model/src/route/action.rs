//! What becomes of the requests of a route: a pool gets them, one of several by the share of their
//! key, or they are answered here.

use std::sync::Arc;

use crate::{Template, upstream::HashKey};

/// Where a request goes.
#[derive(Clone, Debug)]
pub enum Action {
    Redirect(Redirect),
    Respond(Respond),
    Split(Split),
    /// The name of the pool.
    Upstream(Template),
}

/// Several pools, each with a share of all keys.
#[derive(Clone, Debug)]
pub struct Split {
    pub key: HashKey,
    /// At least one, and one of them has weight.
    pub to: Vec<Portion>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Portion {
    pub upstream: Template,
    /// Of all together.
    pub weight: u32,
}

/// An answer that is written in the file.
#[derive(Clone, Debug)]
pub struct Respond {
    pub status: u16,
    pub body: Arc<[u8]>,
    pub headers: Vec<(String, Template)>,
}

/// The answer that it is elsewhere.
#[derive(Clone, Debug)]
pub struct Redirect {
    pub status: u16,
    pub location: Template,
}

impl Action {
    /// The word for it in files and answers.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Redirect(_) => "redirect",
            Self::Respond(_) => "respond",
            Self::Split(_) => "split",
            Self::Upstream(_) => "upstream",
        }
    }

    /// What names pools; empty when no server is asked.
    pub fn upstreams(&self) -> Vec<&Template> {
        match self {
            Self::Upstream(upstream) => vec![upstream],
            Self::Split(split) => split.to.iter().map(|portion| &portion.upstream).collect(),
            Self::Redirect(_) | Self::Respond(_) => Vec::new(),
        }
    }

    pub(super) fn templates_mut(&mut self) -> Vec<&mut Template> {
        match self {
            Self::Redirect(redirect) => vec![&mut redirect.location],
            Self::Respond(respond) => respond.headers.iter_mut().map(|(_, value)| value).collect(),
            Self::Split(split) => split.to.iter_mut().map(|one| &mut one.upstream).collect(),
            Self::Upstream(upstream) => vec![upstream],
        }
    }
}

impl Split {
    /// Whose share a key lies in. `place` is where it lies among all of 2^64: the shares follow
    /// one another in the order of the list. Without a key it is the first that has weight.
    ///
    /// With the sum of the weights unchanged, only the keys between an old and a new border change
    /// sides: what one pool gains at the cost of its neighbour.
    pub fn portion(&self, place: Option<u64>) -> &Portion {
        let total: u128 = self.to.iter().map(|portion| u128::from(portion.weight)).sum();
        let place = u128::from(place.unwrap_or(0)) * total;
        let mut below = 0;
        let mine = self.to.iter().find(|portion| {
            below += u128::from(portion.weight);
            place < below << 64
        });
        mine.unwrap_or(&self.to[0])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(weights: &[u32]) -> Split {
        let portion = |(at, weight): (usize, &u32)| Portion {
            upstream: Template::parse(&at.to_string()).expect("a template"),
            weight: *weight,
        };
        let to = weights.iter().enumerate().map(portion).collect();
        Split { key: HashKey::default(), to }
    }

    fn side(split: &Split, place: Option<u64>) -> usize {
        split.portion(place).upstream.as_str().parse().expect("a number")
    }

    #[test]
    fn shares_follow_one_another() {
        let even = split(&[1, 1]);
        assert_eq!([0, u64::MAX / 2].map(|place| side(&even, Some(place))), [0, 0]);
        assert_eq!([u64::MAX / 2 + 1, u64::MAX].map(|place| side(&even, Some(place))), [1, 1]);
        let gone = split(&[0, 3, 0]);
        assert_eq!([None, Some(0), Some(u64::MAX)].map(|place| side(&gone, place)), [1, 1, 1]);
        let large = split(&[u32::MAX, u32::MAX]);
        assert_eq!([0, u64::MAX].map(|place| side(&large, Some(place))), [0, 1]);
        assert_eq!(side(&split(&[95, 5]), None), 0, "without a key");
    }

    proptest! {
        #[test]
        fn a_pool_that_gains_from_the_one_before_it_only_gains(
            weights in prop::collection::vec(0_u32..100, 2..5),
            more in 0_u32..100,
            place in any::<u64>(),
        ) {
            let last = weights.len() - 1;
            let mut after = weights.clone();
            let moved = more.min(after[last - 1]);
            after[last - 1] -= moved;
            after[last] += moved;
            prop_assume!(weights.iter().sum::<u32>() > 0);
            let (before, after) = (side(&split(&weights), Some(place)), side(&split(&after), Some(place)));
            prop_assert!(before == after || (before == last - 1 && after == last));
        }
    }
}
