//! Bytes that nobody of ours wrote: kept ones and thousands of mutations of them. Whatever reads them refuses them or keeps
//! its promises, and takes no memory that they do not justify.
//!
//! `ANTIPHON_MUTATIONS=1000000 cargo test --release -p antiphon-replay-tests --test strangers` for more than the gate's;
//! `ANTIPHON_SEED` chooses others, `ANTIPHON_TARGET` one thing that reads.
#![allow(clippy::unwrap_used, reason = "tests")]

use antiphon_history::{Events, Record, RunEvent};
use antiphon_replay_tests::strangers::{Mutator, TARGETS, Target, corpus, made};
use peak_alloc::PeakAlloc;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The allocator counts for the whole process, so one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    // Commands say on stderr what they think of their arguments, thousands of times.
    let nobody = std::fs::File::options().write(true).open("/dev/null").unwrap();
    rustix::stdio::dup2_stderr(nobody).unwrap();
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(not(feature = "planted"))]
fn number(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap())
}

/// Reads bytes once. Says what is broken, if something is.
fn read(target: &Target, bytes: &[u8]) -> Result<(), String> {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let panicked = catch_unwind(AssertUnwindSafe(|| (target.read)(bytes)));
    let taken = MEMORY.peak_usage().saturating_sub(before);
    if let Err(panic) = panicked {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        return Err(format!("it panicked: {}", said.unwrap_or_default()));
    }
    let allowed = target.per_byte * bytes.len() + target.always;
    if taken <= allowed { Ok(()) } else { Err(format!("{} bytes took {taken} of memory, over {allowed}", bytes.len())) }
}

/// The bytes as text that can be kept in a file by `xxd -r -p`.
fn hex(bytes: &[u8]) -> String {
    let shown: String = bytes.iter().take(4096).map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > 4096 { format!("{shown}… ({} bytes)", bytes.len()) } else { shown }
}

/// Mutates until something is broken, or `mutations` are read.
fn mutate(target: &Target, mutations: usize, seed: usize) -> Result<(), String> {
    let kept: Vec<Vec<u8>> = corpus(target.name).into_values().collect();
    for number in 0..mutations {
        let bytes = Mutator::new((seed as u64) << 32 | number as u64).mutated(&kept);
        read(target, &bytes).map_err(|wrong| {
            let name = target.name;
            format!("mutation {number} of seed {seed}: {wrong}\nto keep it: fixtures/corpus/{name}/, {}", hex(&bytes))
        })?;
    }
    Ok(())
}

// A planted fault holds for a whole process.
#[cfg(not(feature = "planted"))]
#[test]
fn whatever_the_bytes_are_they_are_refused_or_read_within_bounds() {
    let _alone = alone();
    let (mutations, seed) = (number("ANTIPHON_MUTATIONS", 40_000), number("ANTIPHON_SEED", 1));
    let only = std::env::var("ANTIPHON_TARGET").ok();
    let mut all = 0;
    for target in TARGETS.iter().filter(|target| only.as_ref().is_none_or(|only| only == target.name)) {
        let count = (mutations / target.cost).max(1);
        mutate(target, count, seed).unwrap_or_else(|wrong| panic!("{}: {wrong}", target.name));
        println!("{:<10} {count} mutations of seed {seed}", target.name);
        all += count;
    }
    println!("{all} mutations");
}

#[test]
fn kept_bytes_are_read_as_ever() {
    let _alone = alone();
    for target in &TARGETS {
        let kept = corpus(target.name);
        assert!(!kept.is_empty(), "{} has a corpus", target.name);
        for (name, bytes) in kept {
            // Once without being judged: what is made once in a process is nobody's.
            let _ = read(target, &bytes);
            read(target, &bytes).unwrap_or_else(|wrong| panic!("{}/{name}: {wrong}", target.name));
        }
    }
}

#[test]
fn the_corpus_is_what_would_be_made_today() {
    let _alone = alone();
    let lacking = made().into_iter().find(|(target, name, _)| !corpus(target).contains_key(name));
    let lacking = lacking.map(|(target, name, _)| format!("{target}/{name}"));
    assert_eq!(lacking, None, "run: cargo run -p antiphon-replay-tests --bin record-fixtures");
}

#[test]
fn every_target_has_its_line_for_the_fuzzer() {
    let fuzz = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for target in &TARGETS {
        assert!(manifest.contains(&format!("name = \"{}\"", target.name)), "{}", target.name);
        assert!(fuzz.join(format!("fuzz_targets/{}.rs", target.name)).exists(), "{}", target.name);
    }
}

/// An event of the run stream with a field that no version knows yet, which holds `depth` arrays in each other.
fn nested(depth: usize) -> Vec<u8> {
    let marked = Record {
        run: antiphon_history::RunKey(1),
        first_seq: 1,
        at: antiphon_history::Timestamp(5),
        events: Events::Run(vec![RunEvent::PatchMarked { name: "new".into() }]),
    };
    // Behind version, run, stream, number, time, count and length: a map of one, its name, a map of one.
    let bytes = marked.to_bytes();
    let mut event = bytes[7..].to_vec();
    let fields = event.iter().skip(1).position(|byte| *byte == 0x81).unwrap() + 1;
    event[fields] = 0x82;
    event.extend([0xa2, b'z', b'z']);
    event.extend(vec![0x91; depth]);
    event.push(0xc0);
    [&[0], &event[..]].concat()
}

/// Whether the event in it is read. The first byte says what kind it is, as for the target `event`.
fn is_read(nested: &[u8]) -> bool {
    let mut record = vec![1, 1, 0, 1, 5, 1];
    let mut len = nested.len() - 1;
    while len >= 0x80 {
        record.push(len as u8 | 0x80);
        len >>= 7;
    }
    record.push(len as u8);
    record.extend_from_slice(&nested[1..]);
    Record::read(&record).is_ok()
}

/// What is deep is refused where the bound is, not where the stack ends.
fn bombs() -> Result<(), String> {
    for (depth, read) in [(1, true), (50, true), (70, false), (500, false), (100_000, false)] {
        if is_read(&nested(depth)) != read {
            return Err(format!("depth {depth}: read {}", !read));
        }
    }
    Ok(())
}

#[cfg(not(feature = "planted"))]
fn on_a_small_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    // Unoptimised, the decoder takes some four kilobytes for a level.
    std::thread::Builder::new().stack_size(768 * 1024).spawn(work).unwrap().join().unwrap()
}

#[cfg(not(feature = "planted"))]
#[test]
fn what_is_deep_is_refused_before_it_costs_the_stack() {
    let _alone = alone();
    on_a_small_stack(|| {
        bombs().unwrap();
        for target in TARGETS
            .iter()
            .filter(|target| ["event", "record", "segment", "row", "block", "frame"].contains(&target.name))
        {
            for nest in [&[0x91][..], &[0x81], &[0x81, 0xa1, b'x'], &[0xdc, 0, 1]] {
                for depth in [64, 1_000, 200_000] {
                    (target.read)(&nest.repeat(depth));
                    for kept in corpus(target.name).into_values() {
                        (target.read)(&[&kept[..kept.len() / 2], &nest.repeat(depth)].concat());
                    }
                }
            }
        }
    });
}

/// Each fault is planted and must be noticed by the same means.
#[cfg(feature = "planted")]
#[test]
fn planted_faults_are_noticed() {
    use antiphon_history::planted::plant;
    let _alone = alone();
    let target = |name| TARGETS.iter().find(|target| target.name == name).unwrap();
    plant(Some("depth-not-bounded"));
    // A stack that takes what the bound would not: the fault is to be told, not to end the process.
    let noticed = std::thread::Builder::new().stack_size(64 << 20).spawn(bombs).unwrap().join().unwrap();
    plant(None);
    println!("depth-not-bounded: {}", noticed.expect_err("the fault is noticed"));
    for (fault, name) in [("length-not-bounded", "squeezed"), ("trailing-bytes-accepted", "event")] {
        plant(Some(fault));
        let noticed = mutate(target(name), 200_000, 1);
        plant(None);
        let noticed = noticed.expect_err("the fault is noticed");
        println!("{fault}: {}", noticed.lines().next().unwrap_or_default());
    }
}
