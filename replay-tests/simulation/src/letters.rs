//! Dead letters, as the record tells of them: each is listed once, and what is held ends only by somebody's word.

use crate::broken::{Broken, Checked};
use antiphon_history::{ConversationEvent, ConversationKey, DeadLettersEvent, EntityEvent, Ordinal, RunKey, Settled};
use std::collections::{BTreeMap, BTreeSet};

/// All letters of a life.
#[derive(Default)]
pub(crate) struct LetterBook {
    /// By number, from 1.
    letters: Vec<Letter>,
    /// Attempts of which there is one.
    listed: BTreeSet<ConversationKey>,
    /// The letters of what is held.
    held: BTreeMap<(RunKey, Ordinal), usize>,
    /// Who settled some.
    pub(crate) by: BTreeSet<String>,
}

/// One of them.
pub(crate) struct Letter {
    pub(crate) workflow: String,
    pub(crate) of: ConversationKey,
    pub(crate) held: bool,
    pub(crate) settled: Option<Settled>,
}

fn wrong<T>(what: &'static str, detail: String) -> Checked<T> {
    Err(Broken::new(4, what, detail))
}

impl LetterBook {
    /// Those of which nobody has taken care, by number.
    pub(crate) fn open(&self) -> impl Iterator<Item = (u64, &Letter)> {
        (1..).zip(&self.letters).filter(|(_, letter)| letter.settled.is_none())
    }

    /// All, by number.
    pub(crate) fn all(&self) -> impl Iterator<Item = (u64, &Letter)> {
        (1..).zip(&self.letters)
    }

    /// Something happened to an entity.
    pub(crate) fn entity(&mut self, event: &EntityEvent) -> Checked {
        match event {
            EntityEvent::DeadLetters(DeadLettersEvent::Noted(letter)) => {
                let of = ConversationKey { run: letter.run, ordinal: letter.ordinal, attempt: letter.attempt };
                if !self.listed.insert(of) {
                    return wrong("a dead letter is listed twice", of.to_string());
                }
                if letter.held {
                    self.held.insert((of.run, of.ordinal), self.letters.len());
                }
                let (workflow, held) = (letter.workflow_id.clone(), letter.held);
                self.letters.push(Letter { workflow, of, held, settled: None });
                Ok(())
            }
            EntityEvent::DeadLetters(DeadLettersEvent::Settled { number, how, who, .. }) => {
                self.by.insert(who.clone());
                match self.letters.get_mut((*number as usize).wrapping_sub(1)) {
                    Some(letter) if letter.settled.is_none() => letter.settled = Some(*how),
                    _ => return wrong("a dead letter was settled that nobody had to take care of", number.to_string()),
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Something happened in a conversation. `was_held`: before it.
    pub(crate) fn conversation(
        &self,
        conversation: ConversationKey,
        event: &ConversationEvent,
        was_held: bool,
    ) -> Checked {
        let letter = || Some(&self.letters[*self.held.get(&(conversation.run, conversation.ordinal))?]);
        match event {
            ConversationEvent::Held { .. } => match letter() {
                Some(letter) if letter.of == conversation && letter.settled.is_none() => Ok(()),
                _ => wrong("a held call is not among the dead letters", conversation.to_string()),
            },
            ConversationEvent::Closed { .. } if was_held && letter().is_none_or(|letter| letter.settled.is_none()) => {
                wrong("a held call ended, and nobody had a word in it", conversation.to_string())
            }
            ConversationEvent::Scheduled { .. } if conversation.attempt > 1 => match letter() {
                Some(letter)
                    if letter.of.attempt + 1 == conversation.attempt && letter.settled != Some(Settled::Retried) =>
                {
                    wrong("a held call that nobody retried runs again", conversation.to_string())
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}
