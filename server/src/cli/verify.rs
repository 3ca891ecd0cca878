use super::find::StoreArg;
use super::json::{Json, hex};
use super::output::{Out, Paint, clean};
use super::{Error, Exit};
use antiphon_recorder::ErrorKind;
use antiphon_recorder::sqlite::{self, Problem, VerifyReport};

const EXAMPLES: &str = "\
Recomputes every digest: the chain of the log, the records of every run against its row and its tip, every payload, the
ledger of the archive, and the anchor that stands outside both. Goes on after a problem, and lists them all.

Examples:
  antiphon verify data
  antiphon verify /backup/data && echo whole";

/// `antiphon verify`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Verify {
    #[command(flatten)]
    store: StoreArg,
}

impl Verify {
    pub(super) fn run(&self, out: &mut Out<'_>) -> Result<Exit, Error> {
        let report = sqlite::verify(&self.store.store).map_err(|error| match error.kind() {
            ErrorKind::Corrupt => Error::Damaged(error),
            _ => Error::Store(error),
        })?;
        if out.json {
            out.json(&object(&report))?;
        } else {
            print(&report, out)?;
        }
        Ok(if report.is_whole() { Exit::Done } else { Exit::Problem })
    }
}

fn print(report: &VerifyReport, out: &mut Out<'_>) -> Result<(), Error> {
    let VerifyReport { store, tip, watermark, segments, runs, records, payloads, batches, problems } = report;
    out.line(format!("store      {}", hex(store)))?;
    out.line(format!("log        {segments} segments, up to {}, digest {}", tip.id, tip.digest))?;
    out.line(format!(
        "archive    {batches} batches, up to segment {}, ledger {}",
        watermark.segment, watermark.ledger
    ))?;
    out.line(format!("           {runs} runs, {records} records, {payloads} large payloads"))?;
    for problem in problems {
        out.line(format!("{}    {}", out.style.paint(Paint::Bad, "problem"), clean(&problem.to_string())))?;
    }
    match problems.len() {
        0 => out.line(out.style.paint(Paint::Good, "whole")),
        count => out.line(out.style.paint(Paint::Bad, &format!("not whole: {count} problems"))),
    }
}

fn object(report: &VerifyReport) -> Json {
    let VerifyReport { store, tip, watermark, segments, runs, records, payloads, batches, problems } = report;
    Json::Object(vec![
        ("whole", report.is_whole().into()),
        ("store", hex(store).into()),
        ("tip", Json::Object(vec![("segment", tip.id.into()), ("digest", tip.digest.to_string().into())])),
        (
            "watermark",
            Json::Object(vec![
                ("segment", watermark.segment.into()),
                ("digest", watermark.digest.to_string().into()),
                ("ledger", watermark.ledger.to_string().into()),
                ("at", watermark.at.into()),
            ]),
        ),
        ("segments", (*segments).into()),
        ("runs", (*runs).into()),
        ("records", (*records).into()),
        ("payloads", (*payloads).into()),
        ("batches", (*batches).into()),
        ("problems", Json::List(problems.iter().map(problem).collect())),
    ])
}

/// A problem in words, with the run key or segment that it names, for programs that go on from there.
fn problem(problem: &Problem) -> Json {
    let (run, segment) = match problem {
        Problem::Row { run, .. } | Problem::Records { run, .. } | Problem::PayloadMissing { run, .. } => {
            (Some(run.0), None)
        }
        Problem::SegmentsMissing { first, .. } => (None, Some(*first)),
        Problem::SegmentChain { segment } | Problem::Segment { segment, .. } => (None, Some(*segment)),
        _ => (None, None),
    };
    Json::Object(vec![("problem", problem.to_string().into()), ("run_key", run.into()), ("segment", segment.into())])
}
