use super::output::{Paint, Style, clean};
use unicode_width::UnicodeWidthStr;

/// Columns of text, as wide as they must be.
pub(super) struct Table {
    heads: Vec<&'static str>,
    rows: Vec<Vec<(Paint, String)>>,
}

impl Table {
    pub(super) fn new(heads: &[&'static str]) -> Table {
        Table { heads: heads.to_vec(), rows: Vec::new() }
    }

    /// Adds a row. Its cells are made safe for a terminal here.
    pub(super) fn row(&mut self, cells: Vec<(Paint, String)>) {
        self.rows.push(cells.into_iter().map(|(paint, text)| (paint, clean(&text))).collect());
    }

    /// The table with its heads, without an end of line after the last row.
    pub(super) fn render(&self, style: &Style) -> String {
        let heads: Vec<_> = self.heads.iter().map(|head| (Paint::Dim, (*head).to_owned())).collect();
        let all: Vec<&Vec<(Paint, String)>> = std::iter::once(&heads).chain(&self.rows).collect();
        let width = |column: usize| all.iter().filter_map(|row| row.get(column)).map(|(_, text)| text.width()).max();
        let widths: Vec<usize> = (0..self.heads.len()).map(|column| width(column).unwrap_or(0)).collect();
        let mut lines = Vec::with_capacity(all.len());
        for row in all {
            let mut line = String::new();
            for ((paint, text), width) in row.iter().zip(&widths) {
                line.push_str(&style.paint(*paint, text));
                // Padding stands outside the colour, and is counted without it.
                line.push_str(&" ".repeat(width.saturating_sub(text.width()) + 2));
            }
            line.truncate(line.trim_end_matches(' ').len());
            lines.push(line);
        }
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use antiphon_history::Timestamp;

    #[test]
    fn columns_line_up_whatever_the_writing() {
        let mut table = Table::new(&["ID", "STATUS"]);
        table.row(vec![(Paint::Plain, "日本".into()), (Paint::Good, "completed".into())]);
        table.row(vec![(Paint::Plain, "a\tb".into()), (Paint::Good, String::new())]);
        let text = table.render(&Style::plain(Timestamp(0)));
        assert_eq!(text, "ID    STATUS\n日本  completed\na\\tb");
    }
}
