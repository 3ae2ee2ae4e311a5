//! Figures as pictures: groups of bars on a logarithmic scale, as SVG.

#![expect(clippy::cast_precision_loss, reason = "figures for people to read")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Colours of the series, apart for those who do not see red and green apart too (Okabe and Ito).
const COLORS: [&str; 6] = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"];
const BAR: f64 = 34.0;
const GAP: f64 = 26.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 84.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 44.0;

/// A picture of groups of bars; the same series in each group.
#[derive(Clone, Debug)]
pub struct Bars {
    title: String,
    unit: String,
    series: Vec<String>,
    groups: Vec<(String, Vec<Option<f64>>)>,
}

impl Bars {
    /// A picture without groups; bars are in this unit.
    pub fn new(title: &str, unit: &str, series: &[&str]) -> Self {
        let series = series.iter().map(|&name| name.to_owned()).collect();
        Self { title: title.to_owned(), unit: unit.to_owned(), series, groups: Vec::new() }
    }

    /// Adds a group: a value for each series, positive, or none.
    pub fn group(&mut self, name: &str, values: &[Option<f64>]) {
        self.groups.push((name.to_owned(), values.to_vec()));
    }

    /// Writes the picture.
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, self.svg()).with_context(|| format!("write {}", path.display()))
    }

    /// The picture.
    pub fn svg(&self) -> String {
        let values =
            || self.groups.iter().flat_map(|(_, values)| values).flatten().filter(|value| **value > 0.0);
        // Whole powers of ten around the values.
        let low = values().copied().fold(f64::INFINITY, f64::min).log10().floor();
        let high = values().copied().fold(0.0, f64::max).log10().ceil();
        let (low, high) = if low < high { (low, high) } else { (0.0, 1.0) };
        let height = |value: f64| (value.log10() - low) / (high - low) * HEIGHT;
        let group = self.series.len() as f64 * BAR + GAP;
        let legend = self.series.iter().map(|name| 40.0 + 7.0 * name.len() as f64).sum::<f64>();
        let width =
            LEFT + (group * self.groups.len() as f64).max(legend).max(7.5 * self.title.len() as f64) + GAP;
        let base = TOP + HEIGHT;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{:.0}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
            base + BOTTOM
        );
        text(&mut out, (LEFT, 20.0), "start", 15, &self.title);
        text(&mut out, (14.0, TOP - 10.0), "start", 12, &self.unit);
        let mut power = low;
        while power <= high {
            let y = base - (power - low) / (high - low) * HEIGHT;
            let _ = writeln!(out, "<path d=\"M{LEFT} {y:.1}H{:.1}\" stroke=\"#ddd\"/>", width - GAP / 2.0);
            text(&mut out, (LEFT - 6.0, y + 4.0), "end", 12, &figure(10_f64.powf(power)));
            power += 1.0;
        }
        let mut at = LEFT + 10.0;
        for (name, color) in self.series.iter().zip(COLORS) {
            let _ =
                writeln!(out, "<rect x=\"{at:.1}\" y=\"34\" width=\"12\" height=\"12\" fill=\"{color}\"/>");
            text(&mut out, (at + 17.0, 44.5), "start", 12, name);
            at += 40.0 + 7.0 * name.len() as f64;
        }
        for (number, (name, values)) in self.groups.iter().enumerate() {
            let left = LEFT + GAP / 2.0 + group * number as f64;
            for (column, (value, color)) in values.iter().zip(COLORS).enumerate() {
                let Some(value) = value.filter(|value| *value > 0.0) else { continue };
                let (x, tall) = (left + BAR * column as f64, height(value).max(1.0));
                let _ = writeln!(
                    out,
                    "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{tall:.1}\" fill=\"{color}\"/>",
                    x + 2.0,
                    base - tall,
                    BAR - 4.0
                );
                text(&mut out, (x + BAR / 2.0, base - tall - 4.0), "middle", 11, &figure(value));
            }
            text(&mut out, (left + (group - GAP) / 2.0, base + 20.0), "middle", 12, name);
        }
        out + "</svg>\n"
    }
}

/// A number with two or three digits that count, as far as there are any.
fn figure(value: f64) -> String {
    let text = match value.abs() {
        10.0.. => format!("{value:.0}"),
        1.0.. => format!("{value:.1}"),
        0.1.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn text(out: &mut String, at: (f64, f64), anchor: &str, size: u32, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" font-size=\"{size}\">{words}</text>",
        at.0, at.1
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_tall_as_the_logarithm_of_their_values() {
        let mut bars = Bars::new("A & B", "ns", &["one", "two"]);
        bars.group("first", &[Some(1.0), Some(1000.0)]);
        bars.group("second", &[None, Some(10.0)]);
        let svg = bars.svg();
        assert!(svg.contains("A &amp; B") && svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        let tall = |value: &str| svg.matches(&format!("height=\"{value}\" fill")).count();
        assert_eq!([tall("1.0"), tall("260.0"), tall("86.7")], [1, 1, 1], "{svg}");
        assert_eq!(svg.matches("<rect").count(), 1 + 2 + 3, "the ground, the legend, the bars");
    }

    #[test]
    fn figures_are_short() {
        let short = [0.0123, 0.3, 1.0, 9.96, 45.61, 1234.5].map(figure);
        assert_eq!(short, ["0.012", "0.3", "1", "10", "46", "1234"]);
    }
}
