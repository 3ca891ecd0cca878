//! Which states count as the same: all times are taken relative to the time of whoever holds them, so that two states
//! that differ only in when they happen are one.
//!
//! Left out is only what decides nothing: how many events a conversation has, and how many segments the log has.

use crate::engine::{Batch, Engine};
use crate::record::{Life, Line, Written};
use crate::state::State;
use antiphon_history::{ConversationEvent, ExitReason, Response, Timestamp};
use std::hash::{Hash, Hasher};

/// Times further away than this are alike: longer than every deadline and leap together.
const FAR_MS: i64 = 64;

fn ago(at: Timestamp, now: Timestamp) -> i64 {
    (at.0 - now.0).clamp(-FAR_MS, FAR_MS)
}

impl Hash for State {
    fn hash<H: Hasher>(&self, to: &mut H) {
        hash_life(&self.life, self.at, to);
        self.openings.hash(to);
        for engine in &self.engines {
            engine.is_some().hash(to);
            if let Some(engine) = engine {
                // What an engine thinks that can write no more is nobody's business.
                (engine.fenced, engine.opening).hash(to);
                if !engine.fenced {
                    hash_engine(engine, to);
                }
            }
        }
        (&self.bodies, &self.words, self.requests, self.spent, self.swallowed, self.broken).hash(to);
    }
}

fn hash_engine<H: Hasher>(engine: &Engine, to: &mut H) {
    (engine.connected, &engine.flights, engine.broken).hash(to);
    hash_life(&engine.life, engine.now, to);
    engine.pending.len().hash(to);
    for batch in &engine.pending {
        let Batch { lines, effects } = &**batch;
        effects.hash(to);
        lines.len().hash(to);
        lines.iter().for_each(|line| hash_line(line, engine.now, to));
    }
}

fn hash_life<H: Hasher>(life: &Life, now: Timestamp, to: &mut H) {
    let conversation = &life.conversation;
    (life.attempt, life.withdrawn, life.end, &life.witness).hash(to);
    (ago(life.scheduled_at, now), ago(conversation.visible_at(), now)).hash(to);
    (conversation.phase() as u8, conversation.next_leg(), conversation.losses()).hash(to);
    (conversation.excluded(), conversation.no_worker().is_some()).hash(to);
    conversation.last_exit().map(std::mem::discriminant).hash(to);
    if let Some(leg) = conversation.leg() {
        (&leg.worker, leg.number, leg.token.0, ago(leg.heard_at, now)).hash(to);
        leg.sent_at.map(|at| ago(at, now)).hash(to);
    }
}

fn hash_line<H: Hasher>(line: &Line, now: Timestamp, to: &mut H) {
    ago(line.at, now).hash(to);
    match &line.what {
        Written::Talk { attempt, event } => {
            attempt.hash(to);
            hash_event(event, now, to);
        }
        Written::Resolved(end) => end.hash(to),
        Written::Withdrawn => "withdrawn".hash(to),
    }
}

fn hash_event<H: Hasher>(event: &ConversationEvent, now: Timestamp, to: &mut H) {
    use ConversationEvent as E;
    event.name().hash(to);
    match event {
        E::Scheduled { visible_at, .. } => visible_at.map(|at| ago(at, now)).hash(to),
        E::WorkerSelected { leg, worker, token, .. } => (leg, worker, token.0).hash(to),
        E::Sent { leg } | E::CancelSent { leg } | E::Heartbeat { leg, .. } => leg.hash(to),
        E::Received { leg, response } => (leg, matches!(response, Response::Completed { .. })).hash(to),
        E::Exited { leg, reason, visible_at, .. } => {
            (leg, visible_at.map(|at| ago(at, now)), std::mem::discriminant(reason)).hash(to);
            if let ExitReason::TimedOut { kind } = reason {
                kind.hash(to);
            }
        }
        E::NoWorker { .. } | E::Held { .. } => {}
        E::Closed { outcome } => (*outcome as u8).hash(to),
    }
}
