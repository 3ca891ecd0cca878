use super::{Problem, VerifyReport};
use crate::fold::Batch;
use crate::sqlite::db::Db;
use crate::sqlite::{log, reader, schema};
use crate::{Error, Tip};
use antiphon_history::{Segment, SegmentBody};

/// Segments read at once.
const PORTION_BYTES: usize = 8 * 1024 * 1024;

/// Checks every segment that is left, and that those above the watermark fold onto the archive.
pub(super) fn check(log: &Db, archive: &Db, report: &mut VerifyReport) -> Result<(), Error> {
    let archived = report.watermark.tip();
    let mut folding = Some(Batch::empty(report.watermark));
    // Nothing is known of what came before the oldest segment, unless that is where the archive ends.
    let mut previous: Option<Tip> = None;
    let mut after = 0;
    loop {
        let portion = log::segments_after(log, after, usize::MAX, PORTION_BYTES)?;
        let Some(last) = portion.last() else { break };
        after = last.id;
        for segment in &portion {
            // Up to the watermark the archive has taken over, so a log that ends before it has lost nothing.
            if segment.id > archived.id && previous.is_none_or(|previous| previous.id < archived.id) {
                previous = Some(archived);
            }
            // A gap below it is one of segments that were never acknowledged: a killed engine wrote them, the next one found
            // them and archived them, and a power cut took them from the log. What follows is joined to the archive.
            if segment.id <= archived.id && previous.is_some_and(|previous| previous.id + 1 < segment.id) {
                previous = None;
            }
            let linked = check_link(previous.or((segment.id == 1).then_some(Tip::START)), segment, report);
            previous = Some(Tip::of(segment));
            report.segments += 1;
            if segment.id == archived.id && segment.digest != archived.digest {
                let problem = "the archive took over another segment of this number".to_owned();
                report.problems.push(Problem::Segment { segment: segment.id, problem });
            }
            if segment.id <= archived.id {
                check_body(segment, report);
            } else {
                folding = match folding.filter(|_| linked) {
                    Some(batch) => fold(batch, segment, archive, report)?,
                    None => {
                        check_body(segment, report);
                        None
                    }
                };
            }
        }
    }
    if let Some(previous) = previous.filter(|previous| previous.id > archived.id) {
        report.tip = previous;
    }
    Ok(())
}

fn check_link(previous: Option<Tip>, segment: &Segment, report: &mut VerifyReport) -> bool {
    let Some(previous) = previous else { return true };
    if segment.id != previous.id + 1 {
        let (first, last) = (previous.id + 1, segment.id - 1);
        report.problems.push(Problem::SegmentsMissing { first, last });
        return false;
    }
    let follows = segment.follows(previous.digest);
    if !follows {
        report.problems.push(Problem::SegmentChain { segment: segment.id });
    }
    follows
}

fn check_body(segment: &Segment, report: &mut VerifyReport) {
    if let Err(error) = SegmentBody::read(&segment.body) {
        let problem = format!("its body cannot be read: {error}");
        report.problems.push(Problem::Segment { segment: segment.id, problem });
    }
}

/// Folds one segment more. After the first that does not fold the later ones would only repeat its complaint.
fn fold(mut batch: Batch, segment: &Segment, archive: &Db, report: &mut VerifyReport) -> Result<Option<Batch>, Error> {
    let format = schema::format(archive)?;
    let folded = batch
        .extend(std::slice::from_ref(segment), &mut |run| Ok(reader::row(archive, format, run)?.map(|(row, _)| row)));
    match folded {
        Ok(()) => {
            // Only rows are needed further on; records of a long tail would fill the memory.
            batch.runs.forget_records();
            batch.payloads.clear();
            Ok(Some(batch))
        }
        Err(Error::LogDamaged { problem, .. } | Error::ArchiveDamaged { problem, .. }) => {
            report.problems.push(Problem::Segment { segment: segment.id, problem });
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
