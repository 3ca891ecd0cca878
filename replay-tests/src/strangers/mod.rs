//! What is done with bytes that nobody of ours wrote. One function for each thing that reads bytes: it may refuse them, or
//! take them and then keep its promises; it never panics, hangs, or takes memory that the bytes do not justify.
//!
//! The same functions are run over kept and mutated bytes by `tests/strangers.rs`, and by libFuzzer from `fuzz/`.

mod corpus;
mod mutation;
mod store;
mod wire;

pub use corpus::{corpus, made};
pub use mutation::Mutator;
pub use store::store;
pub use wire::frame;

use crate::programs;
use antiphon_engine::replay;
use antiphon_history::{
    DecodeError, Digest, Events, Glance, HistoryFile, Record, RunId, RunKey, Segment, SegmentBody, SegmentParts,
    Timestamp, WorkflowKey,
};
use antiphon_recorder::memory::MemoryStore;
use antiphon_recorder::{Filter, Reader, strangers};
use antiphon_server::cli::{self, Cli};
use clap::Parser;
use std::path::Path;
use std::sync::OnceLock;

/// Something that reads bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Also the name of its folder below `fixtures/corpus`.
    pub name: &'static str,
    /// Reads bytes, and panics if a promise is broken.
    pub read: fn(&[u8]),
    /// Most bytes of memory that one byte of input may bring about.
    pub per_byte: usize,
    /// Most bytes of memory whatever the input.
    pub always: usize,
    /// How many mutations of its corpus cost as much as one of the cheapest target's.
    pub cost: usize,
}

const MIB: usize = 1024 * 1024;

/// LZ4 makes at most 255 bytes of one, and what is read out of them is copied once.
const SQUEEZED: usize = 2 * 255 + 64;

const fn target(name: &'static str, read: fn(&[u8]), per_byte: usize, always: usize, cost: usize) -> Target {
    Target { name, read, per_byte, always, cost }
}

/// All of them. The megabyte that every decoder of MessagePack may take is serde's own bound for a length that it has not
/// seen the values of.
pub const TARGETS: [Target; 13] = [
    target("event", event, 64, 2 * MIB, 1),
    target("record", record, 64, 2 * MIB, 1),
    target("segment", segment, 512, 4 * MIB, 8),
    target("history", history, 512, 8 * MIB, 8),
    target("run", run, 512, 8 * MIB, 16),
    target("block", strangers::block, SQUEEZED, MIB, 1),
    target("part", strangers::part, 64, MIB, 1),
    target("squeezed", strangers::squeezed, 256, MIB, 1),
    target("row", strangers::row, 64, 2 * MIB, 1),
    target("anchor", strangers::anchor, 64, MIB, 1),
    target("frame", frame, 256, 2 * MIB, 1),
    target("arguments", arguments, 512, 8 * MIB, 128),
    target("store", store, 1024, 64 * MIB, 512),
];

/// One event in a sound record: the first byte says of which kind, the rest is the event.
pub fn event(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else { return };
    // Version, run, then 0 for the run stream or activity and attempt, first number, time, one event.
    let head: &[u8] = if kind % 2 == 0 { &[1, 1, 0, 1, 5, 1] } else { &[1, 1, 1, 1, 1, 5, 1] };
    let alone = |body: &[u8]| {
        let mut framed = head.to_vec();
        varint(&mut framed, body.len());
        framed.extend_from_slice(body);
        framed
    };
    let framed = alone(body);
    record(&framed);
    if Record::read(&framed).is_ok() {
        assert!(Record::read(&alone(&[body, &[0xc0]].concat())).is_err(), "an event fills its bytes");
    }
}

/// A record: decoded, glanced at, printed, and written again.
pub fn record(bytes: &[u8]) {
    let seen = Glance::default().read(bytes);
    let Ok(record) = Record::read(bytes) else { return };
    assert_eq!(seen, Ok(()), "what decodes can be glanced at");
    assert_eq!(Record::stream_of(bytes), Ok(record.stream()));
    assert_eq!(Record::run_of(bytes), Ok(record.run));
    // MessagePack has several forms of one value. Ours is one of them, and comes back as it is.
    let ours = record.to_bytes();
    let again = Record::read(&ours).expect("what was read is written so that it can be read");
    assert_eq!(again, record);
    assert_eq!(again.to_bytes(), ours);
    let texts: usize = match &record.events {
        Events::Run(events) => events.iter().map(|event| event.to_string().len()).sum(),
        Events::Conversation { events, .. } => events.iter().map(|event| event.to_string().len()).sum(),
        Events::Entity(events) => events.iter().map(|event| event.to_string().len()).sum(),
    };
    assert!(texts > 0, "every event has a text");
}

/// A segment's body: read in both ways, then appended, folded and asked.
pub fn segment(bytes: &[u8]) {
    let body = SegmentBody::read(bytes);
    assert_eq!(body.as_ref().ok(), parts(bytes).as_ref().ok(), "both ways read the same");
    if let Ok(body) = &body {
        assert_eq!(&body.to_bytes()[..], bytes, "a body has one form");
    }
    let memory = MemoryStore::default();
    let mut opened = memory.open().expect("an empty store opens");
    let segment = Segment::seal(Digest::START, 1, Timestamp(5), bytes.into());
    opened.log.append(&segment).expect("a log does not look into its segments");
    if let Ok(mut snapshot) = memory.snapshot() {
        ask(snapshot.as_mut());
        opened.archive.fold(std::slice::from_ref(&segment)).expect("what a snapshot shows can be folded");
        ask(opened.reader.as_mut());
    }
}

fn parts(bytes: &[u8]) -> Result<SegmentBody, DecodeError> {
    let mut parts = SegmentParts::new(bytes)?;
    let mut body = SegmentBody::default();
    while let Some(record) = parts.next_record()? {
        body.records.push(record.into());
    }
    while let Some((digest, bytes)) = parts.next_payload()? {
        body.payloads.push((digest, bytes.into()));
    }
    Ok(body)
}

/// A history file: read, replayed, shown and printed.
pub fn history(bytes: &[u8]) {
    if let Ok(file) = HistoryFile::read(bytes) {
        assert_eq!(file.to_bytes(), bytes, "a history has one form");
        look_at(&file);
    }
}

/// The records of a run, each behind its length, sealed as a history: a stranger can make the digests fit.
pub fn run(mut bytes: &[u8]) {
    let mut file = HistoryFile::default();
    while let Some(record) = framed(&mut bytes) {
        file.records.push(record.into());
    }
    match HistoryFile::read(&file.to_bytes()) {
        Ok(read) => {
            assert_eq!(read, file);
            look_at(&file);
        }
        Err(_) => drop(replay(&programs::today(), &file)),
    }
}

fn look_at(file: &HistoryFile) {
    let _ = replay(&programs::today(), file);
    let shown = cli::show::render(file, &cli::Style::plain(Timestamp(0)));
    let path = scratch().join("shown.history");
    std::fs::write(&path, file.to_bytes()).expect("the scratch folder can be written");
    for args in [&["inspect", "--json"][..], &["inspect", "--events"], &["inspect", "--events", "--json"]] {
        let args = args.iter().map(Path::new).chain([path.as_path()]);
        let printed = execute(args.map(|arg| arg.as_os_str().to_owned()));
        assert_eq!(printed.is_ok(), shown.is_ok(), "{printed:?}");
    }
}

/// Arguments of the command line, one to a line: parsed alone, and as what a list, a run and a command are asked for.
pub fn arguments(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let given: Vec<_> = text.lines().map(std::ffi::OsString::from).collect();
    // Parsed only: a command may write where it is told to.
    let _ = Cli::try_parse_from(std::iter::once("antiphon".into()).chain(given.clone()));
    let store = store::sound();
    let asked = |command: &str, args: &[std::ffi::OsString]| {
        let words = [command.into(), store.as_os_str().to_owned()];
        let _ = execute(words.into_iter().chain(args.iter().cloned()));
    };
    asked("list", &given);
    given.iter().take(3).for_each(|run| asked("show", std::slice::from_ref(run)));
}

/// Carries out a command of the plain binary, if its arguments can be meant. Returns what it printed.
fn execute(args: impl Iterator<Item = std::ffi::OsString>) -> Result<Vec<u8>, String> {
    let cli =
        Cli::try_parse_from(std::iter::once("antiphon".into()).chain(args)).map_err(|refused| refused.to_string())?;
    let mut printed = Vec::new();
    cli.run_to(&mut printed).map(|_| printed).map_err(|error| error.to_string())
}

/// Asks a reader for all there is. Errors are answers.
fn ask(reader: &mut dyn Reader) {
    let all = Filter { limit: usize::MAX, ..Filter::default() };
    for row in reader.list(&all).unwrap_or_default() {
        let _ = reader.history(row.key).map(|history| history.map(|history| history.row()));
        let _ = (reader.find(&row.workflow), reader.row(row.key), reader.row_by_id(row.run_id));
    }
    let _ = (reader.count_by_status(), reader.count_open_by_type(), reader.needs_loading());
    let _ = (reader.due_before(Timestamp(i64::MAX), 100), reader.due_after(Timestamp(i64::MIN), 100));
    let _ = (reader.last_run_key(), reader.row(RunKey(u64::MAX)), reader.history(RunKey(0)));
    let _ = (reader.payload(Digest::START), reader.row_by_id(RunId([0; 16])));
    let nobody = WorkflowKey { namespace: String::new(), id: "nobody".to_owned() };
    let _ = (reader.find(&nobody), reader.next_due(Timestamp(0)), reader.open_workflow_types());
}

/// A folder for the files that are given to commands, for as long as this process lives.
fn scratch() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    // In memory, where there is such a place: thousands of stores are made, and nothing of them is to last.
    let folder = || tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    FOLDER.get_or_init(|| folder().expect("a temporary folder can be made")).path()
}

/// The next frame: a length and as many bytes. A length that is too great takes what is left.
fn framed<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut len = 0usize;
    for index in 0.. {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        len |= usize::from(byte & 0x7f) << (7 * index.min(4));
        if byte < 0x80 || index == 4 {
            break;
        }
    }
    let (frame, rest) = bytes.split_at(len.min(bytes.len()));
    *bytes = rest;
    Some(frame)
}

fn varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
