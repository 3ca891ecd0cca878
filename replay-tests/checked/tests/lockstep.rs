//! The model's engine does what the real one does: random walks through the model, with a real partition beside each of
//! its engines, fed the same. Every event, its time, every effect and every token must agree.
//!
//! `ANTIPHON_WALKS=100000 cargo test --release -p antiphon-checked --test lockstep` walks longer; `ANTIPHON_SEED` begins
//! elsewhere. A walk that fails names its seed.
#![allow(clippy::unwrap_used, reason = "tests")]

mod real;

use antiphon_checked::inputs::Says;
use antiphon_checked::model::Protocol;
use antiphon_checked::record::End;
use antiphon_checked::rules::{Bounds, ENGINES, Kind, Mistake, Rules};
use antiphon_checked::state::{Action, State};
use real::{Decided, Real};
use stateright::Model;
use std::collections::BTreeMap;

/// Everything may go wrong, and often.
const WILD: Bounds = Bounds { openings: 5, leaves: 4, lost: 3, repeats: 4, pending: 3, cancel: true, heartbeats: true };

/// Longer than most lives are.
const STEPS: usize = 60;

/// A small generator: the same walk for the same seed, on every machine.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }
}

/// What an engine decided last.
fn newest(state: &State, at: usize) -> Option<Decided> {
    let engine = state.engines[at].as_ref()?;
    engine.pending.back().map(|batch| Decided::of_model(engine.opening, batch))
}

/// What an engine decided in this step, if it did.
fn grown(before: &State, after: &State, at: usize) -> Option<Decided> {
    let (old, new) = (before.engines[at].as_ref(), after.engines[at].as_ref()?);
    let had = old.filter(|old| old.opening == new.opening).map_or(0, |old| old.pending.len());
    if new.pending.len() > had { newest(after, at) } else { None }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

/// One walk: how many steps it had, and how the activity ended; or where the two engines part.
fn walk(rules: &Rules, seed: u64) -> Result<(usize, Option<End>), String> {
    let protocol = Protocol { rules: rules.clone(), only: None };
    let mut dice = Dice(seed);
    let mut state = State::start(rules);
    let mut real = Real::start(rules);
    let mut way = vec![Action::Open(0, false, true)];
    agree(real.act(&state, rules, &way[0]), newest(&state, 0), seed, &way)?;
    for _ in 0..STEPS {
        let mut actions = Vec::new();
        protocol.actions(&state, &mut actions);
        // Something can go wrong at every step; a life is longer if that is drawn less often than the rest.
        if dice.below(6) > 0 && !actions.iter().all(goes_wrong) {
            actions.retain(|action| !goes_wrong(action));
        }
        if actions.is_empty() {
            break;
        }
        let action = actions[dice.below(actions.len())];
        way.push(action);
        let next = protocol.next_state(&state, action).unwrap();
        let expected = (0..ENGINES).find_map(|at| grown(&state, &next, at));
        agree(real.act(&state, rules, &action), expected, seed, &way)?;
        state = next;
    }
    Ok((way.len(), state.life.end))
}

fn goes_wrong(action: &Action) -> bool {
    match action {
        Action::Cancel(_) | Action::Crash(_) | Action::CommitAndCrash(_) | Action::Open(..) => true,
        Action::Leave(..) | Action::Lose(_) | Action::Vanish(_) => true,
        Action::Pass(_, leaps) => *leaps,
        Action::Answer(_, says) => *says == Says::Panicked,
        Action::Commit(_) | Action::Join(..) | Action::Arrive(..) | Action::Reach(..) | Action::Beat(_) => false,
    }
}

fn agree(real: Decided, model: Option<Decided>, seed: u64, way: &[Action]) -> Result<(), String> {
    let model = model.unwrap_or_default();
    if real == model {
        return Ok(());
    }
    Err(format!("seed {seed}, behind {way:?}:\nthe real engine decided {real:#?}\nthe model's {model:#?}"))
}

#[test]
fn the_model_decides_event_for_event_what_the_real_partition_decides() {
    let (walks, seed) = (number("ANTIPHON_WALKS", 400), number("ANTIPHON_SEED", 1));
    let (mut steps, mut ends) = (0, BTreeMap::<String, usize>::new());
    for at in 0..walks {
        for kind in Kind::ALL {
            let rules = Rules::new(kind, WILD);
            let (walked, end) = walk(&rules, seed + at).unwrap_or_else(|parted| panic!("{kind:?}, {parted}"));
            steps += walked;
            *ends.entry(format!("{end:?}")).or_default() += 1;
        }
    }
    println!("{} walks from seed {seed}, {steps} steps, ends: {ends:?}", walks * 3);
    // A result, an error, four deadlines, too many losses, nobody there, cancelled.
    ends.remove("None");
    assert_eq!(ends.len(), 9, "every end is walked to: {ends:?}");
}

#[test]
fn a_model_that_decides_otherwise_is_told_apart() {
    let otherwise = [
        (Mistake::AnyToken, Kind::Timed),
        (Mistake::SameLegAgain, Kind::Timed),
        (Mistake::LegLeftOpen, Kind::Timed),
        (Mistake::EndlessLosses, Kind::Timed),
        (Mistake::EndlessRetries, Kind::Timed),
        (Mistake::TwiceAnyway, Kind::AtMostOnce),
        (Mistake::NotTakenUp, Kind::FailFast),
        (Mistake::WaitUnwritten, Kind::Timed),
        (Mistake::ClockBehind, Kind::Timed),
    ];
    for (mistake, kind) in otherwise {
        let rules = Rules::new(kind, WILD).with(mistake);
        let parted = (1..2_000).find(|seed| walk(&rules, *seed).is_err());
        assert!(parted.is_some(), "{mistake:?} is not noticed");
        println!("{mistake:?} is noticed by seed {}", parted.unwrap());
    }
}
