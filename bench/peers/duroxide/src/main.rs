//! The workloads on duroxide with its SQLite store, as shipped or tuned.

use clap::Parser;
use duroxide::providers::sqlite::SqliteProvider;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::runtime::{Runtime, RuntimeOptions};
use duroxide::{ActivityContext, Client, OrchestrationContext, OrchestrationRegistry, OrchestrationStatus};
use peer_common::{Engine, Failure, Options, Sizes, Watch, Work};
use std::sync::Arc;
use std::time::Duration;

/// One workload on duroxide.
#[derive(Parser, Debug)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Poll every millisecond instead of every 100, and four dispatchers of each kind instead of two.
    #[arg(long)]
    tuned: bool,
}

struct Duroxide {
    client: Client,
    /// The longest wait for a result.
    cap: Duration,
}

impl Engine for Duroxide {
    async fn run(&self, work: Work, id: &str, n: u64) -> Result<(), Failure> {
        self.start(work, id, n).await?;
        match self.client.wait_for_orchestration(id, self.cap).await? {
            OrchestrationStatus::Completed { .. } => Ok(()),
            other => Err(format!("{id} ended otherwise: {other:?}").into()),
        }
    }

    async fn start(&self, work: Work, id: &str, n: u64) -> Result<(), Failure> {
        Ok(self.client.start_orchestration(id, work.name(), n.to_string()).await?)
    }

    async fn signal(&self, id: &str) -> Result<(), Failure> {
        Ok(self.client.raise_event(id, "go", "").await?)
    }

    async fn completed(&self) -> Result<u64, Failure> {
        Ok(self.client.get_system_metrics().await?.completed_instances)
    }
}

/// It is too slow for the full sizes, and has few places for activities.
fn sizes(tuned: bool) -> Sizes {
    Sizes {
        one: vec![(1, if tuned { 100 } else { 30 }), (64, 500), (1_000, 1_000)],
        ten: vec![(64, 200), (1_000, 1_000)],
        steps: if tuned { vec![500, 1_000, 2_000] } else { vec![100, 200, 400] },
        in_flight: 100,
        slow_ms: 20,
        slots: Some(if tuned { TUNED_DISPATCHERS as u64 } else { 2 }),
        parked: 500,
        note: Some("reduced sizes; commits are not synced"),
        ..Sizes::default()
    }
}

const TUNED_DISPATCHERS: usize = 4;

fn activities(slow: Duration) -> ActivityRegistry {
    ActivityRegistry::builder()
        .register("echo", |_: ActivityContext, text: String| async move { Ok(text) })
        .register("slow", move |_: ActivityContext, text: String| async move {
            tokio::time::sleep(slow).await;
            Ok(text)
        })
        .build()
}

async fn in_a_row(ctx: OrchestrationContext, activity: &str, n: String) -> Result<String, String> {
    let mut last = String::new();
    for _ in 0..count(&n)? {
        last = ctx.schedule_activity(activity, "hello-world").await?;
    }
    Ok(last)
}

fn count(n: &str) -> Result<u64, String> {
    n.parse().map_err(|error| format!("{n:?} is not a count: {error}"))
}

fn workflows() -> OrchestrationRegistry {
    OrchestrationRegistry::builder()
        .register(Work::Sequence.name(), |ctx: OrchestrationContext, n: String| async move {
            in_a_row(ctx, "echo", n).await
        })
        .register(
            Work::Slow.name(),
            |ctx: OrchestrationContext, n: String| async move { in_a_row(ctx, "slow", n).await },
        )
        .register(Work::Fan.name(), |ctx: OrchestrationContext, n: String| async move {
            let calls: Vec<_> = (0..count(&n)?).map(|_| ctx.schedule_activity("echo", "hello-world")).collect();
            let results = ctx.join(calls).await;
            Ok(results.into_iter().collect::<Result<Vec<_>, _>>()?.len().to_string())
        })
        .register(
            Work::Park.name(),
            |ctx: OrchestrationContext, _: String| async move { Ok(ctx.schedule_wait("go").await) },
        )
        .build()
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let Arguments { options, tuned } = Arguments::parse();
    let sizes = sizes(tuned);
    peer_common::about(
        include_str!("../Cargo.lock"),
        "duroxide",
        if tuned {
            "tuned: 1 ms poll, 4 + 4 dispatchers; SQLite does not sync on commit"
        } else {
            "as shipped: 100 ms poll, 2 + 2 dispatchers; SQLite does not sync on commit"
        },
    );
    let path = options.folder.join("duroxide.db");
    if !path.exists() {
        std::fs::File::create(&path)?;
    }
    let store = Arc::new(SqliteProvider::new(&format!("sqlite:{}", path.display()), None).await?);
    let mut settings = RuntimeOptions::default();
    if tuned {
        settings.dispatcher_min_poll_interval = Duration::from_millis(1);
        settings.orchestration_concurrency = TUNED_DISPATCHERS;
        settings.worker_concurrency = TUNED_DISPATCHERS;
    }
    let slow = Duration::from_millis(sizes.slow_ms);
    let runtime = Runtime::start_with_options(store.clone(), activities(slow), workflows(), settings).await;
    let watch = Watch::with_server(options.server_pid, &options.folder);
    let engine = Duroxide { client: Client::new(store), cap: options.cap() };
    peer_common::run(engine, &options, &sizes, &watch).await?;
    // Half a second is its own grace for work under way; there is none.
    runtime.shutdown(Some(500)).await;
    Ok(())
}
