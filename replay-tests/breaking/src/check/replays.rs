use super::told::Run;
use crate::{Broken, Invariant};
use antiphon::{HistoryFile, Programs};
use antiphon_engine::replay_prefix;
use antiphon_history::RunEvent;

/// Replays every prefix of a history; what the code asks next must be what stands next. Returns how many there were.
pub(super) fn check(programs: &Programs, history: &HistoryFile) -> Result<u64, Broken> {
    let run = Run::of(history)?;
    for events in 1..=run.events.len() {
        let replayed = replay_prefix(programs, history, events)
            .map_err(|error| run.broken(Invariant::Replays, format!("its first {events} events: {error}")))?;
        if let Some(reason) = replayed.stopped {
            return Err(run.broken(Invariant::Replays, format!("its first {events} events: {reason}")));
        }
        let next = run.events[events..].iter().map(|(_, event)| event);
        // Values taken at the moment of asking (due times) stand in the record alone.
        let differs = next.zip(&replayed.beyond).find(|(told, asked)| !same(told, asked));
        if let Some((told, asked)) = differs {
            let how = format!("after {events} events the record says {told}, the code asks {asked}");
            return Err(run.broken(Invariant::Replays, how));
        }
    }
    Ok(run.events.len() as u64)
}

fn same(told: &RunEvent, asked: &RunEvent) -> bool {
    match (told, asked) {
        (RunEvent::TimerStarted { ordinal: told, .. }, RunEvent::TimerStarted { ordinal: asked, .. }) => told == asked,
        (told, asked) => told == asked,
    }
}
