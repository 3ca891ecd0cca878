//! The thread that minds one worker process: starts it, looks after it, buries it, and starts the next.

use super::exit;
use super::link::Link;
use super::linked::{Linked, Minded};
use super::pool::ChildError;
use super::settings::{ChildSettings, WORKER_OF};
use super::socket::SocketLink;
use super::state::Ended;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

/// How long a process that says nothing more may take to end before it is killed. It is on its way out, or has closed its
/// link for no reason.
const LAST_MOMENTS: Duration = Duration::from_secs(2);
/// How often a process that is ending is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// Minds one worker until it is stopped. `first` learns how the first start went; if it went wrong there is no second.
pub(crate) fn mind(worker: &Arc<Linked>, first: SyncSender<Result<(), ChildError>>) {
    let settings = Arc::clone(&worker.settings);
    let (mut first, mut wait_ms, mut lives) = (Some(first), settings.restart_first_ms, 0u64);
    while !worker.is_stopping() {
        lives += 1;
        let instance = format!("{}-{lives}", std::process::id());
        let born = Instant::now();
        worker.begin();
        let how = live(worker, &instance, &mut first).unwrap_or_else(|error| format!("it cannot be started: {error}"));
        worker.down(&how);
        if let Some(first) = first.take() {
            let (name, program) = (worker.name(), settings.program.clone());
            let _ = first.send(Err(ChildError { name, program, how }));
            return;
        }
        let longest_ms = settings.restart_max_ms;
        if born.elapsed() >= Duration::from_millis(longest_ms) {
            wait_ms = settings.restart_first_ms;
        }
        if !worker.rest(wait_ms) {
            return;
        }
        wait_ms = wait_ms.saturating_mul(2).min(longest_ms);
    }
}

/// One life of a process, from its start to its burial. Returns how it ended.
fn live(
    worker: &Arc<Linked>,
    instance: &str,
    first: &mut Option<SyncSender<Result<(), ChildError>>>,
) -> std::io::Result<String> {
    let (ours, theirs) = UnixStream::pair()?;
    let link = SocketLink::new(ours)?;
    let mut child = start(&worker.settings, theirs)?;
    let ended = std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().name("antiphon-hears".to_owned());
        let writer = std::thread::Builder::new().name("antiphon-tells".to_owned());
        let ended = reader
            .spawn_scoped(scope, || worker.read(&link, instance))
            .and_then(|_| writer.spawn_scoped(scope, || worker.write(&link)))
            .map(|_| watch(worker, &mut child, &link, first));
        // Whoever still reads or writes stops here, also where a process that it started holds the other end open.
        link.close();
        ended
    });
    let (status, forced) = bury(&mut child);
    let status = status.map_or_else(|error| error.to_string(), exit::words);
    Ok(match ended? {
        (Some(why), _) => format!("killed, because {why}"),
        (None, Ended::Broken(problem)) => format!("killed, because {problem}"),
        (None, Ended::Left(reason)) => format!("it left, because {reason}; {status}"),
        (None, Ended::Closed) if forced => "killed, because it closed its connection".to_owned(),
        (None, Ended::Closed) => status,
    })
}

fn start(settings: &ChildSettings, link: UnixStream) -> std::io::Result<Child> {
    let mut command = Command::new(&settings.program);
    // The program that runs, under the name that it was started by.
    if settings.program == Path::new("/proc/self/exe")
        && let Some(name) = std::env::args_os().next()
    {
        command.arg0(name);
    }
    command.args(&settings.args).envs(settings.env.iter().map(|(name, value)| (name, value)));
    command.env(WORKER_OF, &settings.name).stdin(Stdio::from(OwnedFd::from(link)));
    // A group of its own: what a body has started goes with it, and Ctrl-C in a terminal reaches the engine first, which
    // then tells the workers to leave.
    command.process_group(0).spawn()
}

/// Looks after a process until it will say nothing more. Returns why it was killed, if it was.
fn watch(
    worker: &Linked,
    child: &mut Child,
    link: &SocketLink,
    first: &mut Option<SyncSender<Result<(), ChildError>>>,
) -> (Option<String>, Ended) {
    let (every, mut killed) = (look_every(&worker.settings), None);
    let mut gone = 0u32;
    loop {
        match worker.mind(every) {
            Minded::Ended(ended) => {
                if matches!(ended, Ended::Broken(_)) {
                    kill(child);
                }
                return (killed, ended);
            }
            Minded::Overdue(why) => {
                killed.get_or_insert(why);
                kill(child);
            }
            Minded::Alive => {}
        }
        if let Some(first) = first.take_if(|_| worker.is_up()) {
            let _ = first.send(Ok(()));
        }
        // Its end closes its end of the link, unless something that it started holds that open.
        gone += u32::from(has_ended(child));
        if gone > 1 {
            link.close();
        }
    }
}

/// Four looks in the shortest wait; seldom enough to cost nothing, often enough to be near the mark.
fn look_every(settings: &ChildSettings) -> Duration {
    let ChildSettings { register_within_ms, ping_every_ms, ping_within_ms, stop_within_ms, drain_within_ms, .. } =
        settings;
    let waits = [register_within_ms, ping_every_ms, ping_within_ms, drain_within_ms].into_iter().chain(stop_within_ms);
    Duration::from_millis(waits.min().map_or(250, |wait| (wait / 4).clamp(1, 250)))
}

/// Takes leave of a process that says nothing more: waits for its end, forces it if need be, and ends what it started.
fn bury(child: &mut Child) -> (std::io::Result<ExitStatus>, bool) {
    let (since, mut forced) = (Instant::now(), false);
    while !has_ended(child) {
        if !forced && since.elapsed() >= LAST_MOMENTS {
            kill(child);
            forced = true;
        }
        std::thread::park_timeout(LOOK);
    }
    // Before it is reaped: until then nobody else can have its number.
    if let Some(pid) = pid(child) {
        let _ = kill_process_group(pid, Signal::KILL);
    }
    (child.wait(), forced)
}

/// Whether it has ended; it stays to be reaped.
fn has_ended(child: &Child) -> bool {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    pid(child).is_none_or(|pid| !matches!(waitid(WaitId::Pid(pid), look), Ok(None)))
}

fn kill(child: &mut Child) {
    // One that has ended is not reaped before `bury`: the number is its own.
    let _ = child.kill();
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}
