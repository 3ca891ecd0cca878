//! How fast a long history replays.

use crate::Failure;
use crate::flows::{engine, sequence};
use crate::load::stop;
use crate::measure::Row;
use antiphon_history::{Bytes, Record};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Records a run of `n` activities in a row, and replays its file five times. Two figures: all events of the history, of
/// which replay reads those of conversations only as far as it must, and the events that the code is led through.
pub(crate) async fn run(folder: &Path, n: u64) -> Result<Vec<Row>, Failure> {
    const TIMES: usize = 5;
    let app = Arc::new(engine(folder).start()?);
    app.run("long", sequence(n)).await?;
    let history = app.history("long")?.ok_or("the run that has just ended is not in the store")?;
    let of_record = |record: &Bytes| Record::read(record).map(|record| record.len());
    let all = history.records.iter().map(of_record).sum::<Result<usize, _>>()?;
    let file = folder.join("long.history");
    std::fs::write(&file, history.to_bytes())?;
    stop(app);
    let mut seconds = Vec::with_capacity(TIMES);
    let mut events = 0;
    for _ in 0..TIMES {
        let begun = Instant::now();
        events = engine(folder).replay(&file)?.events;
        seconds.push(begun.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let middle = seconds[TIMES / 2];
    let row = |workload: &str, events: usize| Row {
        workload: format!("{workload} of {n} activities"),
        seconds: Some(middle),
        events_per_s: Some(events as f64 / middle),
        ..Row::default()
    };
    Ok(vec![row("replay", all), row("replay, run stream", events)])
}
