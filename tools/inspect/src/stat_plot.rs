//! Plots as inline SVG, and text that is safe in a page.

use std::fmt::Write;

use tidelog_format::record_format::escaped;

const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 48.0;
const TOP: f64 = 10.0;
const COLOURS: [&str; 4] = ["#1f6f8b", "#e0a458", "#b8c4ce", "#e6ebf0"];

/// Text for a page: nothing in it is markup, and nothing steers a terminal that shows the source.
pub(crate) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in escaped(text.as_bytes()).chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            char => out.push(char),
        }
    }
    out
}

/// Bytes in the largest unit in which they are at least 1.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or_default();
    if unit == 0 || value.fract() == 0.0 {
        format!("{value:.0} {name}")
    } else {
        format!("{value:.1} {name}")
    }
}

/// A bar for each value. With many of them only the first and the last get their label; `bytes` says how values read.
pub(crate) fn bars(values: &[(String, u64)], bytes: bool) -> String {
    let most = values.iter().map(|(_, value)| *value).max().unwrap_or(0);
    if most == 0 {
        return "<svg viewBox=\"0 0 560 40\"><text x=\"0\" y=\"24\" fill=\"#5b6b7b\">nothing</text></svg>"
            .to_owned();
    }
    let shown = |value: u64| if bytes { size(value) } else { value.to_string() };
    let (room, high) = (WIDTH - LEFT, HEIGHT - BOTTOM - TOP);
    let step = room / values.len() as f64;
    let base = TOP + high;
    let mut out =
        format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" font-size=\"11\" fill=\"#5b6b7b\">");
    for part in [0.5, 1.0] {
        let y = base - high * part;
        let label = shown((most as f64 * part).round() as u64);
        let _ = write!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#e4eaf0\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            LEFT - 6.0,
            y + 4.0
        );
    }
    for (at, (label, value)) in values.iter().enumerate() {
        let tall = high * *value as f64 / most as f64;
        let x = LEFT + step * at as f64;
        let _ = write!(
            out,
            "<rect x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{tall:.2}\" fill=\"{}\"><title>{}: {}</title></rect>",
            x + step * 0.08,
            base - tall,
            step * 0.84,
            COLOURS[0],
            html(label),
            shown(*value)
        );
    }
    let _ =
        write!(out, "<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{base}\" y2=\"{base}\" stroke=\"#8fa0b0\"/>");
    labels(&mut out, values, step, base);
    out + "</svg>"
}

fn labels(out: &mut String, values: &[(String, u64)], step: f64, base: f64) {
    let longest = values.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    // About six units a character.
    if step > longest as f64 * 6.0 + 4.0 {
        for (at, (label, _)) in values.iter().enumerate() {
            let x = LEFT + step * (at as f64 + 0.5);
            let _ = write!(
                out,
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                base + 16.0,
                html(label)
            );
        }
        return;
    }
    let ends = [(values.first(), LEFT, "start"), (values.last(), WIDTH, "end")];
    for (value, x, anchor) in ends {
        if let Some((label, _)) = value {
            let _ = write!(
                out,
                "<text x=\"{x}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
                base + 16.0,
                html(label)
            );
        }
    }
}

/// One bar, split into its parts, with a legend.
pub(crate) fn split(parts: &[(&str, u64)]) -> String {
    let whole: u64 = parts.iter().map(|(_, bytes)| *bytes).sum();
    let mut out =
        format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" font-size=\"12\" fill=\"#5b6b7b\">");
    let mut x = 0.0;
    for (at, (name, bytes)) in parts.iter().enumerate() {
        let colour = COLOURS.get(at).copied().unwrap_or("#999");
        let wide = if whole == 0 { 0.0 } else { WIDTH * *bytes as f64 / whole as f64 };
        let y = 76.0 + 26.0 * at as f64;
        let share = if whole == 0 { 0.0 } else { 100.0 * *bytes as f64 / whole as f64 };
        let _ = write!(
            out,
            "<rect x=\"{x:.2}\" y=\"14\" width=\"{wide:.2}\" height=\"36\" fill=\"{colour}\"/>\
             <rect x=\"0\" y=\"{:.1}\" width=\"14\" height=\"14\" fill=\"{colour}\"/>\
             <text x=\"22\" y=\"{y:.1}\">{}: {} ({share:.1} %)</text>",
            y - 12.0,
            html(name),
            size(*bytes)
        );
        x += wide;
    }
    out + "</svg>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_a_file_are_never_markup() {
        assert_eq!(html("<script>\"&'\x1b[31m"), "&lt;script&gt;&quot;&amp;'\\u{1b}[31m");
        let svg = bars(&[("<b>".to_owned(), 1), ("x".to_owned(), 2)], false);
        assert!(!svg.contains("<b>"));
    }

    #[test]
    fn sizes_are_shown_in_their_unit() {
        assert_eq!(
            (size(0), size(1023), size(1024)),
            ("0 B".to_owned(), "1023 B".to_owned(), "1 KiB".to_owned())
        );
        assert_eq!(size(1_610_612_736), "1.5 GiB");
    }

    #[test]
    fn nothing_is_plotted_as_nothing() {
        assert!(bars(&[], true).contains("nothing"));
        assert!(split(&[("a", 0)]).contains("0 B"));
    }
}
