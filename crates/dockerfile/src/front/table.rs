//! Tables of text, as Go's `tabwriter` sets them.

/// Rows whose cells but the last are as wide as the widest of their column, and so much more.
pub(super) fn table(rows: &[Vec<String>], padding: usize) -> String {
    let columns = rows.iter().map(|row| row.len().saturating_sub(1)).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| column + 1 < row.len()).map(|row| row[column].chars().count());
        cells.max().unwrap_or_default() + padding
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            match column + 1 < row.len() {
                true => text.push_str(&format!("{cell:width$}", width = widths[column])),
                false => text.push_str(cell),
            }
        }
        text.push('\n');
    }
    text
}

/// A row of cells.
pub(super) fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}
