//! Figures by name, as a table for people and as JSON for comparison over time.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fmt, fs, io};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

/// The upper or lower limit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// At most this value.
    Max(f64),
    /// At least this value.
    Min(f64),
}

impl Target {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::Max(limit) => value <= limit,
            Self::Min(limit) => value >= limit,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Max(limit) => write!(f, "at most {limit}"),
            Self::Min(limit) => write!(f, "at least {limit}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Figure {
    value: f64,
    unit: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<Target>,
}

/// The figures of one run.
///
/// As JSON it is an object from name to
/// `{"value": number, "unit": "…", "target": {"max": number}}`, or `{"min": number}`, or no target.
/// Its `Display` is an aligned table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Report {
    figures: BTreeMap<String, Figure>,
}

impl Report {
    /// Adds a figure, kept to three decimal places.
    ///
    /// A name says what was measured, such as `native_get_over_parts`, and never changes. The unit of a
    /// ratio is `x`.
    ///
    /// # Errors
    /// If the value is not a finite number or the name is already in use.
    pub fn add(
        &mut self,
        name: &str,
        value: f64,
        unit: &str,
        target: impl Into<Option<Target>>,
    ) -> Result<()> {
        ensure!(value.is_finite(), "figure {name} is {value}");
        let value = (value * 1e3).round() / 1e3;
        let figure = Figure { value, unit: unit.to_owned(), target: target.into() };
        ensure!(!self.figures.contains_key(name), "figure {name} is reported twice");
        self.figures.insert(name.to_owned(), figure);
        Ok(())
    }

    /// Writes the report and replaces an earlier one.
    ///
    /// # Errors
    /// If the file or its directory cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        if let Some(directory) = file.parent() {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
        }
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
    }

    /// Writes these figures into an earlier report and keeps its other figures.
    ///
    /// # Errors
    /// If the earlier file is not a report, or the new one cannot be written.
    pub fn merge_into(&self, file: &Path) -> Result<()> {
        let mut merged = match fs::read_to_string(file) {
            Ok(text) => serde_json::from_str(&text)
                .with_context(|| format!("{} is not a report; delete it", file.display()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => return Err(error).context(format!("cannot read {}", file.display())),
        };
        merged.figures.extend(self.figures.clone());
        merged.write(file)
    }

    fn rows(&self) -> Vec<[String; 5]> {
        let header = ["name", "value", "unit", "target", "met?"].map(str::to_owned);
        let figures = self.figures.iter().map(|(name, figure)| {
            let target = figure.target.map_or(String::new(), |target| target.to_string());
            let met = figure
                .target
                .map_or("", |target| if target.is_met(figure.value) { "yes" } else { "NO" });
            let value = format!("{:.3}", figure.value);
            [name.clone(), value, figure.unit.clone(), target, met.to_owned()]
        });
        std::iter::once(header).chain(figures).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        let mut widths = [0; 5];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let [names, values, units, targets, _] = widths;
        for [name, value, unit, target, met] in &rows {
            let line =
                format!("{name:names$}  {value:>values$}  {unit:units$}  {target:targets$}  {met}");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Report {
        let mut report = Report::default();
        report.add("put_over_sqlite", 1.500_04, "x", Target::Max(1.5)).unwrap();
        report.add("get_per_second", 999.0, "1/s", Target::Min(1000.0)).unwrap();
        report.add("open_ms", 12.0, "ms", None).unwrap();
        report
    }

    #[test]
    fn the_table_is_aligned_and_marks_missed_targets() {
        let expected = "\
name               value  unit  target         met?
get_per_second   999.000  1/s   at least 1000  NO
open_ms           12.000  ms
put_over_sqlite    1.500  x     at most 1.5    yes
";
        assert_eq!(sample().to_string(), expected);
    }

    #[test]
    fn the_file_has_the_documented_format() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("bench/report.json");
        sample().write(&file).unwrap();
        let json: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let expected = serde_json::json!({
            "get_per_second": {"value": 999.0, "unit": "1/s", "target": {"min": 1000.0}},
            "open_ms": {"value": 12.0, "unit": "ms"},
            "put_over_sqlite": {"value": 1.5, "unit": "x", "target": {"max": 1.5}},
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn merging_replaces_repeated_figures_and_keeps_the_others() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("report.json");
        sample().merge_into(&file).unwrap();
        let mut again = Report::default();
        again.add("open_ms", 11.0, "ms", None).unwrap();
        again.merge_into(&file).unwrap();

        let merged: Report = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let mut expected = sample();
        expected.figures.extend(again.figures);
        assert_eq!(merged, expected);
        assert_eq!(merged.figures.len(), 3);

        fs::write(&file, "{\"open_ms\": 3}").unwrap();
        assert!(sample().merge_into(&file).is_err());
    }

    #[test]
    fn rejects_figures_that_are_not_numbers_or_repeated() {
        let mut report = sample();
        assert!(report.add("ratio", f64::NAN, "x", None).is_err());
        assert!(report.add("open_ms", 1.0, "ms", None).is_err());
    }
}
