//! The result as a table, as JSON, and as one page with plots.

use std::fmt::Write as _;
use std::path::Path;

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::BenchError;
use crate::all::outcome::{Outcome, Row};
use crate::all::plot::{Bottom, Line, html, plot};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;\
color:#1c2733;background:#fff}h1{font-size:1.5rem;margin-bottom:0}h2{font-size:1.1rem;margin:2rem 0 .5rem}\
p.where{color:#5b6b7b;margin-top:.2rem}.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(28rem,1fr));\
gap:1rem}figure{margin:0}figcaption{color:#5b6b7b;font-size:.9rem}svg{width:100%;height:auto}\
table{border-collapse:collapse;font-size:.9rem}td,th{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #e4eaf0}\
th{font-weight:600;color:#5b6b7b}td.l,th.l{text-align:left}.bad{color:#b3261e;font-weight:600}.good{color:#2e7d4f}\
.wide{overflow-x:auto}";

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Whole {
    /// Program and version.
    pub(super) program: String,
    /// The machine, in words.
    pub(super) machine: String,
    /// Runs of each figure.
    pub(super) repeats: u32,
    /// Seconds of each run.
    pub(super) seconds: u32,
    /// Runnable tasks on the machine before the first run.
    pub(super) load_before: Option<f64>,
    /// What the parts gave.
    pub(super) parts: Vec<Outcome>,
}

/// The plots of a run, each with a name that is good for a file.
pub(super) fn plots(whole: &Whole) -> Vec<(String, String, String)> {
    let mut out = Vec::new();
    for part in &whole.parts {
        for name in distinct(part.curves.iter().map(|curve| curve.plot.as_str())) {
            let curves = part.curves.iter().filter(|curve| curve.plot == name);
            let lines: Vec<_> =
                curves.map(|curve| Line { name: &curve.name, points: &curve.points }).collect();
            let svg = plot(&lines, Bottom::Percentiles, "us, latency of a commit by percentile");
            out.push((file_name("latency", name), format!("{name}: latency, us"), svg));
        }
        for name in distinct(part.series.iter().map(|series| series.plot.as_str())) {
            let series: Vec<_> = part.series.iter().filter(|series| series.plot == name).collect();
            let lines: Vec<_> =
                series.iter().map(|series| Line { name: &series.name, points: &series.points }).collect();
            let unit = series.first().map_or("", |series| series.unit.as_str());
            let svg = plot(&lines, Bottom::Seconds, unit);
            out.push((file_name("rate", name), format!("{name}: {unit} over time"), svg));
        }
    }
    out
}

fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut out = Vec::new();
    for name in names {
        if !out.contains(&name) {
            out.push(name);
        }
    }
    out
}

fn file_name(kind: &str, name: &str) -> String {
    let safe: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let parts: Vec<&str> = safe.split('-').filter(|part| !part.is_empty()).collect();
    format!("{kind}-{}.svg", parts.join("-").to_ascii_lowercase())
}

/// Writes `report.json`, `report.html` and the plots into `dir`.
///
/// # Errors
/// When the directory does not take them.
pub(super) fn save(whole: &Whole, dir: &Path) -> Result<(), BenchError> {
    std::fs::create_dir_all(dir).map_err(BenchError::file("making directory", dir))?;
    let json = serde_json::to_string_pretty(whole).map_err(|error| BenchError::Output(error.into()))?;
    let plots = plots(whole);
    let mut files =
        vec![("report.json".to_owned(), json + "\n"), ("report.html".to_owned(), page(whole, &plots))];
    files.extend(plots.into_iter().map(|(file, _, svg)| (file, svg + "\n")));
    for (file, content) in files {
        let path = dir.join(file);
        std::fs::write(&path, content).map_err(BenchError::file("writing", &path))?;
    }
    Ok(())
}

/// The table for people.
pub(super) fn table(whole: &Whole) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(HEAD);
    for row in whole.parts.iter().flat_map(|part| &part.rows) {
        table.add_row(cells(row));
    }
    let mut out = format!("{table}\n");
    for part in &whole.parts {
        for note in &part.notes {
            let _ = writeln!(out, "{}: {note}", part.part);
        }
    }
    out
}

const HEAD: [&str; 7] = ["load", "figure", "tidelog", "beside it", "theirs", "ratio", "goal"];

fn cells(row: &Row) -> [String; 7] {
    let goal = row.goal.map_or_else(String::new, |goal| match row.reached {
        Some(true) => format!("{goal} reached"),
        Some(false) => format!("{goal} MISSED"),
        None => format!("{goal} unknown"),
    });
    [
        row.load.clone(),
        row.figure.clone(),
        number(row.ours),
        row.yardstick.clone().unwrap_or_default(),
        row.theirs.map_or_else(String::new, number),
        row.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
        goal,
    ]
}

/// Three digits that count, and no point behind large numbers.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

fn page(whole: &Whole, plots: &[(String, String, String)]) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>Tidelog: measured</title><style>{STYLE}</style></head>\
         <body><h1>What was measured</h1><p class=\"where\">{}. {}. Medians of {} runs of {} s; load of the machine \
         before: {}.</p><div class=\"wide\"><table><tr>",
        html(&whole.program),
        html(&whole.machine),
        whole.repeats,
        whole.seconds,
        whole.load_before.map_or_else(|| "unknown".to_owned(), |load| format!("{load:.1}"))
    );
    for (at, name) in HEAD.iter().enumerate() {
        let _ = write!(out, "<th{}>{name}</th>", class(at, None));
    }
    out.push_str("</tr>");
    for row in whole.parts.iter().flat_map(|part| &part.rows) {
        out.push_str("<tr>");
        for (at, cell) in cells(row).iter().enumerate() {
            let _ = write!(out, "<td{}>{}</td>", class(at, row.reached), html(cell));
        }
        out.push_str("</tr>");
    }
    out.push_str("</table></div>");
    for part in &whole.parts {
        for note in &part.notes {
            let _ = write!(out, "<p>{}: {}</p>", html(&part.part), html(note));
        }
    }
    out.push_str("<h2>Latency by percentile, and rates over time (the last run of each load)</h2><div class=\"plots\">");
    for (_, caption, svg) in plots {
        let _ = write!(out, "<figure><figcaption>{}</figcaption>{svg}</figure>", html(caption));
    }
    out + "</div></body></html>\n"
}

fn class(column: usize, reached: Option<bool>) -> &'static str {
    match (column, reached) {
        (0 | 1 | 3, _) => " class=\"l\"",
        (6, Some(true)) => " class=\"good\"",
        (6, Some(false)) => " class=\"bad\"",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::all::outcome::{Curve, Goal};

    fn whole() -> Whole {
        let mut part = Outcome::of("steady");
        let row = Row::new("W1 <x>", "commits/s", vec![7_000.0]).beside("fio", vec![10_000.0]);
        part.rows.push(row.goal(Goal::RatioAtLeast(0.9)));
        let points = vec![(50.0, 100.0), (99.0, 200.0)];
        part.curves.push(Curve { plot: "W1, recycled".to_owned(), name: "tidelog".to_owned(), points });
        part.notes.push("redis-server is not installed".to_owned());
        Whole {
            program: "tidelog-bench".to_owned(),
            machine: "2 cores".to_owned(),
            repeats: 1,
            seconds: 1,
            load_before: None,
            parts: vec![part],
        }
    }

    #[test]
    fn the_table_says_what_was_missed_and_what_was_left_out() {
        let table = table(&whole());
        assert!(table.contains(">= 0.9 x MISSED") && table.contains("0.70"));
        assert!(table.ends_with("steady: redis-server is not installed\n"));
    }

    #[test]
    fn the_page_has_the_plots_and_asks_nobody_for_anything() {
        let whole = whole();
        let page = page(&whole, &plots(&whole));
        assert!(page.contains("<polyline") && page.contains("W1 &lt;x&gt;"));
        let foreign = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!foreign.contains("http") && !foreign.contains("<script"));
    }

    #[test]
    fn a_saved_run_is_json_a_page_and_plots() {
        let dir = tempfile::tempdir().unwrap();
        save(&whole(), dir.path()).unwrap();
        let json = std::fs::read(dir.path().join("report.json")).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json["parts"][0]["rows"][0]["reached"], false);
        assert!(dir.path().join("report.html").is_file());
        assert!(dir.path().join("latency-w1-recycled.svg").is_file());
    }
}
