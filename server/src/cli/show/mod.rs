//! One run as a timeline: what happened, who did it, why, and why it is stuck.

mod object;
mod words;

use super::find::RunArg;
use super::output::{Out, Paint, Style, clean, clean_lines};
use super::time::duration;
use super::timeline::Timeline;
use super::{Error, Exit};
use antiphon_history::{ActivityCall, HistoryFile, HistoryFileError, Ordinal, RunEvent, Timestamp};
use std::collections::BTreeSet;

const EXAMPLES: &str = "\
Each line of the run has the time since its start, the time of day, and the event's number. Under an activity stand its
attempts, and what was said between the engine and the workers. A blocked run shows the whole report of why.

Examples:
  antiphon show data order-7
  antiphon show data order-7 --brief
  antiphon show data order-7 --json | jq '.activities[] | select(.state != \"completed\")'";

/// Columns before the text of an event, the time of day apart: its age, spaces, its number.
const MARGIN: usize = 10 + 2 + 1 + 5 + 2;

/// `antiphon show`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Show {
    #[command(flatten)]
    run: RunArg,
    /// Leave out what was said in the activities' conversations
    #[arg(long)]
    brief: bool,
}

impl Show {
    pub(super) fn run(&self, out: &mut Out<'_>) -> Result<Exit, Error> {
        let (row, file) = self.run.load()?;
        let timeline = Timeline::read(&file).map_err(|source| Error::Run {
            store: self.run.store.display().to_string(),
            run: row.run_id.to_string(),
            source,
        })?;
        print(&timeline, self.brief, out)?;
        Ok(Exit::Done)
    }
}

/// The text that `antiphon show` prints of a history: the same history and style give the same text.
///
/// Errors: [`HistoryFileError`] if the records do not make one run.
pub fn render(file: &HistoryFile, style: &Style) -> Result<String, HistoryFileError> {
    Ok(text(&Timeline::read(file)?, false, style))
}

pub(super) fn print(timeline: &Timeline, brief: bool, out: &mut Out<'_>) -> Result<(), Error> {
    if out.json {
        return out.json(&object::object(timeline, out.style.now));
    }
    let text = text(timeline, brief, &out.style);
    out.line(text.trim_end())
}

fn text(timeline: &Timeline, brief: bool, style: &Style) -> String {
    let times = timeline.entries.iter().map(|entry| style.zone.time_of_day(entry.at, timeline.row.started_at).len());
    let clock_width = times.max().unwrap_or(0);
    let mut page = Page { timeline, style, brief, clock_width, out: String::new() };
    page.head();
    page.blocked();
    page.events();
    page.out
}

struct Page<'a> {
    timeline: &'a Timeline,
    style: &'a Style,
    brief: bool,
    /// Columns of the time of day: more if the run has seen another day.
    clock_width: usize,
    out: String,
}

impl Page<'_> {
    fn line(&mut self, text: &str) {
        self.out.push_str(text.trim_end());
        self.out.push('\n');
    }

    fn head(&mut self) {
        let (row, style) = (&self.timeline.row, self.style);
        let version = match self.timeline.run_stream().next() {
            Some((_, RunEvent::RunStarted(started))) => started.version,
            _ => 0,
        };
        let title = format!(
            "{}  {} v{version}  {}",
            style.paint(Paint::Strong, &clean(&row.workflow.to_string())),
            clean(&row.workflow_type),
            style.paint(Paint::of(row.status), row.status.name()),
        );
        let lasted = duration(Timeline::lasted_ms(row, style.now));
        let went_on = if row.status.is_closed() {
            format!("ended    {} after {lasted}", style.zone.date_time(row.updated_at))
        } else {
            format!("open     for {lasted}, last event {}", style.zone.date_time(row.updated_at))
        };
        let mut counts = format!("events   {} of the run, {} records", row.run_events, row.records);
        if row.activities > 0 {
            counts.push_str(&format!(", activities {}", row.activities));
        }
        if row.open_conversations > 0 {
            counts.push_str(&format!(", open conversations {}", row.open_conversations));
        }
        let timers: Vec<_> = row
            .timers
            .iter()
            .map(|timer| format!("  timer    {} due {}", timer.ordinal, style.zone.date_time(timer.due)))
            .collect();
        let lines = [
            title,
            format!("  run      {}", row.run_id),
            format!("  started  {}", style.zone.date_time(row.started_at)),
            format!("  {went_on}"),
            format!("  {counts}"),
            format!("  tip      {}", row.tip),
        ];
        lines.iter().chain(&timers).for_each(|line| self.line(line));
        self.line("");
    }

    /// The report of a run that is blocked now, in full.
    fn blocked(&mut self) {
        let Some((at, blocked)) = self.timeline.blocked() else { return };
        let since = format!("blocked since {}", self.style.zone.date_time(at));
        let since = self.style.paint(Paint::Bad, &since);
        self.line(&since);
        self.out.push_str(&clean_lines(&blocked.reason.to_string(), "  "));
        if blocked.held > 0 {
            let held = format!("  arrivals held: {}, applied when the run goes on", blocked.held);
            self.line(&held);
        }
        self.line("");
    }

    fn events(&mut self) {
        let mut unclaimed: BTreeSet<Ordinal> = self.timeline.attempts.keys().map(|(ordinal, _)| *ordinal).collect();
        let timeline = self.timeline;
        for (entry, event) in timeline.run_stream() {
            let mut text = clean(&event.to_string());
            if let RunEvent::TimerStarted { due, .. } = event {
                text.push_str(&format!(" ({})", self.style.zone.date_time(*due)));
            }
            let (name, rest) = text.split_once(' ').unwrap_or((&text, ""));
            let name = self.style.paint(paint_of(event), name);
            let line = format!("{} {:>5}  {name} {rest}", self.when(entry.at), entry.seq);
            self.line(&line);
            if let RunEvent::ActivityScheduled { ordinal, call } = event {
                unclaimed.remove(ordinal);
                self.activity(*ordinal, call, entry.at);
            }
        }
        for ordinal in unclaimed {
            let line = format!("conversations of {ordinal}, which the run has not scheduled:");
            self.line(&self.style.paint(Paint::Bad, &line));
            self.attempts(ordinal);
        }
    }

    fn activity(&mut self, ordinal: Ordinal, call: &ActivityCall, scheduled: Timestamp) {
        let summary = clean(&call.options.summary);
        if !summary.is_empty() {
            self.under(2, &format!("“{summary}”"));
        }
        let (paint, text) = self.timeline.standing(ordinal, scheduled, self.style);
        let standing = self.style.paint(paint, &clean(&text));
        self.under(2, &standing);
        if !self.brief {
            self.attempts(ordinal);
        }
    }

    fn attempts(&mut self, ordinal: Ordinal) {
        let timeline = self.timeline;
        let several = timeline.attempts_of(ordinal).count() > 1;
        for (number, attempt) in timeline.attempts_of(ordinal) {
            if several {
                self.under(2, &format!("attempt {number}: {}", attempt.state()));
            }
            for (entry, event) in timeline.events_of(attempt) {
                let told = self.style.paint(Paint::Dim, &clean(&words::told(event, self.style)));
                let line = format!("{}            {told}", self.when(entry.at));
                self.line(&line);
            }
            for anomaly in &attempt.anomalies {
                let line = self.style.paint(Paint::Bad, &format!("anomaly: {anomaly}"));
                self.under(4, &line);
            }
        }
    }

    /// A line below the text of an event, `columns` further in.
    fn under(&mut self, columns: usize, text: &str) {
        let indent = " ".repeat(MARGIN + self.clock_width + columns);
        self.line(&format!("{indent}{text}"));
    }

    fn when(&self, at: Timestamp) -> String {
        let (start, width) = (self.timeline.row.started_at, self.clock_width);
        let since = format!("+{}", duration(at.since_ms(start)));
        let clock = self.style.zone.time_of_day(at, start);
        self.style.paint(Paint::Dim, &format!("{since:>10}  {clock:<width$}"))
    }
}

fn paint_of(event: &RunEvent) -> Paint {
    match event {
        RunEvent::Blocked(_) => Paint::Bad,
        RunEvent::RunFailed { .. } => Paint::Warn,
        RunEvent::RunCompleted { .. } => Paint::Good,
        _ => Paint::Strong,
    }
}
