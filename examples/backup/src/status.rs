//! `backup status`: reads only, so that it works while a backup runs.

use antiphon::{Filter, RunStatus, Timestamp};
use backup_job::{Manifest, Target};
use indicatif::HumanBytes;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

pub(crate) fn status(target: &Path, state: Option<&Path>) -> Result<ExitCode, Box<dyn Error>> {
    let target = Target::open(target)?;
    let objects = target.count_objects()?;
    println!("{} contents, {} on disk", objects.count, HumanBytes(objects.bytes));
    for number in target.snapshots()? {
        let header = Manifest::read(&target, number)?.header;
        let totals = header.totals;
        print!(
            "snapshot {number}  {}  {} files ({}) of {}",
            moment(Timestamp(header.started_at_ms)),
            totals.files,
            HumanBytes(totals.bytes),
            header.source
        );
        println!("{}", if totals.reported > 0 { format!(", {} reported", totals.reported) } else { String::new() });
    }
    let state = state.map_or_else(|| target.state(), Path::to_owned);
    if !state.exists() {
        return Ok(ExitCode::SUCCESS);
    }
    let mut reader = antiphon_recorder::sqlite::snapshot(&state)?;
    for row in reader.list(&Filter::default())? {
        match row.status {
            RunStatus::Running => println!("unfinished  {}  {} activities so far", row.workflow, row.activities),
            RunStatus::Blocked => println!("blocked     {}  {}", row.workflow, row.blocked),
            RunStatus::Completed | RunStatus::Failed | RunStatus::Cancelled | RunStatus::Terminated => {}
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Date and time in UTC, from the days of the civil calendar counted in eras of 400 years from March.
fn moment(at: Timestamp) -> String {
    let seconds = at.0.div_euclid(1_000);
    let (days, second) = (seconds.div_euclid(86_400) + 719_468, seconds.rem_euclid(86_400));
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", second / 3_600, second % 3_600 / 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        for (ms, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_827_696_000, "2000-02-29 12:34 UTC"),
            (1_767_225_599_999, "2025-12-31 23:59 UTC"),
            (-1, "1969-12-31 23:59 UTC"),
        ] {
            assert_eq!(moment(Timestamp(ms)), text);
        }
    }
}
