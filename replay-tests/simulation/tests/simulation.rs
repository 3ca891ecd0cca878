//! What fits into a test build; `.ci/run` leads many more lives through the optimised one.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_simulation::{Bounds, Life, Look, Plan, StoreKind, campaign, live};

fn assert_kept(bounds: Bounds, store: StoreKind, name: &str) -> u64 {
    let found = campaign(bounds, store);
    if let Some((seed, broken)) = found.broken.values().next() {
        panic!(
            "{broken}\nrepeat it: cargo run --release -p antiphon-simulation --bin simulate -- seed {seed} --store {name}"
        );
    }
    assert_eq!(found.seeds, bounds.seeds, "every seed was lived");
    found.steps
}

#[test]
fn lives_on_the_model_keep_every_promise_and_come_out_alike_twice() {
    let steps = assert_kept(
        Bounds { seeds: 1_200, prefixes_every: 8, jobs: 2, ..Bounds::default() },
        StoreKind::Model,
        "model",
    );
    assert!(steps > 200_000, "{steps} steps");
}

#[test]
fn lives_on_the_store_in_memory_keep_every_promise() {
    assert_kept(Bounds { from: 100_000, seeds: 240, jobs: 2, ..Bounds::default() }, StoreKind::Memory, "memory");
}

#[test]
fn lives_on_sqlite_keep_every_promise() {
    assert_kept(Bounds { from: 200_000, seeds: 60, jobs: 2, ..Bounds::default() }, StoreKind::Sqlite, "sqlite");
}

/// The stores differ in everything but what they promise, so the engine must not notice on which it lives.
#[test]
fn a_life_leaves_the_same_trace_on_every_store() {
    for seed in 300_000..300_012 {
        let plan = Plan::of(seed);
        let on = |store| live(&plan, store, Look { every_prefix: false, told: false });
        let lives: Vec<Life> = [StoreKind::Model, StoreKind::Memory, StoreKind::Sqlite].into_iter().map(on).collect();
        assert!(lives.iter().all(|life| life.broken.is_none()), "seed {seed}: {lives:?}");
        assert!(lives.iter().all(|life| life.digest == lives[0].digest), "seed {seed}");
    }
}
