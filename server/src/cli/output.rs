use super::json::Json;
use super::{Error, Zone};
use anstyle::AnsiColor;
use antiphon_history::{RunStatus, Timestamp};
use std::io::{IsTerminal, Write};

/// How things are printed. Holds for every command.
#[derive(Debug, Clone, clap::Args)]
pub struct View {
    /// Print JSON: one object, or one per line where there are many
    #[arg(long, global = true)]
    pub json: bool,
    /// Colour the output; auto: only on a terminal
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: clap::ColorChoice,
    /// Print times in UTC (the default; JSON always does)
    #[arg(long, global = true, conflicts_with = "local")]
    pub utc: bool,
    /// Print times in this machine's time zone, and read --since and --until in it
    #[arg(long, global = true)]
    pub local: bool,
}

impl View {
    /// How text looks on stdout.
    pub fn style(&self) -> Style {
        let stdout = std::io::stdout();
        Style {
            color: self.wants_color(&stdout, stdout.is_terminal()),
            zone: if self.local { Zone::Local } else { Zone::Utc },
            now: Zone::now(),
        }
    }

    pub(super) fn wants_color(&self, stream: &impl anstream::stream::RawStream, terminal: bool) -> bool {
        match self.color {
            clap::ColorChoice::Always => true,
            clap::ColorChoice::Never => false,
            // Knows NO_COLOR, CLICOLOR and terminals without colours.
            clap::ColorChoice::Auto => terminal && anstream::AutoStream::choice(stream) != anstream::ColorChoice::Never,
        }
    }
}

/// How text looks, and from where it looks at time. With the same style the same history gives the same text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Style {
    /// Whether to colour.
    pub color: bool,
    /// In which zone times are shown.
    pub zone: Zone,
    /// What "now" is: how long open runs have been going on is counted up to here.
    pub now: Timestamp,
}

impl Style {
    /// No colours, times in UTC.
    pub fn plain(now: Timestamp) -> Style {
        Style { color: false, zone: Zone::Utc, now }
    }

    pub(super) fn paint(&self, paint: Paint, text: &str) -> String {
        let style = match paint {
            _ if !self.color || text.is_empty() => return text.to_owned(),
            Paint::Plain => return text.to_owned(),
            Paint::Good => AnsiColor::Green.on_default(),
            Paint::Warn => AnsiColor::Yellow.on_default(),
            Paint::Bad => AnsiColor::Red.on_default().bold(),
            Paint::Name => AnsiColor::Cyan.on_default(),
            Paint::Dim => anstyle::Style::new().dimmed(),
            Paint::Strong => anstyle::Style::new().bold(),
        };
        format!("{style}{text}{style:#}")
    }
}

/// What a piece of text is, for the eye.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Paint {
    Plain,
    Good,
    Warn,
    Bad,
    Name,
    Dim,
    Strong,
}

impl Paint {
    pub(super) fn of(status: RunStatus) -> Paint {
        match status {
            RunStatus::Running => Paint::Name,
            RunStatus::Blocked => Paint::Bad,
            RunStatus::Completed => Paint::Good,
            RunStatus::Failed | RunStatus::Terminated => Paint::Warn,
            RunStatus::Cancelled => Paint::Dim,
        }
    }
}

/// Where a command prints.
pub(super) struct Out<'w> {
    to: &'w mut dyn Write,
    pub(super) style: Style,
    pub(super) json: bool,
}

impl<'w> Out<'w> {
    pub(super) fn new(to: &'w mut dyn Write, view: &View) -> Out<'w> {
        Out { to, style: view.style(), json: view.json }
    }

    /// Prints text and ends the line.
    pub(super) fn line(&mut self, text: impl AsRef<str>) -> Result<(), Error> {
        self.to.write_all(text.as_ref().as_bytes()).and_then(|()| self.to.write_all(b"\n")).map_err(Error::Output)
    }

    /// Prints one JSON value on a line of its own.
    pub(super) fn json(&mut self, value: &Json) -> Result<(), Error> {
        serde_json::to_writer(&mut *self.to, value).map_err(|error| Error::Output(error.into()))?;
        self.to.write_all(b"\n").map_err(Error::Output)
    }

    /// Remarks that are not data: to stderr, so that pipes carry data only.
    pub(super) fn remark(&mut self, text: &str) -> Result<(), Error> {
        self.flush()?;
        let _ = writeln!(std::io::stderr(), "{text}");
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Result<(), Error> {
        self.to.flush().map_err(Error::Output)
    }
}

/// Recorded text, made safe for a terminal: control characters and those that turn the writing direction are written out.
///
/// Failure messages and the names in strangers' files may hold anything; printed as they are they could move the cursor,
/// recolour the screen or fake lines.
pub(super) fn clean(text: &str) -> String {
    let unsafe_char = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.chars().any(unsafe_char) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if unsafe_char(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// [`clean`], with the line breaks kept: for reports of several lines, indented so that none can pass for another line.
pub(super) fn clean_lines(text: &str, indent: &str) -> String {
    text.lines().map(|line| format!("{indent}{}\n", clean(line))).collect()
}

/// Text cut to `max` characters, with a mark where it was cut.
pub(super) fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recorded_text_cannot_move_the_cursor_or_turn_the_line() {
        assert_eq!(clean("plain ü 中"), "plain ü 中");
        assert_eq!(clean("a\u{1b}[2Jb\r\nc\u{202e}d"), "a\\u{1b}[2Jb\\r\\nc\\u{202e}d");
        assert_eq!(clean_lines("one\n\ttwo", "  "), "  one\n  \\ttwo\n");
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut("äöü", 2), "äö…");
        assert_eq!(cut("äöü", 3), "äöü");
    }

    #[test]
    fn without_colour_no_escape_is_written() {
        let plain = Style::plain(Timestamp(0));
        assert_eq!(plain.paint(Paint::Bad, "x"), "x");
        let coloured = Style { color: true, ..plain };
        assert!(coloured.paint(Paint::Bad, "x").starts_with('\u{1b}'));
    }
}
