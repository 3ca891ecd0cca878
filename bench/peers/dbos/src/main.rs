//! The workloads on the `dbos` crate with PostgreSQL, as shipped or tuned.

use clap::Parser;
use dbos::{Config, DBOS, EngineOnly, RunOptions, StartOptions, WorkflowRef};
use peer_common::{Engine, Failure, Options, Sizes, Watch, Work};
use std::time::Duration;
use tokio_postgres::NoTls;

/// One workload on dbos.
#[derive(Parser, Debug)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Any database of the server, as `postgres://user:password@host:port/name`. The workload uses another one beside
    /// it, `antiphon_peers`.
    #[arg(long)]
    url: String,
    /// Drop and create `antiphon_peers` first.
    #[arg(long)]
    fresh: bool,
    /// 32 connections instead of 10.
    #[arg(long)]
    tuned: bool,
}

const DATABASE: &str = "antiphon_peers";

const TUNED_CONNECTIONS: u32 = 32;

type Workflow = WorkflowRef<u64, String, EngineOnly>;

struct Dbos {
    dbos: DBOS,
    sequence: Workflow,
    slow: Workflow,
    fan: Workflow,
    park: Workflow,
    /// A connection of our own, for counting.
    counter: tokio_postgres::Client,
}

impl Dbos {
    fn workflow(&self, work: Work) -> &Workflow {
        match work {
            Work::Sequence => &self.sequence,
            Work::Slow => &self.slow,
            Work::Fan => &self.fan,
            Work::Park => &self.park,
        }
    }
}

impl Engine for Dbos {
    async fn run(&self, work: Work, id: &str, n: u64) -> Result<(), Failure> {
        let options = RunOptions { workflow_id: Some(id), ..Default::default() };
        self.workflow(work).run_with(n, options).await?;
        Ok(())
    }

    async fn start(&self, work: Work, id: &str, n: u64) -> Result<(), Failure> {
        let options = StartOptions { workflow_id: Some(id), ..Default::default() };
        self.workflow(work).start_with(n, options).await?;
        Ok(())
    }

    async fn signal(&self, id: &str) -> Result<(), Failure> {
        self.dbos.send(id, &String::new()).await?;
        Ok(())
    }

    async fn completed(&self) -> Result<u64, Failure> {
        let count = "SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'";
        Ok(self.counter.query_one(count, &[]).await?.try_get::<_, i64>(0)? as u64)
    }
}

async fn echo() -> dbos::Result<String> {
    Ok("hello-world".to_owned())
}

/// Declares the four workflows. `slow` is what one activity of [`Work::Slow`] takes.
fn declare(dbos: &DBOS, slow: Duration) -> dbos::Result<[Workflow; 4]> {
    let sequence = dbos.register_workflow(Work::Sequence.name(), |n: u64| async move {
        let mut last = String::new();
        for _ in 0..n {
            last = dbos::step("echo", echo).await?;
        }
        dbos::Result::Ok(last)
    })?;
    let slow = dbos.register_workflow(Work::Slow.name(), move |n: u64| async move {
        let mut last = String::new();
        for _ in 0..n {
            let wait = move || async move {
                tokio::time::sleep(slow).await;
                echo().await
            };
            last = dbos::step("slow", wait).await?;
        }
        dbos::Result::Ok(last)
    })?;
    let fan = dbos.register_workflow(Work::Fan.name(), |n: u64| async move {
        // A step gets its number when it is made, so all are made before any is polled.
        let steps: Vec<_> = (0..n).map(|_| dbos::step::<String, EngineOnly, _, _>("echo", echo)).collect();
        dbos::Result::Ok(futures::future::try_join_all(steps).await?.len().to_string())
    })?;
    let park = dbos.register_workflow(Work::Park.name(), |_: u64| async move {
        let message: Option<String> = dbos::recv(None, Duration::from_secs(3600)).await?;
        dbos::Result::Ok(message.unwrap_or_default())
    })?;
    Ok([sequence, slow, fan, park])
}

async fn connect(url: &str) -> Result<tokio_postgres::Client, Failure> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // Ends with the client.
    tokio::spawn(connection);
    Ok(client)
}

async fn create_afresh(url: &str) -> Result<(), Failure> {
    let client = connect(url).await?;
    client.batch_execute(&format!("DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")).await?;
    client.batch_execute(&format!("CREATE DATABASE {DATABASE}")).await?;
    // What the workload before has left to write is not to be counted here.
    client.batch_execute("CHECKPOINT").await?;
    Ok(())
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let Arguments { options, url, fresh, tuned } = Arguments::parse();
    peer_common::about(
        include_str!("../Cargo.lock"),
        "dbos",
        if tuned { "tuned: pool of 32" } else { "as shipped: pool of 10" },
    );
    if fresh {
        create_afresh(&url).await?;
    }
    let (server, _) = url.rsplit_once('/').ok_or("--url needs a database: postgres://user@host:port/name")?;
    let database = format!("{server}/{DATABASE}");
    // Workflows are only recovered by the version that has started them, and dbos wants it named.
    let mut config = Config { app_version: Some("1".to_owned()), ..Config::new("antiphon-peers", &database) };
    if tuned {
        config.max_connections = TUNED_CONNECTIONS;
    }
    let sizes = Sizes::default();
    let dbos = DBOS::new(config);
    let [sequence, slow, fan, park] = declare(&dbos, Duration::from_millis(sizes.slow_ms))?;
    dbos.launch().await?;
    let engine = Dbos { dbos: dbos.clone(), sequence, slow, fan, park, counter: connect(&database).await? };
    let watch = match options.server_pid {
        Some(pid) => Watch::with_server(Some(pid), &options.folder),
        None => Watch::without_processes(&options.folder),
    };
    peer_common::run(engine, &options, &sizes, &watch).await?;
    dbos.shutdown().await;
    Ok(())
}
