//! Operators who set, pause, resume and look at task queues.

use crate::broken::{Broken, Checked};
use crate::program::queue_name;
use crate::sometimes::Point;
use crate::talk::Phase;
use crate::world::World;
use antiphon_engine::{By, Input, QueuesReply, QueuesRequest, ReplyTo};
use antiphon_history::{Name, QueueRate, QueueSettings};

/// Who asks under this number: the record names them.
pub(crate) fn by(to: ReplyTo) -> By {
    By { who: format!("op-{}", to.0), why: String::new() }
}

impl World<'_> {
    fn asks_of_queues(&mut self, request: impl FnOnce(By) -> QueuesRequest) -> Checked {
        let to = self.callers.number();
        self.operators.insert(to);
        self.step(Input::Queues(Box::new(request(by(to))), to))
    }

    pub(crate) fn queue_set(&mut self, a: u32, b: u32) -> Checked {
        let queue: Name = queue_name((a % 2) as u8).into();
        let rate = QueueRate {
            count: 1 + (b >> 8) % 3,
            period_ms: [5, 50, 1_000][(b >> 10) as usize % 3],
            burst: 1 + (b >> 12) % 3,
        };
        let settings = QueueSettings {
            in_flight_max: [None, Some(1), Some(2), Some(5)][b as usize % 4],
            per_key_max: [None, Some(1), Some(1), Some(2)][(b >> 2) as usize % 4],
            rate: (b >> 4).is_multiple_of(4).then_some(rate),
            weights: if (b >> 6).is_multiple_of(4) { [("red".into(), 5)].into() } else { Default::default() },
            waiting_max: None,
        };
        self.asks_of_queues(|by| QueuesRequest::Set { queue, settings: Box::new(settings), by })
    }

    pub(crate) fn queue_pause(&mut self, a: u32, pause: bool) -> Checked {
        let queue: Name = queue_name((a % 2) as u8).into();
        self.asks_of_queues(|by| match pause {
            true => QueuesRequest::Pause { queue, by },
            false => QueuesRequest::Resume { queue, by },
        })
    }

    /// Somebody looks at the queues when all is settled: what they are told is what the record says.
    pub(crate) fn queue_look(&mut self) -> Checked {
        self.ticks()?;
        self.flush()?;
        if !self.is_settled() {
            return Ok(());
        }
        for number in 0..2 {
            let name = queue_name(number);
            let (settings, paused, waiting, in_flight, certain) = self.book.lines.of(name, self.latest, &self.told);
            let views = self.partition.queue_views();
            let view = views.into_iter().find(|view| &*view.queue == name);
            let (state, stats) = view.map(|view| (view.state, view.stats)).unwrap_or_default();
            let runs = self.book.runs.values().filter(|run| !run.ended);
            let open = runs.flat_map(|run| run.activities.values()).filter(|activity| &*activity.call.queue == name);
            let phases = open.filter_map(|activity| Some(activity.talk.as_ref()?.phase));
            let held = phases.filter(|phase| *phase == Phase::Held).count() as u64;
            // A leg whose lease has ended waits and is under way; a run that only waits for people may have left memory.
            let fits = (&state.settings, state.paused.is_some()) == (&settings, paused)
                && stats.waiting + stats.in_flight == waiting + in_flight
                && (certain..=in_flight).contains(&stats.in_flight)
                && stats.held <= held;
            if !fits {
                let recorded = (settings, paused, waiting, in_flight, certain, held);
                let detail = format!("{name}: told {state:?} {stats:?}, recorded {recorded:?}");
                return Err(Broken::new(6, "a queue is told otherwise than it is recorded", detail));
            }
        }
        Ok(())
    }

    /// Faults are over: queues give out again, under the rules that they have.
    pub(crate) fn rules_rest(&mut self) -> Checked {
        (0..2).try_for_each(|number| self.queue_pause(number, false))?;
        self.flush()
    }

    /// What an operator is told of a queue is on record (invariant 1).
    pub(crate) fn queues_replied(&mut self, to: ReplyTo, reply: &QueuesReply) -> Checked {
        let QueuesReply::Done { changed } = reply else { return Ok(()) };
        if *changed != self.book.lines.by.contains(&by(to).who) {
            let detail = format!("{to:?}: changed {changed}");
            return Err(Broken::new(1, "an answer says what is not on record", detail));
        }
        if *changed {
            self.sometimes.met(Point::QueueChanged);
        }
        Ok(())
    }
}
