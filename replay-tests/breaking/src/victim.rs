//! The part that is broken: an engine with its workflows in a process of its own.

use crate::flows::{self, Outside};
use crate::words::{Answer, Ask, End, FromVictim, LegName, Moment, ToVictim};
use crate::{Error, Shape, workers};
use antiphon::{Antiphon, Config, Durability, encode};
use antiphon_conversation::result_digest;
use antiphon_engine::{IdReuse, RunOutcome, StartRequest, Target};
use antiphon_history::WorkflowKey;
use antiphon_recorder::sqlite::{self, Options};
use antiphon_runtime::{Error as EngineError, Handle};
use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How a victim opens its store.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// The store.
    pub folder: PathBuf,
    /// Do without syncs: a power cut then costs acknowledged work.
    #[arg(long)]
    pub process_durability: bool,
    /// How often the archive takes over, at most.
    #[arg(long, default_value_t = Config::default().archive_every_ms)]
    pub archive_ms: u64,
    /// How often the anchor is written, at most.
    #[arg(long, default_value_t = Config::default().anchor_every_ms)]
    pub anchor_ms: u64,
    /// How long to wait for another engine to leave.
    #[arg(long, default_value_t = 0)]
    pub lock_ms: u64,
    /// Run bodies in so many processes of their own.
    #[arg(long, default_value_t = 0)]
    pub workers: u32,
}

/// Bodies that wait for the ledger.
type Calls = Arc<Mutex<HashMap<u64, oneshot::Sender<u64>>>>;

/// Opens the store, serves until its input ends or it is told to stop, and stops in good order.
pub fn run(settings: &Settings) -> Result<(), Error> {
    let tokio = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let tokio = tokio.map_err(Error::io("starting tokio"))?;
    let calls = Calls::default();
    let app = {
        let _inside = tokio.enter();
        let durability = if settings.process_durability { Durability::Process } else { Durability::Full };
        let mut config = Config { archive_every_ms: settings.archive_ms, ..Config::default() };
        config.anchor_every_ms = settings.anchor_ms;
        let builder = Antiphon::open(&settings.folder).durability(durability).config(config);
        let outside = workers::over_the_victim().unwrap_or_else(|| ledger(&calls));
        let builder = match settings.workers {
            0 => flows::register(builder),
            processes => {
                if !Antiphon::is_worker_process() {
                    workers::relay(&settings.folder, Arc::clone(&outside), tokio.handle().clone())?;
                }
                workers::register(builder, &settings.folder, processes)
            }
        };
        builder.wait_for_lock(Duration::from_millis(settings.lock_ms)).state(Outside(outside)).start()
    };
    let app = match app {
        Ok(app) => app,
        Err(error) => {
            say(&FromVictim::Unopened { text: error.to_string() });
            return Ok(());
        }
    };
    say(&FromVictim::Ready);
    let (put, mut asks) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(ToVictim::Ask { number, ask }) => _ = put.send((number, ask)),
                Ok(ToVictim::Noted { number, nonce }) => {
                    let waiting = calls.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
                    waiting.map(|waiting| waiting.send(nonce));
                }
                Ok(ToVictim::Stop) | Err(_) => break,
            }
        }
    });
    let handle = app.handle().clone();
    tokio.block_on(async {
        while let Some((number, ask)) = asks.recv().await {
            let handle = handle.clone();
            tokio::spawn(async move {
                let answer = answer(&handle, ask).await;
                say(&FromVictim::Answered { number, answer });
            });
        }
    });
    app.stop();
    say(&FromVictim::Stopped);
    Ok(())
}

fn say(word: &FromVictim) {
    let mut line = serde_json::to_vec(word).unwrap_or_default();
    line.push(b'\n');
    // Nobody to hear it: the harness is gone, and this process ends with its input.
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(&line).and_then(|()| out.flush());
}

/// Bodies call the harness and wait for its word.
fn ledger(calls: &Calls) -> flows::CallLedger {
    let (calls, last) = (Arc::clone(calls), AtomicU64::new(0));
    Arc::new(move |leg: LegName, moment: Moment| {
        let (reply, noted) = oneshot::channel();
        let number = last.fetch_add(1, Ordering::Relaxed);
        calls.lock().unwrap_or_else(PoisonError::into_inner).insert(number, reply);
        say(&FromVictim::Body { number, leg, moment });
        Box::pin(async move {
            match noted.await {
                Ok(nonce) => nonce,
                // The harness is gone: this body never returns, as if it had died here.
                Err(_) => std::future::pending().await,
            }
        })
    })
}

async fn answer(handle: &Handle, ask: Ask) -> Answer {
    let done = match ask {
        Ask::Start { workflow, shape, plan } => start(handle, workflow, shape, &plan).await,
        Ask::Signal { workflow, name, value, key } => match (target(&workflow), encode(&value)) {
            (Ok(target), Ok(value)) => {
                handle.signal(target, name, vec![value], Some(key)).await.map(|()| Answer::Accepted)
            }
            _ => return unusable(&workflow),
        },
        Ask::Cancel { workflow } => match target(&workflow) {
            Ok(target) => handle.cancel(target, "asked".to_owned()).await.map(|()| Answer::Accepted),
            Err(answer) => return answer,
        },
        Ask::Wait { workflow } => match target(&workflow) {
            Ok(target) => handle
                .wait(target)
                .await
                .map(|(run, outcome)| Answer::Ended { run: run.to_string(), end: end(outcome) }),
            Err(answer) => return answer,
        },
    };
    done.unwrap_or_else(|error| refusal(&error))
}

async fn start(handle: &Handle, workflow: String, shape: Shape, plan: &crate::Plan) -> Result<Answer, EngineError> {
    let (Ok(workflow), Ok(input)) = (WorkflowKey::new(&*workflow), encode(plan)) else {
        return Ok(unusable(&workflow));
    };
    let request = StartRequest {
        workflow,
        workflow_type: shape.name().to_owned(),
        input: vec![input],
        id_reuse: IdReuse::Never,
        request_id: None,
    };
    handle.start(request).await.map(|(run, _)| Answer::Started { run: run.to_string() })
}

fn target(workflow: &str) -> Result<Target, Answer> {
    let workflow = WorkflowKey::new(workflow).map_err(|_| unusable(workflow))?;
    Ok(Target { workflow, run: None })
}

fn unusable(workflow: &str) -> Answer {
    Answer::Refused { code: "A0012".to_owned(), text: workflow.to_owned() }
}

fn end(outcome: RunOutcome) -> End {
    match outcome {
        RunOutcome::Completed { result } => End::Completed(result_digest(&result).0.to_string()),
        RunOutcome::Failed { failure } => End::Failed(failure.message),
        RunOutcome::Cancelled { .. } => End::Cancelled,
        RunOutcome::Terminated { .. } => End::Terminated,
    }
}

fn refusal(error: &EngineError) -> Answer {
    let text = error.to_string();
    match error {
        EngineError::Unavailable | EngineError::Stopped | EngineError::Broken { .. } => Answer::Unknown { text },
        _ => {
            let code = text.rsplit_once('[').map_or("", |(_, code)| code.trim_end_matches(']')).to_owned();
            Answer::Refused { code, text }
        }
    }
}

/// Opens a store for writing and waits until its input ends: for cuts in the middle of an opening.
pub fn open_only(store: &Path) -> Result<(), Error> {
    match sqlite::open(store, &Options::default()) {
        Ok(_store) => {
            say(&FromVictim::Ready);
            std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).map_err(Error::io("waiting"))?;
        }
        Err(error) => say(&FromVictim::Unopened { text: error.to_string() }),
    }
    Ok(())
}
