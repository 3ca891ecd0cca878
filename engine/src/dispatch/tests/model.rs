//! Random lives of a dispatch, each step judged by looking at everything.

use super::*;

#[derive(Clone, Debug)]
enum Op {
    Add { queue: usize, kind: usize, gpu: bool, priority: u8, fair: usize, weight: u32, key: usize, excluded: bool },
    Withdraw(usize),
    End(usize),
    Retry(usize),
    Join { name: usize, kinds: usize, gpu: bool, both: bool, capacity: u32 },
    Leave(usize),
    Ready { name: usize, how: usize },
    Rules { queue: usize, paused: bool, in_flight: u32, per_key: u32 },
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let add = (0..2usize, 0..3usize, any::<bool>(), 1..=5u8, 0..4usize, 1..=3u32, 0..3usize, prop::bool::weighted(0.1));
    prop_oneof![
        12 => add.prop_map(|(queue, kind, gpu, priority, fair, weight, key, excluded)| {
            Op::Add { queue, kind, gpu: gpu && kind == 0, priority, fair, weight, key, excluded }
        }),
        2 => any::<usize>().prop_map(Op::Withdraw),
        6 => any::<usize>().prop_map(Op::End),
        2 => any::<usize>().prop_map(Op::Retry),
        2 => (0..4usize, 1..4usize, any::<bool>(), any::<bool>(), 1..4u32)
            .prop_map(|(name, kinds, gpu, both, capacity)| Op::Join { name, kinds, gpu, both, capacity }),
        1 => (0..4usize).prop_map(Op::Leave),
        1 => (0..4usize, 0..5usize).prop_map(|(name, how)| Op::Ready { name, how }),
        1 => (0..2usize, prop::bool::weighted(0.2), 0..4u32, 0..3u32)
            .prop_map(|(queue, paused, in_flight, per_key)| Op::Rules { queue, paused, in_flight, per_key }),
        1 => (1..50u64).prop_map(Op::Wait),
    ]
}

const QUEUES: [&str; 2] = ["q", "r"];
const KINDS: [&str; 3] = ["a", "b", "c"];
const FAIR: [&str; 4] = ["", "x", "y", "z"];
const KEYS: [&str; 3] = ["", "k1", "k2"];
const WORKERS: [&str; 4] = ["w1", "w2", "w3", "w4"];

/// What the test knows by itself.
#[derive(Default)]
struct Model {
    desk: Desk,
    /// Who waits, since when, and in which order they came.
    waiting: BTreeMap<u64, (Timestamp, u64)>,
    /// Who has a leg, at whom.
    placed: BTreeMap<u64, Name>,
    /// Who has begun and is not over, by queue and limit key.
    begun: BTreeSet<u64>,
    rules: BTreeMap<String, Rules>,
    came: u64,
    next: u64,
}

impl Model {
    fn call(&self, run: u64) -> &ActivityCall {
        &self.desk.calls[&run]
    }

    fn rules(&self, queue: &str) -> Rules {
        self.rules.get(queue).cloned().unwrap_or_default()
    }

    fn line_up(&mut self, run: u64) {
        self.came += 1;
        self.waiting.insert(run, (self.desk.now, self.came));
        let call = self.call(run).clone();
        self.desk.add(run, call);
    }

    fn in_flight(&self, queue: &str) -> u32 {
        u32::try_from(self.placed.keys().filter(|run| &*self.call(**run).queue == queue).count()).unwrap()
    }

    fn same_key(&self, run: u64, other: u64) -> bool {
        let (ours, theirs) = (self.call(run), self.call(other));
        ours.queue == theirs.queue && ours.options.limit_key == theirs.options.limit_key
    }

    /// Whether its queue and its limit key let it go.
    fn may_go(&self, run: u64) -> bool {
        let call = self.call(run);
        let rules = self.rules(&call.queue);
        if rules.paused || rules.in_flight_max.is_some_and(|max| self.in_flight(&call.queue) >= max) {
            return false;
        }
        let Some(max) = rules.per_key_max.filter(|_| !call.options.limit_key.is_empty() && !self.begun.contains(&run))
        else {
            return true;
        };
        let begun = self.begun.iter().filter(|other| self.same_key(run, **other)).count();
        let older = |other: &&u64| {
            self.same_key(run, **other) && !self.begun.contains(*other) && self.waiting[*other] < self.waiting[&run]
        };
        begun + self.waiting.keys().filter(older).count() < max as usize
    }

    fn choice(&self, run: u64) -> Option<Name> {
        let excluded = self.desk.excluded.get(&run).map_or(&[][..], |names| names);
        self.desk.dispatch.choose(self.call(run), excluded).map(|choice| choice.worker)
    }

    fn could_go(&self) -> Vec<u64> {
        self.waiting.keys().copied().filter(|run| self.may_go(*run) && self.choice(*run).is_some()).collect()
    }

    /// Gives out all that can be, and judges each choice.
    fn round(&mut self) {
        let mut looks = 0;
        while let Some((RunKey(run), ordinal)) = self.desk.dispatch.next(self.desk.now) {
            looks += 1;
            assert!(looks < 10_000, "it ends");
            assert!(self.waiting.contains_key(&run), "{run} waits");
            assert!(self.may_go(run), "{run} may not go: {:?}", self.call(run).options);
            let Some(worker) = self.choice(run) else {
                self.desk.dispatch.set_aside(RunKey(run), ordinal, None);
                continue;
            };
            let call = self.call(run).clone();
            for other in self.could_go() {
                let theirs = self.call(other);
                if theirs.queue == call.queue && !self.desk.excluded.contains_key(&other) {
                    let (ours, theirs) = (&call.options, &theirs.options);
                    assert!(ours.priority <= theirs.priority, "{other} is more urgent than {run}");
                    let one_flow = (ours.priority, &ours.fairness_key) == (theirs.priority, &theirs.fairness_key);
                    assert!(!one_flow || self.waiting[&run] <= self.waiting[&other], "{other} is older than {run}");
                }
            }
            self.waiting.remove(&run);
            self.begun.insert(run);
            self.desk.dispatch.place(&worker, conversation(run), 1, &call, self.desk.now);
            self.placed.insert(run, worker);
            let max = self.rules(&call.queue).in_flight_max;
            assert!(max.is_none_or(|max| self.in_flight(&call.queue) <= max), "the limit of the queue holds");
        }
        assert_eq!(self.could_go(), [0; 0], "nobody is forgotten");
        for run in self.waiting.keys() {
            let why = self.desk.why(*run).expect("who waits has a reason");
            assert_ne!(why, WaitReason::Next, "{run} would have been taken");
        }
        assert_eq!(self.desk.dispatch.waiting(), self.waiting.len());
        assert_eq!(self.desk.dispatch.in_flight(), self.placed.len());
        assert!(self.desk.dispatch.within_capacity());
    }

    fn finish(&mut self, run: u64) {
        self.placed.remove(&run);
        self.begun.remove(&run);
        self.desk.end(run);
    }

    fn leave(&mut self, name: &str) {
        let legs = self.desk.dispatch.leave(name);
        for (conversation, leg) in &legs {
            assert!(self.desk.dispatch.release(*conversation, *leg, self.desk.now));
        }
        let lost: Vec<u64> = self.placed.iter().filter(|(_, worker)| &***worker == name).map(|(run, _)| *run).collect();
        assert_eq!(legs.iter().map(|(conversation, _)| conversation.run.0).collect::<Vec<_>>(), lost);
        for run in lost {
            self.placed.remove(&run);
            self.desk.excluded.entry(run).or_default().push(name.into());
            self.line_up(run);
        }
    }

    fn apply(&mut self, op: Op) {
        let pick = |from: Vec<u64>, index: usize| (!from.is_empty()).then(|| from[index % from.len()]);
        match op {
            Op::Add { queue, kind, gpu, priority, fair, weight, key, excluded } => {
                self.next += 1;
                let call = call(QUEUES[queue], KINDS[kind], |options| {
                    options.needs = if gpu { vec!["gpu".to_owned()] } else { Vec::new() };
                    options.priority = priority;
                    options.fairness_key = FAIR[fair].to_owned();
                    options.fairness_weight = weight;
                    options.limit_key = KEYS[key].to_owned();
                });
                self.desk.calls.insert(self.next, call);
                if excluded {
                    self.desk.excluded.insert(self.next, vec!["w1".into()]);
                }
                self.line_up(self.next);
            }
            Op::Withdraw(index) => {
                if let Some(run) = pick(self.waiting.keys().copied().collect(), index) {
                    self.waiting.remove(&run);
                    self.begun.remove(&run);
                    let call = self.call(run).clone();
                    self.desk.dispatch.over(RunKey(run), Ordinal(1), &call);
                }
            }
            Op::End(index) => {
                if let Some(run) = pick(self.placed.keys().copied().collect(), index) {
                    self.finish(run);
                }
            }
            Op::Retry(index) => {
                if let Some(run) = pick(self.placed.keys().copied().collect(), index) {
                    self.placed.remove(&run);
                    self.desk.dispatch.release(conversation(run), 1, self.desk.now);
                    self.line_up(run);
                }
            }
            Op::Join { name, kinds, gpu, both, capacity } => {
                self.leave(WORKERS[name]);
                let queues = if both { &QUEUES[..] } else { &QUEUES[..1] };
                let labels = if gpu { &["gpu"][..] } else { &[] };
                self.desk.dispatch.join(spec(WORKERS[name], queues, &KINDS[..kinds], labels, capacity), false);
            }
            Op::Leave(name) => self.leave(WORKERS[name]),
            Op::Ready { name, how } => match how {
                0 => self.desk.dispatch.drain(WORKERS[name]),
                1 => self.desk.dispatch.set_liveness(WORKERS[name], Liveness::Suspect),
                2 => self.desk.dispatch.set_liveness(WORKERS[name], Liveness::Live),
                3 => self.desk.dispatch.set_health(WORKERS[name], Health::Down),
                _ => self.desk.dispatch.set_health(WORKERS[name], Health::Healthy),
            },
            Op::Rules { queue, paused, in_flight, per_key } => {
                let limit = |max: u32| (max > 0).then_some(max);
                let rules =
                    Rules { paused, in_flight_max: limit(in_flight), per_key_max: limit(per_key), ..Rules::default() };
                self.rules.insert(QUEUES[queue].to_owned(), rules.clone());
                self.desk.dispatch.set_rules(&QUEUES[queue].into(), rules, self.desk.now);
            }
            Op::Wait(ms) => self.desk.now = self.desk.now.plus_ms(ms),
        }
    }
}

proptest! {
    #[test]
    fn whoever_can_go_goes_in_order_and_no_limit_is_passed(ops in prop::collection::vec(op(), 1..150)) {
        let mut model = Model::default();
        for op in ops {
            model.apply(op);
            model.round();
        }
        // And nothing is left behind when all is over.
        while let Some(run) = model.waiting.keys().chain(model.placed.keys()).next().copied() {
            if model.placed.contains_key(&run) {
                model.finish(run);
            } else {
                model.waiting.remove(&run);
                model.begun.remove(&run);
                let call = model.call(run).clone();
                model.desk.dispatch.over(RunKey(run), Ordinal(1), &call);
            }
            model.round();
        }
        let line = &model.desk.dispatch.line;
        prop_assert!(line.queues.iter().all(|(_, queue)| queue.keys.is_empty() && queue.in_flight == 0));
        prop_assert!(line.queues.iter().all(|(_, queue)| queue.fairness.is_settled()));
        prop_assert!(line.ready.is_empty() && line.aside == 0);
    }

    /// Between two keys that both wait all the time, what they get differs from their shares by no more than one turn.
    #[test]
    fn keys_that_wait_get_their_shares(weights in prop::collection::vec(1u32..20, 2..6), turns in 1usize..300) {
        let mut desk = Desk::with(vec![spec("w1", &["q"], &["a", "b"], &[], 1)]);
        let mut run = 0;
        for (key, weight) in weights.iter().enumerate() {
            for number in 0..300 {
                run += 1;
                desk.add(run, call("q", if number % 2 == 0 { "a" } else { "b" }, |options| {
                    options.fairness_key = format!("key {key}");
                    options.fairness_weight = *weight;
                }));
            }
        }
        let mut served = vec![0u64; weights.len()];
        for _ in 0..turns {
            for run in desk.runs() {
                served[usize::try_from((run - 1) / 300).unwrap()] += 1;
                desk.end(run);
            }
        }
        for (a, b) in (0..weights.len()).flat_map(|a| (0..a).map(move |b| (a, b))) {
            // In thousandths of a turn of weight 1: tags are rounded by less than that.
            let turns = |index: usize| served[index] * 1_000_000 / u64::from(weights[index]);
            let bound = 1_000_000 / u64::from(weights[a]) + 1_000_000 / u64::from(weights[b]) + 1_000;
            prop_assert!(turns(a).abs_diff(turns(b)) <= bound, "{served:?} of {weights:?}");
        }
    }
}
