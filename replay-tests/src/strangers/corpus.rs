use super::store;
use antiphon_history::{Events, HistoryFile, Record, SegmentBody};
use antiphon_recorder::conformance::Sample;
use antiphon_recorder::{Tip, strangers};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Few and small: each is changed thousands of times.
const LARGEST: usize = 24 * 1024;

fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

/// The kept bytes of a target by file name, those that once broke something among them.
pub fn corpus(target: &str) -> BTreeMap<String, Vec<u8>> {
    files(&fixtures().join("corpus").join(target))
}

fn files(folder: &std::path::Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let read = |path: PathBuf| Some((path.file_name()?.to_str()?.to_owned(), std::fs::read(path).ok()?));
    entries.filter_map(|entry| read(entry.path())).collect()
}

/// Sound bytes for every target, made from the recorded histories and from samples: what `record-corpus` keeps.
pub fn made() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut made = Vec::new();
    let mut histories = files(&fixtures().join("histories/v1"));
    histories.retain(|name, bytes| name.ends_with(".history") && bytes.len() < LARGEST);
    let mut events: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for (name, bytes) in &histories {
        let name = name.trim_end_matches(".history");
        let file = HistoryFile::read(bytes).expect("a recorded history is sound");
        made.push(("history", name.to_owned(), bytes.clone()));
        let (mut run, mut body) = (Vec::new(), SegmentBody::default());
        for record in &file.records {
            super::varint(&mut run, record.len());
            run.extend_from_slice(record);
            body.records.push(record.clone());
            split(record, &mut events);
        }
        body.payloads = file.payloads.iter().map(|(digest, bytes)| (*digest, bytes.clone())).collect();
        made.push(("record", name.to_owned(), file.records[file.records.len() / 2].to_vec()));
        made.push(("run", name.to_owned(), run));
        made.push(("segment", name.to_owned(), body.to_bytes().to_vec()));
    }
    made.extend(events.into_iter().map(|(name, bytes)| ("event", name, bytes)));
    let samples = strangers::samples().expect("a sample can be packed");
    for (number, (target, bytes)) in samples.into_iter().enumerate() {
        made.push((target, format!("sample-{number}"), bytes));
    }
    for (number, text) in ARGUMENTS.iter().enumerate() {
        made.push(("arguments", format!("sample-{number}"), text.as_bytes().to_vec()));
    }
    made.extend(super::wire::made().into_iter().map(|(name, bytes)| ("frame", name.to_owned(), bytes)));
    made.extend(stores());
    made
}

/// Each event of a record alone, as `event` takes it: the longest of each name.
fn split(bytes: &[u8], events: &mut BTreeMap<String, Vec<u8>>) {
    let record = Record::read(bytes).expect("a recorded history is sound");
    let mut keep = |kind: &str, first: u8, name: &str, event: Events| {
        let alone = Record { events: event, first_seq: 1, ..record.clone() }.to_bytes();
        // Behind the head, which ends with the number of events, stand the event's length and the event.
        let mut rest = &alone[head_bytes(&record, kind == "conversation")..];
        let Some(body) = super::framed(&mut rest) else { return };
        let kept = events.entry(format!("{kind}-{name}")).or_default();
        if body.len() >= kept.len() {
            *kept = [&[first], body].concat();
        }
    };
    match record.events.clone() {
        Events::Run(all) => {
            all.into_iter().for_each(|event| keep("run", 0, event.name(), Events::Run(vec![event.clone()])))
        }
        // Recorded histories are of runs.
        Events::Entity(_) => {}
        Events::Conversation { ordinal, attempt, events: all } => {
            for event in all {
                let alone = Events::Conversation { ordinal, attempt, events: vec![event.clone()] };
                keep("conversation", 1, event.name(), alone);
            }
        }
    }
}

/// How many bytes stand before the events of a record with small numbers.
fn head_bytes(record: &Record, conversation: bool) -> usize {
    let mut numbers = Vec::new();
    let at = usize::try_from(record.at.0).unwrap_or_default();
    let run = usize::try_from(record.run.0).unwrap_or_default();
    [run, 1, at, 1].into_iter().for_each(|number| super::varint(&mut numbers, number));
    // The version, and one byte for the run stream or two for activity and attempt.
    numbers.len() + if conversation { 3 } else { 2 }
}

const ARGUMENTS: [&str; 10] = [
    "--status\nblocked\n--limit\n3",
    "--type\norder\n--since\n2h\n--json",
    "--since\n2026-11-01\n--until\n2026-11-02T10:00:00Z\n--local",
    "--id\nw-1\n--namespace\nother",
    "--color\nalways\n--utc",
    "w-1\nother/w-2\n--brief",
    "01936f3e-7d2c-7abc-8def-0123456789ab\nabcdef\n012345",
    "--since\n99999999999999d\n--until\n-9999-01-01",
    "show\ndata\norder-7\n--json",
    "verify\n--help",
];

/// One prepared store for each place.
fn stores() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut sample = Sample::new(78);
    let segment = sample.segment(Tip::START);
    let samples = strangers::samples().expect("a sample can be packed");
    let of =
        |target| samples.iter().find(|(name, _)| *name == target).map(|(_, bytes)| bytes.clone()).unwrap_or_default();
    let head = std::fs::read(store::sound().join("head")).expect("a sound store has an anchor");
    let page = std::fs::read(store::sound().join("archive.db")).expect("a sound store has an archive");
    let number = |number: i64| number.to_le_bytes().to_vec();
    let places: [(u8, [u8; 2], Vec<u8>); 17] = [
        (0, [0, 0], segment.body.to_vec()),
        (1, [0, 0], of("row")),
        (2, [0, 0], of("block")),
        (3, [0, 0], vec![7; 64]),
        (3, [1, 0], [number(i64::MAX / 250), vec![7; 4000]].concat()),
        (3, [1, 0], [number(73_786_976_294_838_206), vec![7; 4000]].concat()),
        (4, [1, 0], [number(i64::MAX), b"order".to_vec()].concat()),
        (5, [0, 0], number(i64::MAX)),
        (5, [1, 0], number(i64::MAX)),
        (6, [0, 0], number(99)),
        (7, [1, 0], of("part")),
        (8, [0, 0], head),
        (9, [1, 1], page[4096..8192].to_vec()),
        (9, [0, 0], page[..4096].to_vec()),
        // A block whose only entry begins with record 0, and records that begin with part 0: neither was ever given out.
        (2, [1, 0], vec![1, 1, 0, 0, 1, 0, 2, 1, 0xff]),
        (7, [1, 0], vec![1, 1, 0xff, 0]),
        (
            1,
            [0, 0],
            samples.iter().rfind(|(name, _)| *name == "row").map(|(_, bytes)| bytes.clone()).unwrap_or_default(),
        ),
    ];
    let named =
        |(place, [first, second], content): (u8, [u8; 2], Vec<u8>)| [&[place, first, second][..], &content].concat();
    let all = places.into_iter().map(named).enumerate();
    all.map(|(number, bytes)| ("store", format!("place-{number}"), bytes)).collect()
}
