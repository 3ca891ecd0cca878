use crate::{ActivityOutcome, Name, Ordinal, RunId, RunKey, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// Most dead letters that are kept. Above it the oldest go: settled ones first, then those whose workflow was told, then
/// held ones, which stay held and can still be named by their run. About 200 bytes each, so 2 MiB.
pub const DEAD_LETTERS_MAX: usize = 10_000;

/// What happened to the dead letters of a store.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DeadLettersEvent {
    /// An activity used up its attempts or losses. Its number is the next one.
    #[serde(rename = "nt")]
    Noted(Box<DeadLetter>),
    /// Somebody or something took care of it.
    #[serde(rename = "st")]
    Settled {
        /// Which.
        #[serde(rename = "n")]
        number: u64,
        /// How.
        #[serde(rename = "h")]
        how: Settled,
        /// Who did it: a person, a program, or `engine`.
        #[serde(rename = "b")]
        who: String,
        /// Why, in the words of whoever did it.
        #[serde(rename = "w", default, skip_serializing_if = "String::is_empty")]
        why: String,
    },
}

/// An activity whose attempts or losses are used up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Its run, in this store.
    #[serde(rename = "r")]
    pub run: RunKey,
    /// Its run, as people know it.
    #[serde(rename = "i")]
    pub run_id: RunId,
    /// The namespace of the workflow id.
    #[serde(rename = "ns", default = "default_namespace", skip_serializing_if = "is_default_namespace")]
    pub namespace: String,
    /// The workflow id.
    #[serde(rename = "w")]
    pub workflow_id: String,
    /// Its place in the run.
    #[serde(rename = "o")]
    pub ordinal: Ordinal,
    /// The last attempt.
    #[serde(rename = "a")]
    pub attempt: u32,
    /// Which activity.
    #[serde(rename = "t")]
    pub activity_type: Name,
    /// On which task queue.
    #[serde(rename = "k")]
    pub queue: Name,
    /// What was used up.
    #[serde(rename = "c")]
    pub cause: DeadCause,
    /// How the last attempt ended, cut to 200 bytes.
    #[serde(rename = "m")]
    pub reason: String,
    /// Whether it is held: it waits, and so does its workflow. Else the workflow was told.
    #[serde(rename = "h", default, skip_serializing_if = "is_false")]
    pub held: bool,
}

fn default_namespace() -> String {
    "default".to_owned()
}

fn is_default_namespace(namespace: &str) -> bool {
    namespace == "default"
}

fn is_false(value: &bool) -> bool {
    !value
}

impl DeadLetter {
    /// The outcome in one line of at most 200 bytes: there are many letters, and the whole of it stands in the run's record.
    pub fn reason_of(outcome: &ActivityOutcome) -> String {
        let text = outcome.to_string();
        let end = (0..=text.len().min(200)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text[..end].to_owned()
    }
}

/// What an activity used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum DeadCause {
    /// Its attempts.
    #[serde(rename = "at")]
    Attempts,
    /// Its losses.
    #[serde(rename = "lo")]
    Losses,
    /// Its losses, the last of them a repair: it was sent again in vain.
    #[serde(rename = "rd")]
    Redriven,
}

impl fmt::Display for DeadCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            DeadCause::Attempts => "attempts",
            DeadCause::Losses => "losses",
            DeadCause::Redriven => "redriven",
        })
    }
}

/// How a dead letter was settled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Settled {
    /// It was tried again: the same activity if it was held, else a run of its own.
    #[serde(rename = "re")]
    Retried,
    /// It was given up: if it was held, the workflow got its error.
    #[serde(rename = "di")]
    Discarded,
    /// Its workflow no longer waits for it.
    #[serde(rename = "wi")]
    Withdrawn,
}

impl fmt::Display for Settled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Settled::Retried => "retried",
            Settled::Discarded => "discarded",
            Settled::Withdrawn => "withdrawn",
        })
    }
}

impl DeadLettersEvent {
    /// The event's name.
    pub fn name(&self) -> &'static str {
        match self {
            DeadLettersEvent::Noted(_) => "Noted",
            DeadLettersEvent::Settled { .. } => "Settled",
        }
    }
}

impl fmt::Display for DeadLettersEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeadLettersEvent::Noted(letter) => write!(f, " {letter}"),
            DeadLettersEvent::Settled { number, how, who, why } => {
                write!(f, " {number} {how} by {who}")?;
                if why.is_empty() { Ok(()) } else { write!(f, ": {why}") }
            }
        }
    }
}

impl fmt::Display for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = if self.held { " held" } else { "" };
        if !is_default_namespace(&self.namespace) {
            write!(f, "{}/", self.namespace)?;
        }
        let DeadLetter { workflow_id, ordinal, attempt, activity_type, queue, cause, reason, .. } = self;
        write!(f, "{workflow_id} {ordinal}.{attempt} {activity_type} queue={queue}{held} {cause}: {reason}")
    }
}

/// A dead letter as it stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DeadLetterEntry {
    /// What it is about.
    #[serde(rename = "l")]
    pub letter: DeadLetter,
    /// When it was noted.
    #[serde(rename = "a")]
    pub at: Timestamp,
    /// How it was settled, by whom and when, if it was.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Settlement>,
}

/// How, by whom and when a dead letter was settled.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Settlement {
    /// How.
    #[serde(rename = "h")]
    pub how: Settled,
    /// By whom.
    #[serde(rename = "b")]
    pub who: String,
    /// When.
    #[serde(rename = "a")]
    pub at: Timestamp,
}

/// The dead letters of a store, by number. At most [`DEAD_LETTERS_MAX`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct DeadLettersState {
    /// The number of the latest.
    #[serde(rename = "x")]
    last: u64,
    /// Those that wait, and their workflows with them.
    #[serde(rename = "h")]
    held: BTreeMap<u64, DeadLetterEntry>,
    /// Those whose workflow was told, and of which nobody has taken care.
    #[serde(rename = "t")]
    told: BTreeMap<u64, DeadLetterEntry>,
    #[serde(rename = "s")]
    settled: BTreeMap<u64, DeadLetterEntry>,
    /// How many went because there were too many.
    #[serde(rename = "d")]
    dropped: u64,
}

impl DeadLettersState {
    pub(super) fn apply(&mut self, event: &DeadLettersEvent, at: Timestamp) -> Result<(), String> {
        match event {
            DeadLettersEvent::Noted(letter) => {
                self.last += 1;
                let entry = DeadLetterEntry { letter: (**letter).clone(), at, settled: None };
                if letter.held { &mut self.held } else { &mut self.told }.insert(self.last, entry);
                if self.len() > DEAD_LETTERS_MAX {
                    self.drop_oldest();
                }
            }
            DeadLettersEvent::Settled { number, how, who, .. } => {
                let open = self.held.remove(number).or_else(|| self.told.remove(number));
                let Some(mut entry) = open else { return Err(format!("dead letter {number} is not open")) };
                entry.settled = Some(Settlement { how: *how, who: who.clone(), at });
                self.settled.insert(*number, entry);
            }
        }
        Ok(())
    }

    fn drop_oldest(&mut self) {
        let gone = self.settled.pop_first().or_else(|| self.told.pop_first()).or_else(|| self.held.pop_first());
        self.dropped += u64::from(gone.is_some());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.held.len() + self.told.len() + self.settled.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many wait for somebody: held ones, and those whose workflow was told.
    pub fn open(&self) -> (usize, usize) {
        (self.held.len(), self.told.len())
    }

    /// How many went because there were more than [`DEAD_LETTERS_MAX`].
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// One of them.
    pub fn get(&self, number: u64) -> Option<&DeadLetterEntry> {
        self.held.get(&number).or_else(|| self.told.get(&number)).or_else(|| self.settled.get(&number))
    }

    /// The number of the held letter of an activity.
    pub fn of_held(&self, run: RunKey, ordinal: Ordinal) -> Option<u64> {
        let is_it = |entry: &DeadLetterEntry| (entry.letter.run, entry.letter.ordinal) == (run, ordinal);
        self.held.iter().find(|(_, entry)| is_it(entry)).map(|(number, _)| *number)
    }

    /// Those with a number above `after`, in order: the open ones, and the settled ones if asked for.
    pub fn after(&self, after: u64, settled_too: bool) -> impl Iterator<Item = (u64, &DeadLetterEntry)> {
        let above = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        let settled = settled_too.then(|| self.settled.range(above)).into_iter().flatten();
        let mut all: Vec<_> = self.held.range(above).chain(self.told.range(above)).chain(settled).collect();
        all.sort_by_key(|(number, _)| **number);
        all.into_iter().map(|(number, entry)| (*number, entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(held: bool) -> DeadLettersEvent {
        DeadLettersEvent::Noted(Box::new(DeadLetter {
            run: RunKey(7),
            run_id: RunId([7; 16]),
            namespace: "default".into(),
            workflow_id: "order-7".into(),
            ordinal: Ordinal(3),
            attempt: 2,
            activity_type: "charge".into(),
            queue: "default".into(),
            cause: DeadCause::Attempts,
            reason: "failed after 2: busy".into(),
            held,
        }))
    }

    fn settled(number: u64) -> DeadLettersEvent {
        DeadLettersEvent::Settled { number, how: Settled::Retried, who: "ann".into(), why: String::new() }
    }

    #[test]
    fn a_letter_is_settled_once() {
        let mut letters = DeadLettersState::default();
        letters.apply(&noted(true), Timestamp(1)).unwrap();
        assert_eq!(letters.of_held(RunKey(7), Ordinal(3)), Some(1));
        letters.apply(&settled(1), Timestamp(2)).unwrap();
        let before = letters.clone();
        assert!(letters.apply(&settled(1), Timestamp(3)).is_err());
        assert!(letters.apply(&settled(2), Timestamp(3)).is_err());
        assert_eq!((letters.open(), letters.of_held(RunKey(7), Ordinal(3))), ((0, 0), None));
        assert_eq!(letters, before);
    }

    #[test]
    fn above_the_bound_settled_letters_go_first_and_held_ones_last() {
        let mut letters = DeadLettersState::default();
        letters.apply(&noted(true), Timestamp(1)).unwrap();
        for _ in 1..DEAD_LETTERS_MAX {
            letters.apply(&noted(false), Timestamp(1)).unwrap();
        }
        letters.apply(&settled(5), Timestamp(2)).unwrap();
        assert_eq!((letters.len(), letters.dropped()), (DEAD_LETTERS_MAX, 0));
        letters.apply(&noted(false), Timestamp(3)).unwrap();
        assert!(letters.get(5).is_none() && letters.get(2).is_some());
        letters.apply(&noted(false), Timestamp(3)).unwrap();
        assert!(letters.get(2).is_none() && letters.get(1).is_some());
        assert_eq!((letters.len(), letters.dropped()), (DEAD_LETTERS_MAX, 2));
        assert_eq!(letters.after(10_000, true).map(|(number, _)| number).collect::<Vec<_>>(), [10_001, 10_002]);
    }
}
