//! The workloads on a Restate server, with a service built on its SDK. This process serves the workflows and puts the
//! load on, over the server's HTTP ingress.

mod service;

use clap::Parser;
use peer_common::{Engine, Failure, Options, Sizes, Watch, Work};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// One workload on Restate.
#[derive(Parser, Debug)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// The server's ingress, as `http://host:port`.
    #[arg(long)]
    ingress: String,
    /// The server's admin address, as `http://host:port`.
    #[arg(long)]
    admin: String,
    /// The port of 127.0.0.1 on which the workflows are served.
    #[arg(long)]
    service_port: u16,
    /// Make the service known to the server; once per store.
    #[arg(long)]
    register: bool,
    /// How many partitions the server was given, if not as many as it is shipped with; only said again in the results.
    #[arg(long)]
    partitions: Option<u32>,
}

struct Restate {
    http: reqwest::Client,
    ingress: String,
    admin: String,
}

impl Restate {
    async fn post(&self, url: String, body: Value) -> Result<Value, Failure> {
        let answer = self.http.post(url).header("accept", "application/json").json(&body).send().await?;
        let (status, bytes) = (answer.status(), answer.bytes().await?);
        if !status.is_success() {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&bytes)).into());
        }
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Makes the workflows known. A server that has just started is asked again until it takes them.
    async fn register(&self, port: u16, limit: Duration) -> Result<(), Failure> {
        let end = Instant::now() + limit;
        loop {
            let body = json!({ "uri": format!("http://127.0.0.1:{port}"), "force": true });
            match self.post(format!("{}/deployments", self.admin), body).await {
                Ok(_) => return Ok(()),
                Err(failure) if Instant::now() > end => {
                    return Err(format!("the server did not take the service within {limit:?}: {failure}").into());
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

impl Engine for Restate {
    async fn run(&self, work: Work, id: &str, n: u64) -> Result<(), Failure> {
        self.post(format!("{}/{}/{id}/run", self.ingress, work.name()), json!(n)).await?;
        Ok(())
    }

    async fn start(&self, work: Work, id: &str, n: u64) -> Result<(), Failure> {
        self.post(format!("{}/{}/{id}/run/send", self.ingress, work.name()), json!(n)).await?;
        Ok(())
    }

    async fn signal(&self, id: &str) -> Result<(), Failure> {
        self.post(format!("{}/{}/{id}/go", self.ingress, Work::Park.name()), json!("")).await?;
        Ok(())
    }

    async fn completed(&self) -> Result<u64, Failure> {
        let query = "SELECT count(*) AS count FROM sys_invocation \
                     WHERE status = 'completed' AND target_handler_name = 'run'";
        let answer = self.post(format!("{}/query", self.admin), json!({ "query": query })).await?;
        answer["rows"][0]["count"].as_u64().ok_or_else(|| format!("the server answered {answer}").into())
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let Arguments { options, ingress, admin, service_port, register, partitions } = Arguments::parse();
    let settings = match partitions {
        Some(partitions) => format!("tuned: {partitions} partitions, as many open workflows in all as shipped"),
        None => "as shipped: 24 partitions".to_owned(),
    };
    peer_common::about(include_str!("../Cargo.lock"), "restate-sdk", &settings);
    let sizes = Sizes::default();
    tokio::spawn(service::serve(service_port, Duration::from_millis(sizes.slow_ms)));
    // Above the cap of a figure, so that the cap decides.
    let http = reqwest::Client::builder().timeout(options.cap() * 2).build()?;
    let engine = Restate { http, ingress, admin };
    if register {
        engine.register(service_port, options.cap()).await?;
    }
    let watch = Watch::with_server(options.server_pid, &options.folder);
    peer_common::run(engine, &options, &sizes, &watch).await
}
