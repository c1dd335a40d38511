//! Plots as SVG that need nothing else: no script, no font, no address.

use std::fmt::Write as _;

/// A line of a plot.
#[derive(Debug, Clone)]
pub(super) struct Line<'a> {
    /// For the legend.
    pub(super) name: &'a str,
    /// From left to right.
    pub(super) points: &'a [(f64, f64)],
}

/// What is drawn along the bottom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bottom {
    /// Percentiles: each step to the right leaves a tenth of the rest.
    Percentiles,
    /// Seconds.
    Seconds,
}

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 36.0;
const COLOURS: [&str; 5] = ["#1f6f8b", "#e0a458", "#b3261e", "#7a8b99", "#4c956c"];

/// A text as part of a page.
pub(super) fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Draws lines over percentiles (with a logarithmic scale of the values) or over time.
pub(super) fn plot(lines: &[Line<'_>], bottom: Bottom, unit: &str) -> String {
    let values = || lines.iter().flat_map(|line| line.points).map(|(_, value)| *value);
    let most = values().fold(0.0, f64::max);
    let least = values().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         font-family=\"system-ui,sans-serif\" font-size=\"11\" fill=\"#5b6b7b\">\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>"
    );
    if most <= 0.0 {
        return out + "<text x=\"8\" y=\"40\">nothing</text></svg>";
    }
    let scale = match bottom {
        Bottom::Percentiles => Scale::logarithmic(least, most),
        Bottom::Seconds => Scale::linear(most),
    };
    let last = lines.iter().flat_map(|line| line.points).map(|(at, _)| *at).fold(0.0, f64::max);
    let across = |at: f64| LEFT + (WIDTH - LEFT - RIGHT) * share(at, last, bottom);
    let up = |value: f64| HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * scale.share(value);
    for mark in scale.marks() {
        let y = up(mark);
        let _ = write!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#e4eaf0\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y + 4.0,
            short(mark)
        );
    }
    for (at, label) in bottom_marks(last, bottom) {
        let x = across(at);
        let y = HEIGHT - BOTTOM + 16.0;
        let _ = write!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{label}</text>");
    }
    let _ = write!(out, "<text x=\"{LEFT}\" y=\"{:.1}\">{}</text>", HEIGHT - 4.0, html(unit));
    draw(&mut out, lines, across, up);
    out + "</svg>"
}

fn draw(out: &mut String, lines: &[Line<'_>], across: impl Fn(f64) -> f64, up: impl Fn(f64) -> f64) {
    let mut legend = LEFT;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let mut path = String::new();
        for (at, value) in line.points {
            let _ = write!(path, "{:.1},{:.1} ", across(*at), up(*value));
        }
        let _ = write!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"/>\
             <rect x=\"{legend:.0}\" y=\"8\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\
             <text x=\"{:.0}\" y=\"17\">{}</text>",
            path.trim_end(),
            legend + 14.0,
            html(line.name)
        );
        legend += 30.0 + 6.0 * line.name.chars().count() as f64;
    }
}

/// How far to the right something stands, 0 to 1.
fn share(at: f64, last: f64, bottom: Bottom) -> f64 {
    let nines = |percentile: f64| -(1.0 - (percentile / 100.0).min(0.99999)).log10();
    match bottom {
        Bottom::Percentiles => nines(at) / nines(last).max(f64::MIN_POSITIVE),
        Bottom::Seconds => at / last.max(f64::MIN_POSITIVE),
    }
}

fn bottom_marks(last: f64, bottom: Bottom) -> Vec<(f64, String)> {
    match bottom {
        Bottom::Percentiles => {
            let all = [0.0, 50.0, 90.0, 99.0, 99.9, 99.99];
            let shown = all.iter().filter(|at| **at <= last + 1e-9);
            shown.map(|at| (*at, if *at == 0.0 { "least".to_owned() } else { format!("p{at}") })).collect()
        }
        Bottom::Seconds => {
            [0.0, 0.5, 1.0].iter().map(|part| (last * part, format!("{:.1} s", last * part))).collect()
        }
    }
}

/// A number with its thousands as `k` and its millions as `M`.
fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{} M", value / 1e6),
        value if value >= 1e3 => format!("{} k", value / 1e3),
        value => format!("{value}"),
    }
}

/// Where a value stands between the bottom and the top.
struct Scale {
    bottom: f64,
    top: f64,
    logarithmic: bool,
}

impl Scale {
    fn logarithmic(least: f64, most: f64) -> Scale {
        let bottom = 10f64.powf(least.log10().floor());
        let top = 10f64.powf(most.log10().ceil()).max(bottom * 10.0);
        Scale { bottom, top, logarithmic: true }
    }

    /// From 0 to the next 1, 2 or 5 with zeroes that has all below it.
    fn linear(most: f64) -> Scale {
        let step = 10f64.powf(most.log10().floor());
        let top = [1.0, 2.0, 5.0, 10.0].into_iter().map(|times| times * step).find(|top| *top >= most);
        Scale { bottom: 0.0, top: top.unwrap_or(most), logarithmic: false }
    }

    fn share(&self, value: f64) -> f64 {
        if self.logarithmic {
            let value = value.max(self.bottom);
            (value / self.bottom).log10() / (self.top / self.bottom).log10()
        } else {
            value / self.top
        }
    }

    fn marks(&self) -> Vec<f64> {
        if !self.logarithmic {
            return [0.0, 0.5, 1.0].iter().map(|part| self.top * part).collect();
        }
        let decades = (self.top / self.bottom).log10().round() as i32;
        (0..=decades).map(|decade| self.bottom * 10f64.powi(decade)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_has_each_line_once_and_no_markup_from_names() {
        let points = [(0.0, 10.0), (50.0, 100.0), (99.0, 900.0)];
        let lines = [Line { name: "a<b", points: &points }, Line { name: "c", points: &points }];
        let svg = plot(&lines, Bottom::Percentiles, "us");
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("a&lt;b") && !svg.contains("a<b"));
        assert!(svg.contains(">p99<") && !svg.contains(">p99.9<"), "only what was measured is labelled");
    }

    #[test]
    fn each_nine_takes_the_same_step_to_the_right() {
        let at = |percentile| share(percentile, 99.9, Bottom::Percentiles);
        assert!((at(90.0) - 1.0 / 3.0).abs() < 1e-6);
        assert!((at(99.0) - 2.0 / 3.0).abs() < 1e-6);
        assert!((at(99.9) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn scales_hold_all_values() {
        let scale = Scale::logarithmic(116.0, 20_000.0);
        assert_eq!((scale.bottom, scale.top), (100.0, 100_000.0));
        assert_eq!(scale.marks().len(), 4);
        assert_eq!(Scale::linear(7_300.0).top, 10_000.0);
        assert_eq!(Scale::linear(1_900.0).top, 2_000.0);
        assert!(Scale::logarithmic(5.0, 5.0).top > 5.0);
    }

    #[test]
    fn nothing_is_drawn_as_nothing() {
        assert!(plot(&[], Bottom::Seconds, "x").contains("nothing"));
    }
}
