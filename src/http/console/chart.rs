//! Plots, drawn here as SVG: stacked columns over equal steps of time, each with what it says in words.
//!
//! Colours are classes of the style sheet, so that they follow light and dark. Nothing that a stranger wrote goes in.

use std::fmt::Write;

use super::page::number;

const WIDTH: u64 = 440;
const HEIGHT: u64 = 150;
/// Left of the columns, for the scale; below them, for the time.
const LEFT: u64 = 40;
const BELOW: u64 = 24;
const ABOVE: u64 = 10;

/// One thing that is plotted.
pub(super) struct Series {
    /// Its class in the style sheet.
    pub class: &'static str,
    pub label: &'static str,
    /// A value a step.
    pub values: Vec<u64>,
}

impl Series {
    pub(super) fn total(&self) -> u64 {
        self.values.iter().sum()
    }

    /// Its total, for people.
    pub(super) fn shown(&self) -> String {
        number(self.total())
    }
}

/// Columns, one a step, of the series on top of each other. `labels` says when each step began, `title` what it is.
pub(super) fn columns(title: &str, labels: &[String], series: &[Series]) -> String {
    let heights = (0..labels.len()).map(|step| series.iter().filter_map(|one| one.values.get(step)).sum::<u64>());
    let top = ceiling(heights.max().unwrap_or(0));
    let (plot_width, plot_height) = (WIDTH - LEFT, HEIGHT - BELOW - ABOVE);
    let mut svg = format!("<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">");
    for (part, value) in [(0, top), (1, top / 2), (2, 0)] {
        let y = ABOVE + plot_height * part / 2;
        let _ = write!(svg, "<path class=\"grid\" d=\"M{LEFT} {y}H{WIDTH}\"/>");
        if part != 1 || top.is_multiple_of(2) {
            let _ = write!(svg, "<text class=\"scale\" x=\"{}\" y=\"{}\">{}</text>", LEFT - 8, y + 4, number(value));
        }
    }
    let count = u64::try_from(labels.len()).unwrap_or(1).max(1);
    let step_width = plot_width / count;
    let gap = (step_width / 5).max(1);
    for (step, (place, label)) in (0u64..).zip(labels.iter().enumerate()) {
        let x = LEFT + plot_width * step / count + gap / 2;
        let _ = write!(svg, "<g><title>{}</title>", told(label, place, series));
        let _ = write!(
            svg,
            "<rect class=\"hover\" x=\"{x}\" y=\"{ABOVE}\" width=\"{}\" height=\"{plot_height}\"/>",
            step_width - gap
        );
        let mut bottom = ABOVE + plot_height;
        for one in series {
            let value = one.values.get(place).copied().unwrap_or(0);
            // What happened is seen, however little it was.
            let height = (value * plot_height).div_ceil(top).min(bottom - ABOVE);
            if height > 0 {
                bottom -= height;
                let (class, width) = (one.class, step_width - gap);
                let _ = write!(
                    svg,
                    "<rect class=\"{class}\" x=\"{x}\" y=\"{bottom}\" width=\"{width}\" height=\"{height}\"/>"
                );
            }
        }
        svg.push_str("</g>");
        let every = count.div_ceil(6).max(1);
        if step.is_multiple_of(every) {
            let _ = write!(svg, "<text class=\"time\" x=\"{x}\" y=\"{}\">{label}</text>", HEIGHT - 6);
        }
    }
    svg + "</svg>"
}

/// What a column says, in words.
fn told(label: &str, place: usize, series: &[Series]) -> String {
    let values = series.iter().map(|one| (one.label, one.values.get(place).copied().unwrap_or(0)));
    let values: Vec<String> =
        values.filter(|(_, value)| *value > 0).map(|(label, value)| format!("{label} {}", number(value))).collect();
    if values.is_empty() { format!("{label}: nothing") } else { format!("{label}: {}", values.join(", ")) }
}

/// The next round number.
fn ceiling(value: u64) -> u64 {
    let mut unit = 1u64;
    loop {
        for factor in [1, 2, 4, 5] {
            if unit.saturating_mul(factor) >= value.max(4) {
                return unit.saturating_mul(factor);
            }
        }
        unit = unit.saturating_mul(10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_round_numbers() {
        for (value, expected) in
            [(0, 4), (3, 4), (5, 5), (6, 10), (11, 20), (21, 40), (100, 100), (101, 200), (399, 400)]
        {
            assert_eq!(ceiling(value), expected, "{value}");
        }
    }

    #[test]
    fn columns_say_what_they_show() {
        let labels = ["10:00".to_owned(), "11:00".to_owned()];
        let one = |class, label, values: [u64; 2]| Series { class, label, values: values.to_vec() };
        let svg = columns("Mail", &labels, &[one("a", "delivered", [4, 0]), one("b", "bounced", [1, 0])]);
        assert!(svg.contains("<title>10:00: delivered 4, bounced 1</title>"), "{svg}");
        assert!(svg.contains("<title>11:00: nothing</title>"));
        assert_eq!((svg.matches("class=\"a\"").count(), svg.matches("class=\"b\"").count()), (1, 1));
        assert!(columns("Mail", &[], &[]).ends_with("</svg>"));
    }
}
