//! duroxide with its SQLite store as a victim: the words are those of `../src/peer.rs`, one line of JSON each.
//!
//! `breaking-duroxide serve <folder> [--tuned]` starts orchestrations and waits for them. `status <folder>` goes on with
//! what is left and answers for ids: one that is not there may still wait in a queue, so it has some seconds to appear.

use duroxide::providers::sqlite::SqliteProvider;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::runtime::{Runtime, RuntimeOptions};
use duroxide::{ActivityContext, Client, OrchestrationContext, OrchestrationRegistry, OrchestrationStatus};
use serde::{Deserialize, Serialize};
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What is asked.
#[derive(Deserialize)]
enum Ask {
    /// Start an orchestration of this id.
    Start(String),
    /// Wait for its end.
    Wait(String),
    /// How does it stand?
    Status(String),
}

/// What is answered.
#[derive(Serialize)]
enum Answer {
    Ready,
    Started(String),
    Completed(String),
    Status(String, &'static str),
    Failed(String, String),
}

/// Longer than any victim lives.
const CAP: Duration = Duration::from_secs(600);
/// Its dispatchers look every 100 ms at most; this is many looks.
const APPEARS_WITHIN: Duration = Duration::from_secs(6);

async fn two_steps(ctx: OrchestrationContext, _input: String) -> Result<String, String> {
    let first = ctx.schedule_activity("echo", "hello").await?;
    ctx.schedule_activity("echo", first).await
}

async fn answer(client: &Client, ask: Ask) -> Answer {
    match ask {
        Ask::Start(id) => match client.start_orchestration(&id, "two-steps", "").await {
            Ok(()) => Answer::Started(id),
            Err(error) => Answer::Failed(id, error.to_string()),
        },
        Ask::Wait(id) => match client.wait_for_orchestration(&id, CAP).await {
            Ok(OrchestrationStatus::Completed { .. }) => Answer::Completed(id),
            Ok(other) => Answer::Failed(id, format!("{other:?}")),
            Err(error) => Answer::Failed(id, format!("{error:?}")),
        },
        Ask::Status(id) => status(client, id).await,
    }
}

async fn status(client: &Client, id: String) -> Answer {
    let give_up = Instant::now() + APPEARS_WITHIN;
    loop {
        match client.get_orchestration_status(&id).await {
            Ok(OrchestrationStatus::Completed { .. }) => return Answer::Status(id, "completed"),
            // Its connections refuse each other under load: asked again like one that is not there yet.
            Ok(OrchestrationStatus::NotFound) | Err(_) if Instant::now() < give_up => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Ok(OrchestrationStatus::NotFound) => return Answer::Status(id, "gone"),
            Ok(_) => return Answer::Status(id, "there"),
            Err(error) => return Answer::Failed(id, format!("{error:?}")),
        }
    }
}

fn say(answer: &Answer) {
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(&line).and_then(|()| out.flush());
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let folder = match &words[..] {
        [role, folder, ..] if matches!(role.as_str(), "serve" | "status") => Path::new(folder),
        _ => return Err("breaking-duroxide serve|status <folder> [--tuned]".into()),
    };
    std::fs::create_dir_all(folder)?;
    let path = folder.join("duroxide.db");
    if !path.exists() {
        std::fs::File::create(&path)?;
    }
    let store = Arc::new(SqliteProvider::new(&format!("sqlite:{}", path.display()), None).await?);
    let mut settings = RuntimeOptions::default();
    if words.iter().any(|word| word == "--tuned") {
        settings.dispatcher_min_poll_interval = Duration::from_millis(1);
        settings.orchestration_concurrency = 4;
        settings.worker_concurrency = 4;
    }
    let activities = ActivityRegistry::builder()
        .register("echo", |_: ActivityContext, text: String| async move { Ok(text) })
        .build();
    let workflows = OrchestrationRegistry::builder().register("two-steps", two_steps).build();
    // Kept alive: it stops when it is dropped.
    let _runtime = Runtime::start_with_options(store.clone(), activities, workflows, settings).await;
    let client = Arc::new(Client::new(store));
    say(&Answer::Ready);
    let (put, mut asks) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if serde_json::from_str(&line).is_ok_and(|ask: Ask| put.send(ask).is_ok()) {
                continue;
            }
            break;
        }
    });
    while let Some(ask) = asks.recv().await {
        let client = Arc::clone(&client);
        tokio::spawn(async move { say(&answer(&client, ask).await) });
    }
    Ok(())
}
