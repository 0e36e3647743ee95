//! Tables for people. Scripts get JSON.

use std::io::{self, Write};

use strongroom_core::EscapedText;

/// Writes rows below a head, in columns. Text of a store is escaped.
pub(crate) fn write<const N: usize>(
    output: &mut impl Write,
    head: [&str; N],
    rows: &[[String; N]],
) -> io::Result<()> {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| row.each_ref().map(|cell| EscapedText::name(cell).to_string()))
        .collect();
    let mut widths = head.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    write_row(output, head, widths)?;
    rows.iter().try_for_each(|row| write_row(output, row.each_ref().map(String::as_str), widths))
}

fn write_row<const N: usize>(
    output: &mut impl Write,
    cells: [&str; N],
    widths: [usize; N],
) -> io::Result<()> {
    let padded = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
    let line = padded.collect::<Vec<_>>().join("  ");
    writeln!(output, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "übergröße".to_owned()], ["longer".to_owned(), String::new()]];
        let mut output = Vec::new();
        write(&mut output, ["PATH", "TAG"], &rows).unwrap();
        let text = String::from_utf8(output).unwrap();
        assert_eq!(text, "PATH    TAG\na       übergröße\nlonger\n");
    }

    #[test]
    fn text_of_a_store_cannot_control_the_terminal() {
        let mut output = Vec::new();
        write(&mut output, ["TAG"], &[["\u{1b}[2J".to_owned()]]).unwrap();
        assert!(!output.contains(&0x1b));
    }
}
