//! Operators who take care of dead letters.

use crate::broken::{Broken, Checked};
use crate::callers::{key, target};
use crate::rules::by;
use crate::sometimes::Point;
use crate::world::World;
use antiphon_engine::{Input, RepairRequest, ReplyTo, Which};

impl World<'_> {
    /// Somebody retries or discards a letter: most often one that is held, now and then any, or by its activity.
    pub(crate) fn settle_letter(&mut self, a: u32, b: u32, retry: bool) -> Checked {
        let letters = &self.book.letters;
        let any = b.is_multiple_of(8);
        // The retry of one whose workflow was told is a run of its own, of no program: it is tested apart.
        let fits = |held: bool, open: bool| (held || !retry) && (open || any);
        let all = letters.all().filter(|(_, letter)| fits(letter.held, letter.settled.is_none()));
        let all: Vec<_> = all.map(|(number, letter)| (number, letter.workflow.clone(), letter.of.ordinal)).collect();
        let Some(place) = (a as usize).checked_rem(all.len()) else { return Ok(()) };
        let (number, workflow, ordinal) = all[place].clone();
        let which = match b >> 3 & 3 {
            0 => Which::Activity { target: target(&workflow), ordinal },
            _ => Which::Letter(number),
        };
        self.settle_one(&workflow, which, retry)
    }

    fn settle_one(&mut self, workflow: &str, which: Which, retry: bool) -> Checked {
        if self.bring_in(&key(workflow))? {
            self.sometimes.met(Point::HeldWhileEvicted);
        }
        let to = self.callers.number();
        self.operators.insert(to);
        let request = match retry {
            true => RepairRequest::Retry { which, call: None, by: by(to) },
            false => RepairRequest::Discard { which, by: by(to) },
        };
        self.step(Input::Repair(Box::new(request), to))
    }

    /// Faults are over: somebody takes care of all that is held, once more or for good.
    pub(crate) fn letters_rest(&mut self, round: usize) -> Checked {
        let held = self.book.letters.open().filter(|(_, letter)| letter.held);
        let held: Vec<(u64, String)> = held.map(|(number, letter)| (number, letter.workflow.clone())).collect();
        for (number, workflow) in held {
            let retry = round < 6 && (number + round as u64).is_multiple_of(2);
            self.settle_one(&workflow, Which::Letter(number), retry)?;
        }
        Ok(())
    }

    /// What an operator is told of a letter is on record (invariant 1).
    pub(crate) fn letter_replied(&mut self, to: ReplyTo, changed: bool) -> Checked {
        let who = by(to).who;
        if changed && !self.book.letters.by.contains(&who) {
            return Err(Broken::new(1, "an answer says what is not on record", format!("{who} settled a letter")));
        }
        if changed {
            self.sometimes.met(Point::LetterSettled);
        }
        Ok(())
    }
}
