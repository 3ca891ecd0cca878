//! The state machine as stateright takes it: what can happen next, and what must hold in every state.

use crate::engine::Engine;
use crate::heal;
use crate::inputs::{Input, Place, Says, token};
use crate::record::End;
use crate::rules::{ENGINES, Rules, WORKERS};
use crate::state::{Action, LEAP_MS, State, Word, input_of, is_harmless};
use crate::witness::Broken;
use antiphon_conversation::Token;
use antiphon_history::TimeoutKind;
use stateright::{Model, Property};

/// The protocol under some rules.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// The rules.
    pub rules: Rules,
    /// Nothing but this property is looked at.
    pub only: Option<&'static str>,
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::start(&self.rules)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.is_over() {
            return;
        }
        let bounds = &self.rules.bounds;
        for (at, engine) in state.engines.iter().enumerate() {
            if state.openings < bounds.openings {
                let ways = [(false, false), (false, true), (true, true)];
                actions.extend(ways.map(|(ahead, connected)| Action::Open(at, ahead, connected)));
            }
            if let Some(engine) = engine {
                self.engine_actions(state, at, engine, actions);
            }
        }
        for word in &state.words {
            self.word_actions(state, *word, actions);
        }
        for body in &state.bodies {
            // What a body says of a leg that is over is all the same: it is not heard.
            let counts = state.counts(body.leg);
            let says = [Says::Completed, Says::Failed, Says::Panicked].into_iter().take(if counts { 3 } else { 1 });
            actions.extend(says.map(|says| Action::Answer(*body, says)));
            if counts && bounds.heartbeats && self.rules.options.heartbeat_ms.is_some() {
                actions.push(Action::Beat(*body));
            }
            if state.spent.lost < bounds.lost {
                actions.push(Action::Vanish(*body));
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = state.clone();
        let rules = &self.rules;
        match action {
            Action::Open(engine, ahead, connected) => next.open(rules, engine, ahead, connected),
            Action::Crash(engine) => next.engines[engine] = None,
            Action::Commit(engine) => {
                if let Some((opening, effects)) = next.commit(rules, engine) {
                    next.release(rules, opening, &effects);
                }
            }
            Action::CommitAndCrash(engine) => {
                next.commit(rules, engine);
                next.engines[engine] = None;
            }
            Action::Pass(engine, leap) => {
                let passing = next.engines[engine].as_mut()?;
                passing.now = passing.now.plus_ms(if leap { LEAP_MS } else { 1 });
                next.step(rules, engine, Input::Tick);
            }
            Action::Cancel(engine) => next.step(rules, engine, Input::Cancel),
            Action::Leave(engine, worker) => {
                next.spent.leaves += 1;
                next.step(rules, engine, Input::Left(worker));
            }
            Action::Join(engine, worker) => next.step(rules, engine, Input::Joined(worker)),
            Action::Arrive(engine, word, stays) => {
                next.pass_on(word, stays);
                next.arrive(rules, engine, word);
            }
            Action::Reach(word, stays) => {
                next.pass_on(word, stays);
                next.reach(word);
            }
            Action::Lose(word) => {
                next.words.remove(&word);
                next.spent.lost += 1;
                next.swallowed = true;
            }
            Action::Answer(body, says) => {
                next.bodies.remove(&body);
                next.words.insert(Word::Answer(body.leg, says));
            }
            Action::Beat(body) => {
                next.words.insert(Word::Alive(body.leg));
            }
            Action::Vanish(body) => {
                next.bodies.remove(&body);
                next.spent.lost += 1;
                next.swallowed = true;
            }
        }
        next.forget_stale();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(ONE_OUTCOME, |_, state| whole(state, Broken::Outcome)),
            Property::always(ONE_RESOLUTION, |_, state| whole(state, Broken::Resolution)),
            Property::always(ONE_LEG, |_, state| whole(state, Broken::TwoLegs)),
            Property::always(NEVER_REVIVED, |_, state| whole(state, Broken::Revived)),
            Property::always(RECORDED_FIRST, |_, state| whole(state, Broken::Unrecorded)),
            Property::always(SENT_ONCE, |_, state| whole(state, Broken::SentTwice)),
            Property::always(NOTHING_HEEDED, |model: &Protocol, state| {
                whole(state, Broken::Heeded) && model.forgeries_change_nothing(state)
            }),
            Property::always(NO_ANOMALY, |_, state| whole(state, Broken::Anomaly)),
            Property::always(TIME_GOES_ON, |_, state| whole(state, Broken::Backwards)),
            Property::always(SAME_AS_RECORD, |_, state| whole(state, Broken::Differs)),
            Property::always(WITHIN_BUDGET, |model: &Protocol, state| model.is_within_budget(state)),
            Property::always(CLOSES, |model: &Protocol, state| heal::closes(&model.rules, state)),
            Property::sometimes("it completes", |_, state| ends(state, End::Completed)),
            Property::sometimes("it is cancelled", |_, state| ends(state, End::Cancelled)),
            Property::sometimes("it is lost", |_, state| ends(state, End::Lost)),
            Property::sometimes("it fails", |_, state| ends(state, End::Failed)),
        ];
        let options = &self.rules.options;
        if options.start_to_close_ms.is_some() {
            properties.push(Property::sometimes("it runs too long", |_, state| {
                ends(state, End::TimedOut(TimeoutKind::StartToClose))
            }));
        }
        if options.heartbeat_ms.is_some() {
            properties.push(Property::sometimes("it is silent too long", |_, state| {
                ends(state, End::TimedOut(TimeoutKind::Heartbeat))
            }));
        }
        if options.schedule_to_start_ms.is_some() {
            properties.push(Property::sometimes("it waits too long", |_, state| {
                ends(state, End::TimedOut(TimeoutKind::ScheduleToStart))
            }));
        }
        if options.schedule_to_close_ms.is_some() {
            properties.push(Property::sometimes("all of it takes too long", |_, state| {
                ends(state, End::TimedOut(TimeoutKind::ScheduleToClose))
            }));
        }
        if options.fail_fast {
            properties.push(Property::sometimes("nobody can take it", |_, state| ends(state, End::NoWorker)));
        }
        properties.retain(|property| self.only.is_none_or(|only| only == property.name));
        properties
    }
}

/// The names of what must hold in every state.
pub const ONE_OUTCOME: &str = "an attempt has at most one outcome";
/// See [`ONE_OUTCOME`].
pub const ONE_RESOLUTION: &str = "an activity is resolved at most once";
/// See [`ONE_OUTCOME`].
pub const ONE_LEG: &str = "no two legs are under way at once by the record";
/// See [`ONE_OUTCOME`].
pub const NEVER_REVIVED: &str = "a leg that ended is never revived";
/// See [`ONE_OUTCOME`].
pub const RECORDED_FIRST: &str = "nothing is sent without a recorded Sent";
/// See [`ONE_OUTCOME`].
pub const SENT_ONCE: &str = "what may run once at most is sent once at most";
/// See [`ONE_OUTCOME`].
pub const NOTHING_HEEDED: &str = "a stale or forged word changes nothing";
/// See [`ONE_OUTCOME`].
pub const NO_ANOMALY: &str = "no event is decided that cannot follow";
/// See [`ONE_OUTCOME`].
pub const TIME_GOES_ON: &str = "recorded time never runs backwards";
/// See [`ONE_OUTCOME`].
pub const SAME_AS_RECORD: &str = "what an engine holds is what the record folds to";
/// See [`ONE_OUTCOME`].
pub const WITHIN_BUDGET: &str = "attempts and losses keep to their budgets";
/// See [`ONE_OUTCOME`].
pub const CLOSES: &str = "once faults stop the activity comes to an end";

fn whole(state: &State, broken: Broken) -> bool {
    let engines = state.writers().map(|engine| engine.broken | engine.life.witness.broken());
    let all = engines.fold(state.broken | state.life.witness.broken(), |all, bits| all | bits);
    all & broken as u16 == 0
}

fn ends(state: &State, end: End) -> bool {
    state.life.end == Some(end)
}

impl Protocol {
    fn engine_actions(&self, state: &State, at: usize, engine: &Engine, actions: &mut Vec<Action>) {
        let bounds = &self.rules.bounds;
        if engine.fenced || state.openings < bounds.openings {
            actions.push(Action::Crash(at));
        }
        if engine.fenced {
            return;
        }
        if !engine.pending.is_empty() {
            actions.push(Action::Commit(at));
            if state.openings < bounds.openings {
                actions.push(Action::CommitAndCrash(at));
            }
        }
        if engine.pending.len() >= bounds.pending || engine.life.end.is_some() {
            return;
        }
        if engine.next_deadline(&self.rules).is_some() {
            actions.extend([Action::Pass(at, false), Action::Pass(at, true)]);
        }
        if bounds.cancel {
            actions.push(Action::Cancel(at));
        }
        for worker in 0..WORKERS {
            if engine.connected[worker] {
                if state.spent.leaves < bounds.leaves {
                    actions.push(Action::Leave(at, worker));
                }
            } else {
                actions.push(Action::Join(at, worker));
            }
        }
    }

    fn word_actions(&self, state: &State, word: Word, actions: &mut Vec<Action>) {
        let bounds = &self.rules.bounds;
        let stays = [false, true].into_iter().take(1 + usize::from(state.spent.repeats < bounds.repeats));
        match word {
            Word::Request(..) | Word::Stop(..) => actions.extend(stays.map(|stays| Action::Reach(word, stays))),
            Word::Answer(..) | Word::Alive(_) => {
                for at in 0..ENGINES {
                    // One that can write no more takes every word: what it thinks is in no hash, so it must decide nothing here.
                    let room = |engine: &Engine| engine.pending.len() < bounds.pending && engine.life.end.is_none();
                    let takes = |engine: &Engine| engine.fenced || room(engine);
                    if state.engines[at].as_ref().is_some_and(takes) {
                        actions.extend(stays.clone().map(|stays| Action::Arrive(at, word, stays)));
                    }
                }
            }
        }
        if state.spent.lost < bounds.lost {
            actions.push(Action::Lose(word));
        }
    }

    /// Every engine is offered all that is on its way or could be said, and words that nobody with a right to speak has
    /// said: tokens of its secret for other places, of other secrets for this place, and made up ones.
    fn forgeries_change_nothing(&self, state: &State) -> bool {
        state.writers().all(|engine| {
            let late = state.bodies.iter().flat_map(|body| {
                let ends = [Says::Completed, Says::Failed, Says::Panicked].map(|says| Word::Answer(body.leg, says));
                ends.into_iter().chain([Word::Alive(body.leg)])
            });
            let words = state.words.iter().copied().chain(late).filter_map(input_of);
            if !words.into_iter().all(|input| is_harmless(&self.rules, engine, input)) {
                return false;
            }
            let Some(leg) = engine.life.conversation.leg() else { return true };
            let (attempt, number, opening) = (engine.life.attempt, leg.number, engine.opening);
            let here = Place { attempt, leg: number };
            let tokens = [
                Token([0; 16]),
                token(opening + 1, here),
                token(opening.wrapping_sub(1), here),
                token(opening, Place { leg: number + 1, ..here }),
                token(opening, Place { leg: number - 1, ..here }),
                token(opening, Place { attempt: attempt + 1, ..here }),
                token(opening, Place { attempt: attempt - 1, ..here }),
            ];
            let forged = tokens.into_iter().map(|token| (here, token));
            // The right token with the wrong leg or attempt.
            let own = token(opening, here);
            let moved = [Place { leg: number + 1, ..here }, Place { attempt: attempt - 1, ..here }];
            forged.chain(moved.map(|place| (place, own))).all(|(place, token)| {
                is_harmless(&self.rules, engine, Input::Answered(place, token, Says::Completed))
                    && is_harmless(&self.rules, engine, Input::Heartbeat(place, token))
            })
        })
    }

    fn is_within_budget(&self, state: &State) -> bool {
        let options = &self.rules.options;
        let lives = state.writers().map(|engine| &engine.life).chain([&state.life]);
        lives.into_iter().all(|life| {
            // The loss that is one too many is the one that ends the activity.
            let over = life.witness.losses() > options.max_losses;
            life.witness.attempts() <= options.retry.max_attempts
                && life.witness.losses() <= options.max_losses + 1
                && (!over || life.end.is_some())
        })
    }
}

impl State {
    fn pass_on(&mut self, word: Word, stays: bool) {
        if stays {
            self.spent.repeats += 1;
        } else {
            self.words.remove(&word);
        }
    }
}
