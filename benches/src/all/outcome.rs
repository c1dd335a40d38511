//! What the parts of a whole run give: figures with their yardstick and goal, and what is drawn of them.

use serde::Serialize;

use crate::fio;
use crate::report::median;

/// What a figure is to reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Goal {
    /// Ours over the yardstick's is at least this.
    RatioAtLeast(f64),
    /// Ours over the yardstick's is at most this.
    RatioAtMost(f64),
    /// The figure itself is at least this.
    AtLeast(f64),
    /// The figure itself is at most this.
    AtMost(f64),
}

/// A figure: the median over the runs.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Row {
    /// What was run.
    pub(super) load: String,
    /// What was counted, with its unit.
    pub(super) figure: String,
    /// Ours: median.
    pub(super) ours: f64,
    /// Ours in each run.
    pub(super) runs: Vec<f64>,
    /// Whose figure stands beside it.
    pub(super) yardstick: Option<String>,
    /// The yardstick's figure: median.
    pub(super) theirs: Option<f64>,
    /// Ours over theirs: median over the runs.
    pub(super) ratio: Option<f64>,
    /// What is to be reached.
    pub(super) goal: Option<Goal>,
    /// Whether it is.
    pub(super) reached: Option<bool>,
}

/// Percentiles of a latency, for a plot.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Curve {
    /// The plot that it belongs to.
    pub(super) plot: String,
    /// Whose.
    pub(super) name: String,
    /// Percentile and latency in us, ascending.
    pub(super) points: Vec<(f64, f64)>,
}

/// A rate over time, for a plot.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Series {
    /// The plot that it belongs to.
    pub(super) plot: String,
    /// What it counts.
    pub(super) unit: String,
    /// Whose.
    pub(super) name: String,
    /// Seconds and rate, ascending.
    pub(super) points: Vec<(f64, f64)>,
}

/// What one part gave.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Outcome {
    /// Its name, as the command line has it.
    pub(super) part: String,
    /// Its figures.
    pub(super) rows: Vec<Row>,
    /// Its latencies.
    pub(super) curves: Vec<Curve>,
    /// Its rates over time.
    pub(super) series: Vec<Series>,
    /// What was left out, and why; what has to be known to read the figures.
    pub(super) notes: Vec<String>,
}

impl Goal {
    fn reached(self, ours: f64, ratio: Option<f64>) -> Option<bool> {
        match self {
            Goal::RatioAtLeast(least) => ratio.map(|ratio| ratio >= least),
            Goal::RatioAtMost(most) => ratio.map(|ratio| ratio <= most),
            Goal::AtLeast(least) => Some(ours >= least),
            Goal::AtMost(most) => Some(ours <= most),
        }
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Goal::RatioAtLeast(least) => write!(f, ">= {least} x"),
            Goal::RatioAtMost(most) => write!(f, "<= {most} x"),
            Goal::AtLeast(least) => write!(f, ">= {least}"),
            Goal::AtMost(most) => write!(f, "<= {most}"),
        }
    }
}

impl Row {
    /// A figure of ours, run by run.
    pub(super) fn new(load: impl Into<String>, figure: impl Into<String>, runs: Vec<f64>) -> Row {
        Row {
            load: load.into(),
            figure: figure.into(),
            ours: median(runs.clone()),
            runs,
            yardstick: None,
            theirs: None,
            ratio: None,
            goal: None,
            reached: None,
        }
    }

    /// Puts a yardstick beside it that was measured once for each run; nothing when it was not measured.
    #[must_use]
    pub(super) fn beside(mut self, name: impl Into<String>, theirs: Vec<f64>) -> Row {
        if theirs.is_empty() {
            return self;
        }
        let ratios = self.runs.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs).collect();
        self.ratio = Some(median(ratios));
        self.theirs = Some(median(theirs));
        self.yardstick = Some(name.into());
        self
    }

    /// Says what is to be reached.
    #[must_use]
    pub(super) fn goal(mut self, goal: Goal) -> Row {
        self.reached = goal.reached(self.ours, self.ratio);
        self.goal = Some(goal);
        self
    }
}

impl Outcome {
    /// Nothing yet.
    pub(super) fn of(part: &str) -> Outcome {
        Outcome { part: part.to_owned(), ..Outcome::default() }
    }

    /// Adds the curve of a histogram of nanoseconds.
    pub(super) fn curve(&mut self, plot: &str, name: &str, latency: &hdrhistogram::Histogram<u64>) {
        // Finer towards the end, where the steps of a latency are.
        let tail = (0..=40).map(|step| 100.0 - 100.0 * 10f64.powf(-f64::from(step) / 10.0));
        let points = tail
            .map(|percentile| (percentile, latency.value_at_quantile(percentile / 100.0) as f64 / 1000.0));
        self.curves.push(Curve { plot: plot.to_owned(), name: name.to_owned(), points: points.collect() });
    }

    /// Adds the curve of a run of fio.
    pub(super) fn fio_curve(&mut self, plot: &str, name: &str, figures: &fio::Figures) {
        let points = fio::CURVE.into_iter().zip(figures.curve_us).collect();
        self.curves.push(Curve { plot: plot.to_owned(), name: name.to_owned(), points });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_the_median_of_the_ratios_and_is_judged_by_the_goal() {
        let row =
            Row::new("W1", "commits/s", vec![90.0, 110.0, 50.0]).beside("fio", vec![100.0, 100.0, 100.0]);
        assert_eq!((row.ours, row.ratio), (90.0, Some(0.9)));
        assert_eq!(row.clone().goal(Goal::RatioAtLeast(0.9)).reached, Some(true));
        assert_eq!(row.clone().goal(Goal::RatioAtMost(0.8)).reached, Some(false));
        assert_eq!(row.goal(Goal::AtMost(89.0)).reached, Some(false));
    }

    #[test]
    fn without_a_yardstick_a_ratio_is_neither_reached_nor_missed() {
        let row = Row::new("W1", "commits/s", vec![1.0]).beside("fio", Vec::new());
        assert_eq!(row.goal(Goal::RatioAtLeast(0.9)).reached, None);
    }

    #[test]
    fn a_curve_ends_at_the_largest_latency_that_counts() {
        let mut latency = hdrhistogram::Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap();
        latency.record_n(100_000, 99_999).unwrap();
        latency.record(9_000_000).unwrap();
        let mut outcome = Outcome::of("x");
        outcome.curve("plot", "ours", &latency);
        let points = &outcome.curves[0].points;
        assert_eq!(points[0].0, 0.0);
        assert!((points[40].0 - 99.99).abs() < 1e-9);
        assert!(points[40].1 < 101.0, "one of 100,000 is beyond the curve");
    }
}
