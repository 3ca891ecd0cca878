//! One search through all states.

use crate::model::Protocol;
use crate::rules::Rules;
use crate::state::{Action, State};
use stateright::{Checker, Model, Path};
use std::time::{Duration, Instant};

/// What a search found.
#[derive(Debug)]
pub struct Found {
    /// Different states.
    pub states: usize,
    /// Steps between them.
    pub steps: usize,
    /// The longest of the shortest ways.
    pub depth: usize,
    /// How long it took.
    pub took: Duration,
    /// Whether every state was looked at.
    pub exhausted: bool,
    /// What does not hold, with a way that leads there; what never happened, without one.
    pub failures: Vec<Failure>,
}

/// A property that does not hold.
#[derive(Debug)]
pub struct Failure {
    /// Its name.
    pub property: &'static str,
    /// A shortest way to a state in which it is broken; empty if it is that something never happened.
    pub way: Vec<Action>,
}

/// Goes through all states on `threads` threads, at most for `limit`. With `only` nothing but that property is looked at,
/// and the search ends as soon as it is broken.
pub fn search(rules: Rules, threads: usize, limit: Duration, only: Option<&'static str>) -> Found {
    let began = Instant::now();
    let protocol = Protocol { rules, only };
    let checker = protocol.checker().threads(threads).timeout(limit).spawn_bfs().join();
    let failures = checker.model().properties().into_iter().filter_map(|property| {
        let way = checker.discovery(property.name).map(Path::<State, Action>::into_actions);
        let sometimes = matches!(property.expectation, stateright::Expectation::Sometimes);
        match (way, sometimes) {
            (Some(way), false) => Some(Failure { property: property.name, way }),
            (None, true) => Some(Failure { property: property.name, way: Vec::new() }),
            _ => None,
        }
    });
    let failures = failures.collect();
    Found {
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        took: began.elapsed(),
        exhausted: checker.is_done() && began.elapsed() < limit,
        failures,
    }
}
