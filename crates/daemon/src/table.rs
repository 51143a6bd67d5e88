//! Tables for people: aligned columns, human units, at most [`WIDTH`] characters wide.

/// The widest line.
pub(crate) const WIDTH: usize = 100;
const GAP: usize = 2;
/// A column of words is not shortened beyond this.
const NARROWEST: usize = 8;

/// Where a column's text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words, to be shortened where the table is too wide.
    Name,
    /// Words that are of no use when shortened, as far as that can be helped.
    Left,
    /// Figures.
    Right,
}

/// Columns with a heading, and rows of texts.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, a text for each column.
    pub(crate) fn push(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// The table's lines. Where it is too wide, names give way first, then other words.
    pub(crate) fn render(&self) -> String {
        let headings: Vec<String> = self.columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
        let widths = self.widths(&headings);
        let lines = std::iter::once(&headings).chain(&self.rows).map(|row| self.line(row, &widths));
        lines.fold(String::new(), |text, line| text + &line + "\n")
    }

    fn widths(&self, headings: &[String]) -> Vec<usize> {
        let width = |column: usize| {
            let texts = std::iter::once(headings).chain(self.rows.iter().map(Vec::as_slice));
            texts.filter_map(|row| row.get(column)).map(|text| text.chars().count()).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let gaps = GAP * self.columns.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > WIDTH {
            let shrunk = self.shrink(&mut widths, Align::Name) || self.shrink(&mut widths, Align::Left);
            if !shrunk {
                break;
            }
        }
        widths
    }

    /// Takes a character from the widest column of a kind; false when it has none to give.
    fn shrink(&self, widths: &mut [usize], kind: Align) -> bool {
        let of_kind = widths.iter_mut().zip(&self.columns).filter(|(_, (_, align))| *align == kind);
        match of_kind.map(|(width, _)| width).max() {
            Some(widest) if *widest > NARROWEST => {
                *widest -= 1;
                true
            }
            _ => false,
        }
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let cells = row.iter().zip(widths).zip(&self.columns).map(|((text, width), (_, align))| {
            let text = shorten(text, *width);
            match align {
                Align::Name | Align::Left => format!("{text:<width$}"),
                Align::Right => format!("{text:>width$}"),
            }
        });
        cells.collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned()
    }
}

fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// A count with a unit of a thousand: `999`, `12.3k`, `4.56M`.
pub(crate) fn count(value: u64) -> String {
    scale(value, 1000, &["", "k", "M", "G", "T", "P", "E"])
}

/// Bytes with a unit of 1,024: `999 B`, `12.3 KiB`.
pub(crate) fn bytes(value: u64) -> String {
    scale(value, 1024, &[" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"])
}

/// A latency of so many microseconds: `9.25 µs`, `184 µs`, `1.50 ms`.
pub(crate) fn latency(microseconds: f64) -> String {
    scale((microseconds * 1000.0) as u64, 1000, &[" ns", " µs", " ms", " s"])
}

/// Three significant digits and a unit.
fn scale(value: u64, step: u64, units: &[&str]) -> String {
    let mut scaled = value as f64;
    let mut left = units.iter();
    let mut unit = left.next().unwrap_or(&"");
    // What would be shown as 1000 belongs to the next unit.
    while scaled >= 999.5 && scaled >= step as f64 * 0.9995 {
        let Some(next) = left.next() else { break };
        scaled /= step as f64;
        unit = next;
    }
    match scaled {
        _ if value < step => format!("{value}{unit}"),
        small if small < 9.995 => format!("{small:.2}{unit}"),
        middle if middle < 99.95 => format!("{middle:.1}{unit}"),
        large => format!("{large:.0}{unit}"),
    }
}

/// Milliseconds as the two largest units: `350ms`, `4.2s`, `3m20s`, `5h4m`.
pub(crate) fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        0 => format!("{milliseconds}ms"),
        1..60 => format!("{seconds}.{}s", milliseconds % 1000 / 100),
        60..3600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{}h", seconds / 86400, seconds % 86400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_left_and_figures_right() {
        let mut table = Table::new(&[("NAME", Align::Left), ("FLOWS", Align::Right)]);
        table.push(vec!["web".to_owned(), "12".to_owned()]);
        table.push(vec!["objects".to_owned(), "3".to_owned()]);
        assert_eq!(table.render(), "NAME     FLOWS\nweb         12\nobjects      3\n");
    }

    #[test]
    fn a_table_that_is_too_wide_shortens_its_longest_words() {
        let mut table =
            Table::new(&[("ADDRESS", Align::Left), ("WHAT", Align::Name), ("PACKETS", Align::Right)]);
        let address = "[2001:db8:1234:5678:9abc:def0:1234:5678]:65535".to_owned();
        table.push(vec![address.clone(), "x".repeat(300), "1".to_owned()]);
        let text = table.render();
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.contains("x…") && text.contains(&address), "{text}");
    }

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        for (value, text) in [(0, "0"), (999, "999"), (1000, "1.00k"), (12_345, "12.3k"), (999_999, "1.00M")]
        {
            assert_eq!(count(value), text);
        }
        for (value, text) in
            [(1023, "1023 B"), (1024, "1.00 KiB"), (268_435_456, "256 MiB"), (u64::MAX, "16.0 EiB")]
        {
            assert_eq!(bytes(value), text);
        }
    }

    #[test]
    fn a_duration_has_the_units_that_matter() {
        for (value, text) in [(350, "350ms"), (4_250, "4.2s"), (200_000, "3m20s"), (18_240_000, "5h4m")] {
            assert_eq!(duration(value), text);
        }
    }
}
