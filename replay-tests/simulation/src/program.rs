//! Random workflows as trees, so that every shape can be reached and shrinks well.

use crate::rng::Rng;
use antiphon_history::{ActivityOptions, RetryPolicy};
use std::fmt;

/// One workflow, or a part of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Node {
    /// Calls an activity and waits for its outcome.
    Activity(Step),
    /// Waits for a moment.
    Timer { ms: u32 },
    /// Waits for the next signal of a name.
    Signal { name: u8 },
    /// Takes a value from outside once.
    SideEffect,
    /// Takes the time of the arrival.
    Now,
    /// Does `then` behind a mark.
    Patched { name: u8, then: Box<Node> },
    /// One after the other; the first failure ends it.
    Seq(Vec<Node>),
    /// All at once, until all have ended; the first failing part in order of place fails it. With `on_demand` the parts are
    /// polled only when they are woken.
    Join { parts: Vec<Node>, on_demand: bool },
    /// All at once, until the first has ended; the others are dropped.
    Race(Vec<Node>),
    /// Does `body` unless a cancel comes; then drops it and does `then`.
    Aware { body: Box<Node>, then: Box<Node> },
    /// Pushes a compensation.
    Undo(Step),
    /// Turns a failure into a value.
    Try(Box<Node>),
    /// Fails.
    Fail(u16),
    /// Panics while the broken code is deployed.
    Bug,
}

/// One activity call: its place in the tree, and its rules.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Step {
    pub(crate) id: u16,
    /// Which activity, below [`KINDS`].
    pub(crate) kind: u8,
    /// Which task queue, below [`QUEUES`].
    pub(crate) queue: u8,
    pub(crate) attempts: u8,
    pub(crate) backoff_ms: u16,
    pub(crate) max_losses: u8,
    pub(crate) at_most_once: bool,
    pub(crate) fail_fast: bool,
    pub(crate) needs_label: bool,
    /// The four deadlines; 0: none.
    pub(crate) to_start_ms: u16,
    pub(crate) to_close_ms: u16,
    pub(crate) in_all_ms: u32,
    pub(crate) heartbeat_ms: u16,
    /// What some seeds say besides; `None` in the others.
    pub(crate) more: Option<More>,
}

/// The rules of a call that say where it stands in line, and what becomes of it in the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct More {
    /// From 1 to 5.
    pub(crate) priority: u8,
    /// Which fairness key; 0: none.
    pub(crate) fairness: u8,
    /// Which limit key; 0: none.
    pub(crate) limit: u8,
    /// It waits for somebody when its budgets are used up.
    pub(crate) hold: bool,
    /// Which route, see `routes.rs`; 0: none.
    pub(crate) route: u8,
}

pub(crate) const KINDS: u8 = 4;
pub(crate) const QUEUES: u8 = 2;
pub(crate) const SIGNALS: u8 = 3;
/// The label that some calls need.
pub(crate) const LABEL: &str = "gpu";

pub(crate) fn activity_name(kind: u8) -> &'static str {
    ["charge", "pack", "send", "measure"][usize::from(kind % KINDS)]
}

pub(crate) fn queue_name(queue: u8) -> &'static str {
    ["default", "heavy"][usize::from(queue % QUEUES)]
}

pub(crate) fn signal_name(name: u8) -> &'static str {
    ["paid", "packed", "go"][usize::from(name % SIGNALS)]
}

impl Step {
    pub(crate) fn options(&self) -> ActivityOptions {
        let given = |ms: u32| (ms > 0).then_some(u64::from(ms));
        let more = self.more.unwrap_or_default();
        ActivityOptions {
            schedule_to_start_ms: given(self.to_start_ms.into()),
            start_to_close_ms: given(self.to_close_ms.into()),
            schedule_to_close_ms: given(self.in_all_ms),
            heartbeat_ms: given(self.heartbeat_ms.into()),
            retry: RetryPolicy {
                max_attempts: self.attempts.into(),
                initial_ms: self.backoff_ms.into(),
                factor_percent: 200,
                max_ms: 4_000,
            },
            max_losses: self.max_losses.into(),
            at_most_once: self.at_most_once,
            fail_fast: self.fail_fast,
            needs: if self.needs_label { vec![LABEL.to_owned()] } else { Vec::new() },
            priority: more.priority,
            fairness_key: key_name(more.fairness),
            fairness_weight: u32::from(more.fairness.max(1)),
            limit_key: key_name(more.limit),
            hold: more.hold,
            route: crate::routes::route(more.route),
            ..ActivityOptions::default()
        }
    }

    fn grow(rng: &mut Rng) -> Step {
        let waits = [0u16, 0, 0, 1, 50, 400, 3_000];
        Step {
            id: 0,
            kind: rng.below(KINDS.into()) as u8,
            queue: u8::from(rng.chance(1, 8)),
            attempts: *rng.pick(&[1, 1, 2, 3, 4]),
            backoff_ms: *rng.pick(&[0, 1, 40, 900]),
            max_losses: *rng.pick(&[0, 1, 2, 5]),
            at_most_once: rng.chance(1, 6),
            fail_fast: rng.chance(1, 12),
            needs_label: rng.chance(1, 10),
            to_start_ms: *rng.pick(&waits),
            to_close_ms: *rng.pick(&waits),
            in_all_ms: if rng.chance(1, 6) { rng.below(20_000) } else { 0 },
            heartbeat_ms: *rng.pick(&waits),
            more: None,
        }
    }
}

impl Default for More {
    fn default() -> More {
        More { priority: ActivityOptions::default().priority, fairness: 0, limit: 0, hold: false, route: 0 }
    }
}

fn key_name(key: u8) -> String {
    ["", "red", "blue", "green"][usize::from(key % 4)].to_owned()
}

impl Node {
    /// A random program. `bugs`: whether parts may break while the broken code is deployed.
    pub(crate) fn program(rng: &mut Rng, bugs: bool) -> Node {
        // Half of the programs have one shape in their root, so that pure forms are not lost among mixtures.
        let mut left = 1 + rng.below(16);
        let mut node = Node::grow(rng, 3, &mut left, bugs);
        if rng.chance(1, 6) {
            let then = Box::new(Node::grow(rng, 1, &mut 2, bugs));
            node = Node::Aware { body: Box::new(node), then };
        }
        if rng.chance(1, 3) {
            node = Node::Seq(vec![Node::Undo(Step::grow(rng)), node]);
        }
        node.number(&mut 0);
        node
    }

    fn grow(rng: &mut Rng, depth: u32, left: &mut u32, bugs: bool) -> Node {
        *left = left.saturating_sub(1);
        let shape = if depth == 0 || *left == 0 { rng.below(20) } else { 10 + rng.below(34) };
        match shape {
            0..=11 => Node::Activity(Step::grow(rng)),
            12..=14 => Node::Timer { ms: *rng.pick(&[0, 1, 30, 999, 1_000, 7_000, 3_600_000]) },
            15..=16 => Node::Signal { name: rng.below(SIGNALS.into()) as u8 },
            17 => Node::SideEffect,
            18 => Node::Now,
            19 if bugs && rng.chance(1, 2) => Node::Bug,
            19 => Node::Fail(0),
            20..=27 => Node::Seq(Node::several(rng, depth, left, bugs)),
            28..=33 => Node::Join { parts: Node::several(rng, depth, left, bugs), on_demand: rng.chance(1, 2) },
            34..=38 => Node::Race(Node::several(rng, depth, left, bugs)),
            39 => {
                let body = Box::new(Node::grow(rng, depth - 1, left, bugs));
                Node::Aware { body, then: Box::new(Node::grow(rng, depth - 1, left, bugs)) }
            }
            40 => Node::Undo(Step::grow(rng)),
            41 => Node::Patched { name: rng.below(3) as u8, then: Box::new(Node::grow(rng, depth - 1, left, bugs)) },
            _ => Node::Try(Box::new(Node::grow(rng, depth - 1, left, bugs))),
        }
    }

    fn several(rng: &mut Rng, depth: u32, left: &mut u32, bugs: bool) -> Vec<Node> {
        let count = 2 + rng.below(3);
        (0..count).map(|_| Node::grow(rng, depth - 1, left, bugs)).collect()
    }

    /// Gives every step and failure a number of its own, by which outcomes are told apart.
    pub(crate) fn number(&mut self, next: &mut u16) {
        match self {
            Node::Activity(step) | Node::Undo(step) => step.id = *next,
            Node::Fail(id) => *id = *next,
            _ => {}
        }
        *next += 1;
        self.children_mut().into_iter().for_each(|child| child.number(next));
    }

    /// Every call in it.
    pub(crate) fn each_step(&mut self, change: &mut impl FnMut(&mut Step)) {
        if let Node::Activity(step) | Node::Undo(step) = self {
            change(step);
        }
        self.children_mut().into_iter().for_each(|child| child.each_step(change));
    }

    pub(crate) fn children_mut(&mut self) -> Vec<&mut Node> {
        match self {
            Node::Seq(parts) | Node::Race(parts) | Node::Join { parts, .. } => parts.iter_mut().collect(),
            Node::Aware { body, then } => vec![body, then],
            Node::Patched { then, .. } => vec![then],
            Node::Try(body) => vec![body],
            _ => Vec::new(),
        }
    }

    pub(crate) fn children(&self) -> Vec<&Node> {
        match self {
            Node::Seq(parts) | Node::Race(parts) | Node::Join { parts, .. } => parts.iter().collect(),
            Node::Aware { body, then } => vec![body, then],
            Node::Patched { then, .. } => vec![then],
            Node::Try(body) => vec![body],
            _ => Vec::new(),
        }
    }

    /// Every program that is this one with something left out.
    pub(crate) fn smaller(&self) -> Vec<Node> {
        let mut found: Vec<Node> = self.children().into_iter().cloned().collect();
        if let Node::Seq(parts) | Node::Race(parts) | Node::Join { parts, .. } = self {
            for left_out in 0..parts.len() {
                let mut fewer = self.clone();
                if let Node::Seq(parts) | Node::Race(parts) | Node::Join { parts, .. } = &mut fewer {
                    parts.remove(left_out);
                }
                found.push(fewer);
            }
        }
        for (place, child) in self.children().into_iter().enumerate() {
            for smaller in child.smaller() {
                let mut changed = self.clone();
                if let Some(slot) = changed.children_mut().into_iter().nth(place) {
                    *slot = smaller;
                }
                found.push(changed);
            }
        }
        found
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, name: &str, parts: &[Node]| {
            write!(f, "{name}(")?;
            for (index, part) in parts.iter().enumerate() {
                write!(f, "{}{part}", if index > 0 { ", " } else { "" })?;
            }
            f.write_str(")")
        };
        match self {
            Node::Activity(step) => write!(f, "{step}"),
            Node::Timer { ms } => write!(f, "timer {ms} ms"),
            Node::Signal { name } => write!(f, "signal {}", signal_name(*name)),
            Node::SideEffect => f.write_str("side effect"),
            Node::Now => f.write_str("now"),
            Node::Patched { name, then } => write!(f, "patched {name}({then})"),
            Node::Seq(parts) => list(f, "seq", parts),
            Node::Join { parts, on_demand: true } => list(f, "join on demand", parts),
            Node::Join { parts, on_demand: false } => list(f, "join", parts),
            Node::Race(parts) => list(f, "race", parts),
            Node::Aware { body, then } => write!(f, "aware({body}; on cancel {then})"),
            Node::Undo(step) => write!(f, "undo {step}"),
            Node::Try(body) => write!(f, "try({body})"),
            Node::Fail(id) => write!(f, "fail {id}"),
            Node::Bug => f.write_str("bug"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}·{}", activity_name(self.kind), self.id)?;
        let mut rule = |on: bool, text: String| if on { write!(f, " {text}") } else { Ok(()) };
        rule(self.queue > 0, queue_name(self.queue).to_owned())?;
        rule(self.attempts > 1, format!("attempts={}/{}ms", self.attempts, self.backoff_ms))?;
        rule(true, format!("losses={}", self.max_losses))?;
        rule(self.at_most_once, "at-most-once".to_owned())?;
        rule(self.fail_fast, "fail-fast".to_owned())?;
        rule(self.needs_label, format!("needs={LABEL}"))?;
        rule(self.to_start_ms > 0, format!("to-start={}", self.to_start_ms))?;
        rule(self.to_close_ms > 0, format!("to-close={}", self.to_close_ms))?;
        rule(self.in_all_ms > 0, format!("in-all={}", self.in_all_ms))?;
        rule(self.heartbeat_ms > 0, format!("heartbeat={}", self.heartbeat_ms))?;
        let Some(More { priority, fairness, limit, hold, route: by }) = self.more else { return Ok(()) };
        let mut rule = |on: bool, text: String| if on { write!(f, " {text}") } else { Ok(()) };
        rule(true, format!("priority={priority}"))?;
        rule(fairness > 0, format!("for={}", key_name(fairness)))?;
        rule(limit > 0, format!("limit={}", key_name(limit)))?;
        rule(hold, "hold".to_owned())?;
        rule(by > 0, format!("route={by}"))
    }
}
