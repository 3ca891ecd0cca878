use crate::loops::{self, Ask, Seen};
use crate::{Engine, Failure, Figure, Options, Sizes, Watch, Work, Workload};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Runs one workload on a store that holds nothing else, and prints its figures.
pub async fn run<E: Engine>(engine: E, options: &Options, sizes: &Sizes, watch: &Watch) -> Result<(), Failure> {
    let bench = Bench { engine: Arc::new(engine), options, sizes, watch };
    match options.workload {
        Workload::W1 => {
            bench.warm_up().await;
            for load in &sizes.one {
                bench.load(&format!("W1 c={}", load.0), Work::Sequence, *load, 1).await;
            }
        }
        Workload::W2 => {
            bench.warm_up().await;
            for load in &sizes.ten {
                bench.load(&format!("W2 10 in a row c={}", load.0), Work::Sequence, *load, 10).await;
            }
        }
        Workload::W3 => {
            bench.warm_up().await;
            bench.load(&format!("W3 {} at once", sizes.fan), Work::Fan, (1, 1), sizes.fan).await;
        }
        Workload::W4 => {
            bench.warm_up().await;
            for n in &sizes.steps {
                bench.load(&format!("W4 {n} in a row"), Work::Sequence, (1, 1), *n).await;
            }
        }
        Workload::W5Fill => bench.fill().await?,
        Workload::W5Finish => bench.finish().await,
        Workload::W6 => bench.park_and_wake().await?,
    }
    Ok(())
}

struct Bench<'a, E> {
    engine: Arc<E>,
    options: &'a Options,
    sizes: &'a Sizes,
    watch: &'a Watch,
}

impl<E: Engine> Bench<'_, E> {
    /// The first runs pay for connections, page faults and prepared statements; nobody asks about them.
    async fn warm_up(&self) {
        loops::closed_loop(&self.engine, Work::Sequence, "warm", (4, 50), 1, self.options.cap()).await;
    }

    async fn load(&self, label: &str, work: Work, load: (usize, usize), n: u64) {
        // Names go into addresses as they are.
        let ids = label.replace([' ', '='], "-");
        let before = self.watch.now();
        let seen = loops::closed_loop(&self.engine, work, &ids, load, n, self.options.cap()).await;
        let done = seen.micros.len() as u64;
        let mut figure = self.watch.figure(label, &before, done, done * n);
        figure.callers = Some(load.0 as u64);
        figure.note = self.note(&seen);
        figure.with_times(seen.micros).print();
    }

    fn note(&self, seen: &Seen) -> String {
        let mut parts: Vec<String> = self.sizes.note.map(str::to_owned).into_iter().collect();
        if seen.cut {
            parts.push(format!("ended by the cap of {} s", self.options.cap_s));
        }
        if let Some(failure) = &seen.first_failure {
            parts.push(format!("{} failed, the first with: {failure}", seen.failed));
        }
        parts.join("; ")
    }

    /// Says when all are acknowledged, when to kill, and how long it takes from there at the least; then waits for its
    /// end.
    async fn fill(&self) -> Result<(), Failure> {
        let start = Ask::Start(Work::Slow, Sizes::SLOW_STEPS);
        loops::each(&self.engine, start, "slow", self.sizes.in_flight, self.options.cap()).await?;
        println!("{}", json!({ "kill_after_ms": Sizes::KILL_AFTER_MS, "ideal_ms": self.sizes.ideal_ms() }));
        std::future::pending().await
    }

    async fn finish(&self) {
        let asked = self.sizes.in_flight as u64;
        let done = loops::completed(&self.engine, asked, self.options.cap()).await;
        // The time is taken by whoever has killed the first half.
        let mut figure = Figure {
            workload: format!("W5 {asked} in flight, killed"),
            lost: Some(asked - done),
            resident_mib: self.watch.memory_mib(),
            ..Figure::default()
        };
        figure.note = self.note(&Seen { cut: done < asked, ..Seen::default() });
        figure.print();
    }

    async fn park_and_wake(&self) -> Result<(), Failure> {
        // What a peer needs to get going is not to be counted as belonging to what is parked.
        self.warm_up().await;
        let (count, warm, empty) = (self.sizes.parked, self.engine.completed().await?, self.watch.memory_mib());
        let each = |now: Option<f64>| Some((now? - empty?) * 1024.0 * 1024.0 / count as f64);

        let (before, starting) = (self.watch.now(), Instant::now());
        loops::each(&self.engine, Ask::Start(Work::Park, 0), "park", count, self.options.cap()).await?;
        let start_s = starting.elapsed().as_secs_f64();
        let parked_first_bytes = each(self.watch.memory_mib());
        // Peers put idle workflows away after a while; give them the time.
        tokio::time::sleep(Duration::from_secs(5)).await;
        let parked_bytes = each(self.watch.memory_mib());

        let waking = Instant::now();
        let signalled = loops::each(&self.engine, Ask::Signal, "park", count, self.options.cap()).await;
        let target = warm + count as u64;
        let done = loops::completed(&self.engine, target, self.options.cap()).await.saturating_sub(warm);
        let wake_s = waking.elapsed().as_secs_f64();
        let lost = count as u64 - done;
        let mut figure = self.watch.figure(&format!("W6 {count} parked"), &before, done, done);
        // There are no activities here; bytes, CPU and flushes are per workflow.
        (figure.runs_per_s, figure.activities_per_s) = (None, None);
        figure.start_s = Some(start_s);
        figure.wake_s = (lost == 0).then_some(wake_s);
        (figure.parked_first_bytes, figure.parked_bytes) = (parked_first_bytes, parked_bytes);
        figure.lost = Some(lost);
        let first_failure = signalled.err().map(|failure| failure.to_string());
        let failed = usize::from(first_failure.is_some());
        figure.note = self.note(&Seen { cut: lost > 0, failed, first_failure, ..Seen::default() });
        figure.print();
        Ok(())
    }
}
