//! A hundred thousand that wait: what the next one costs, and who gets a turn. Work is counted, not timed.

use super::super::slots::LOOKS;
use super::*;

const KEYS: u64 = 1_000;

fn of_key(key: u64) -> ActivityCall {
    call("q", "a", |options| options.fairness_key = format!("tenant {key}"))
}

/// So many calls in line, each of the key that `key_of` gives for its number; a worker with one place, and one that asks.
fn line(depth: u64, calls: &[ActivityCall], key_of: impl Fn(u64) -> u64) -> Dispatch {
    let mut dispatch = Dispatch::default();
    dispatch.join(spec("w1", &["q"], &["a"], &[], 1), false);
    dispatch.join(spec("p1", &["q"], &["a"], &[], 1), true);
    for run in 0..depth {
        let key = usize::try_from(key_of(run)).unwrap();
        dispatch.add(RunKey(run), Ordinal(1), &calls[key], T0);
    }
    dispatch
}

/// Takes the next one for a worker that is pushed to, or that asks; lets it end, and returns whose turn it was.
fn turn(dispatch: &mut Dispatch, calls: &[ActivityCall], key_of: impl Fn(u64) -> u64, asks: bool) -> u64 {
    let found = if asks { dispatch.next_for("p1", &[], T0) } else { dispatch.next(T0) };
    let (run, ordinal) = found.expect("many wait");
    let key = key_of(run.0);
    let call = &calls[usize::try_from(key).unwrap()];
    let worker = if asks { "p1".into() } else { dispatch.choose(call, &[]).expect("a place is free").worker };
    dispatch.place(&worker, conversation(run.0), 1, call, T0);
    assert!(dispatch.release(conversation(run.0), 1, T0));
    dispatch.over(run, ordinal, call);
    key
}

#[test]
fn the_next_of_a_hundred_thousand_is_found_with_as_many_looks_as_the_next_of_a_thousand() {
    for keys in [1, KEYS] {
        let calls: Vec<ActivityCall> = (0..keys).map(of_key).collect();
        let looks = |depth: u64| {
            let mut dispatch = line(depth, &calls, |run| run % keys);
            [false, true].map(|asks| {
                // Past the first turns, in which tags begin to differ.
                let mut count = || {
                    let before = LOOKS.get();
                    turn(&mut dispatch, &calls, |run| run % keys, asks);
                    LOOKS.get() - before
                };
                (0..20).map(|_| count()).max().unwrap()
            })
        };
        let (few, many) = (looks(2 * KEYS), looks(100_000));
        assert_eq!(few, many, "looks at queues, lanes, flows, groups and classes for one turn, over {keys} keys");
        assert!(many.iter().all(|looks| *looks < 100), "{many:?}");
    }
}

#[test]
fn each_of_a_thousand_keys_gets_one_of_any_thousand_turns_though_a_hundred_thousand_wait() {
    let calls: Vec<ActivityCall> = (0..KEYS).map(of_key).collect();
    // One after the other with all that each wants; and one that wants nearly everything, before all others.
    let in_blocks = |run: u64| run / 100;
    let greedy = |run: u64| if run < 90_010 { 0 } else { 1 + (run - 90_010) / 10 };
    check(&calls, in_blocks);
    check(&calls, greedy);

    fn check(calls: &[ActivityCall], key_of: impl Fn(u64) -> u64 + Copy) {
        let mut dispatch = line(100_000, calls, key_of);
        for round in 0..8 {
            let mut turns: Vec<u64> = (0..KEYS).map(|_| turn(&mut dispatch, calls, key_of, round % 2 == 1)).collect();
            turns.sort_unstable();
            assert!(turns.into_iter().eq(0..KEYS), "each key once in round {round}");
        }
    }
}
