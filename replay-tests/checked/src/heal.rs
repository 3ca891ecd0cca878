//! What happens when nothing goes wrong any more: one engine, words that arrive, bodies that end, a clock that runs.

use crate::inputs::{Input, Says};
use crate::rules::{ENGINES, Rules, WORKERS};
use crate::state::{State, Word};

/// More than any activity within the bounds needs.
const ROUNDS: usize = 200;

/// Whether the activity comes to an end from here, once faults stop. A bounded and certain way to ask for what happens
/// "in the end": the search does not have to look for cycles.
pub fn closes(rules: &Rules, state: &State) -> bool {
    if state.life.end.is_some() {
        return true;
    }
    let mut state = state.clone();
    let owner = (0..ENGINES).find(|at| state.engines[*at].as_ref().is_some_and(|engine| engine.tip == state.tip));
    let owner = owner.unwrap_or_else(|| {
        state.open(rules, 0, false, true);
        0
    });
    for at in 0..ENGINES {
        if at != owner {
            state.engines[at] = None;
        }
    }
    let disconnected =
        |state: &State, worker: &usize| state.engines[owner].as_ref().is_some_and(|engine| !engine.connected[*worker]);
    for worker in 0..WORKERS {
        if disconnected(&state, &worker) {
            state.step(rules, owner, Input::Joined(worker));
        }
    }
    for _ in 0..ROUNDS {
        if state.life.end.is_some() {
            return true;
        }
        if !go_on(rules, &mut state, owner) {
            return false;
        }
    }
    false
}

/// The next thing that happens; false if nothing ever will.
fn go_on(rules: &Rules, state: &mut State, owner: usize) -> bool {
    let Some(engine) = &state.engines[owner] else { return false };
    if !engine.pending.is_empty() {
        if let Some((opening, effects)) = state.commit(rules, owner) {
            state.release(rules, opening, &effects);
        }
        return true;
    }
    if let Some(word) = state.words.pop_first() {
        match word {
            Word::Request(..) | Word::Stop(..) => state.reach(word),
            Word::Answer(..) | Word::Alive(_) => state.arrive(rules, owner, word),
        }
        return true;
    }
    if let Some(body) = state.bodies.pop_first() {
        state.words.insert(Word::Answer(body.leg, Says::Completed));
        return true;
    }
    if let Some(at) = engine.next_deadline(rules) {
        if let Some(engine) = &mut state.engines[owner] {
            engine.now = engine.now.max(at);
        }
        state.step(rules, owner, Input::Tick);
        return true;
    }
    // Only where something was swallowed may it take a worker that connects anew.
    if std::mem::take(&mut state.swallowed) {
        for worker in 0..WORKERS {
            state.step(rules, owner, Input::Joined(worker));
        }
        return true;
    }
    false
}
