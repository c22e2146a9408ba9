use tidegate_model::{Name, UpstreamSpec};

use super::*;
use crate::{change::Origin, effect::Definition, pool::Source};

fn name(pool: &str) -> Name {
    Name::new(pool).expect("a name")
}

fn definition(pool: &str, keepalive: u32) -> Definition {
    Definition {
        name: name(pool),
        order: 0,
        source: Source::Api,
        spec: Arc::new(UpstreamSpec { keepalive: Some(keepalive), ..UpstreamSpec::default() }),
        resolved: Arc::default(),
    }
}

/// A generation that defines pools; each with what it was before.
fn change(generation: u64, pools: &[(&str, Option<u32>, Option<u32>)]) -> Changed {
    let effect = |(pool, _, after): &(&str, Option<u32>, Option<u32>)| match after {
        Some(after) => Effect::PoolPut(definition(pool, *after)),
        None => Effect::PoolDelete(name(pool)),
    };
    let before = |(pool, before, _): &(&str, Option<u32>, Option<u32>)| {
        before.map(|before| definition(pool, before))
    };
    Changed {
        generation,
        at: now(),
        origin: Origin::Api,
        caller: "a test".into(),
        reason: None,
        effects: pools.iter().map(effect).collect(),
        before: Some(pools.iter().filter_map(before).collect()),
        key: None,
        ended: Vec::new(),
    }
}

fn entry(change: &Changed) -> Entry {
    Entry::of(change, change.payload().into())
}

fn history(bounds: Bounds) -> History {
    History::new(bounds, None, VecDeque::new(), Vec::new())
}

/// What pools were, by name and `keepalive`; 0: there was none.
fn state(history: &History, generation: u64) -> Vec<(String, u32)> {
    let state = history.state_at(generation).expect("it reads");
    let mut state: Vec<_> = state
        .into_values()
        .map(|(name, was)| {
            (name.to_string(), was.and_then(|was| was.spec.keepalive).unwrap_or_default())
        })
        .collect();
    state.sort();
    state
}

#[test]
fn a_pool_is_as_the_first_change_after_found_it() {
    let history = history(Bounds::default());
    for change in [
        change(1, &[]),
        change(2, &[("a", None, Some(1)), ("b", None, Some(1))]),
        change(3, &[("a", Some(1), Some(2))]),
        change(4, &[("b", Some(1), None)]),
        change(5, &[("A", Some(2), Some(3)), ("b", None, Some(9))]),
    ] {
        history.push(entry(&change));
    }
    let of = |pairs: &[(&str, u32)]| -> Vec<(String, u32)> {
        pairs.iter().map(|(pool, value)| ((*pool).into(), *value)).collect()
    };
    assert_eq!(state(&history, 1), of(&[("a", 0), ("b", 0)]));
    assert_eq!(state(&history, 2), of(&[("a", 1), ("b", 1)]));
    assert_eq!(state(&history, 3), of(&[("A", 2), ("b", 1)]));
    assert_eq!(state(&history, 4), of(&[("A", 2), ("b", 0)]));
    assert_eq!(state(&history, 5), of(&[]));
    let page = history.page(5, None, 2, Some("b")).expect("it reads");
    let generations: Vec<u64> = page.generations.iter().map(|past| past.generation).collect();
    assert_eq!((generations, page.next, page.oldest), (vec![5, 4], Some(4), 1));
    let page = history.page(4, Some(4), 2, Some("b")).expect("it reads");
    assert_eq!((page.generations.len(), page.next), (1, None));
}

#[test]
fn it_is_bounded_by_count_by_age_and_in_memory_by_size() {
    let history = self::history(Bounds { count: 3, ..Bounds::default() });
    (1..=10).for_each(|at| history.push(entry(&change(at, &[("a", None, Some(1))]))));
    assert_eq!(history.span(10), Some((1, 10)), "they may yet be taken back");
    history.settle();
    assert_eq!(history.span(10), Some((8, 10)));
    assert_eq!(history.span(9), Some((8, 9)), "what is not published is not told");
    let history = self::history(Bounds { age: Duration::from_secs(60), ..Bounds::default() });
    for at in 1..=4 {
        let past = Changed { at: now() - if at < 3 { 61_000 } else { 0 }, ..change(at, &[]) };
        history.push(entry(&past));
    }
    history.settle();
    assert_eq!(history.span(4), Some((3, 4)));
    let history = self::history(Bounds::default());
    let long = "x".repeat(10 << 20);
    for at in 1..=6 {
        history.push(entry(&Changed { reason: Some(long.clone()), ..change(at, &[]) }));
    }
    history.settle();
    assert_eq!(history.span(6), Some((4, 6)));
}

#[test]
fn what_was_refused_is_taken_back_and_its_number_used_again() {
    let history = history(Bounds::default());
    (1..=5).for_each(|at| history.push(entry(&change(at, &[("a", None, Some(1))]))));
    history.revert(3);
    assert_eq!(history.span(9), Some((1, 3)));
    history.push(entry(&change(4, &[("b", None, Some(7))])));
    let past = history.past(4).expect("it reads").expect("it is remembered");
    assert_eq!(past.changed, [name("b")]);
    let inner = history.inner();
    assert_eq!(inner.held, inner.entries.iter().map(Entry::held).sum::<usize>());
}

#[test]
fn nothing_before_a_gap_is_remembered() {
    let history = history(Bounds::default());
    for at in [1, 2, 5, 6] {
        history.push(entry(&change(at, &[])));
    }
    assert_eq!(history.span(6), Some((5, 6)));
}
