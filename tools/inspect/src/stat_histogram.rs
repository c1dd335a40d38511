//! How sizes and times are distributed, in little memory however much there is.

use serde::ser::SerializeSeq;
use serde::{Serialize, Serializer};

/// Counts by powers of two: bucket `n` holds values of `n` bits.
#[derive(Debug, Clone)]
pub(crate) struct Histogram {
    buckets: [u64; 65],
    sum: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: [0; 65], sum: 0 }
    }
}

impl Histogram {
    pub(crate) fn add(&mut self, value: u64) {
        self.sum = self.sum.saturating_add(value);
        let bits = usize::try_from(u64::BITS - value.leading_zeros()).unwrap_or(0);
        if let Some(bucket) = self.buckets.get_mut(bits) {
            *bucket += 1;
        }
    }

    pub(crate) fn merge(&mut self, other: &Histogram) {
        self.sum = self.sum.saturating_add(other.sum);
        for (bucket, more) in self.buckets.iter_mut().zip(other.buckets) {
            *bucket += more;
        }
    }

    /// Smallest and largest value of a bucket, and how many there are; from the first that is not empty to the last.
    pub(crate) fn bars(&self) -> Vec<(u64, u64, u64)> {
        let first = self.buckets.iter().position(|count| *count > 0);
        let last = self.buckets.iter().rposition(|count| *count > 0);
        let (Some(first), Some(last)) = (first, last) else { return Vec::new() };
        let range = |bits: usize| {
            let low = bits.checked_sub(1).map_or(0, |shift| 1u64 << shift);
            (low, low.saturating_add(low.saturating_sub(1)))
        };
        let bar = |bits: usize| self.buckets.get(bits).map(|count| (range(bits).0, range(bits).1, *count));
        (first..=last).filter_map(bar).collect()
    }
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Bar {
            from: u64,
            to: u64,
            count: u64,
        }
        let bars = self.bars();
        let mut list = serializer.serialize_seq(Some(bars.len()))?;
        for (from, to, count) in bars {
            list.serialize_element(&Bar { from, to, count })?;
        }
        list.end()
    }
}

/// Buckets of a series.
const WIDTHS: usize = 96;

/// Bytes over time, in buckets whose width doubles when they no longer suffice.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Series {
    /// Time of the first bucket and the width of each, ms.
    pub(crate) start: i64,
    pub(crate) width: u64,
    pub(crate) bytes: Vec<u64>,
}

impl Series {
    /// Adds bytes at a time; what is before the first counts there.
    pub(crate) fn add(&mut self, time: i64, bytes: u64) {
        if self.width == 0 {
            (self.start, self.width) = (time, 1);
        }
        let since = u64::try_from(i128::from(time) - i128::from(self.start)).unwrap_or(0);
        while since / self.width >= WIDTHS as u64 {
            self.double();
        }
        let at = usize::try_from(since / self.width).unwrap_or(0);
        if self.bytes.len() <= at {
            self.bytes.resize(at + 1, 0);
        }
        if let Some(bucket) = self.bytes.get_mut(at) {
            *bucket += bytes;
        }
    }

    fn double(&mut self) {
        self.width = self.width.saturating_mul(2);
        self.bytes = self.bytes.chunks(2).map(|pair| pair.iter().sum()).collect();
    }

    /// Adds what was counted elsewhere.
    pub(crate) fn merge(&mut self, other: &Series) {
        for (at, bytes) in (0i64..).zip(&other.bytes) {
            let width = i64::try_from(other.width).unwrap_or(i64::MAX);
            if *bytes > 0 {
                self.add(other.start.saturating_add(at.saturating_mul(width)), *bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_as_many_bits_share_a_bucket() {
        let mut histogram = Histogram::default();
        for value in [1, 2, 3, 4, 7, 8, u64::MAX] {
            histogram.add(value);
        }
        let bars = histogram.bars();
        assert_eq!(bars[..4], [(1, 1, 1), (2, 3, 2), (4, 7, 2), (8, 15, 1)]);
        assert_eq!(bars[63], (1 << 63, u64::MAX, 1));
        let mut zero = Histogram::default();
        zero.add(0);
        assert_eq!(zero.bars(), [(0, 0, 1)]);
    }

    #[test]
    fn a_series_keeps_its_sum_however_long_the_time_is() {
        let mut series = Series::default();
        for time in [1_000, 1_001, 5_000, 900, 1_000_000, i64::MAX] {
            series.add(time, 10);
        }
        assert_eq!(series.bytes.iter().sum::<u64>(), 60);
        assert!(series.bytes.len() <= WIDTHS);
        let mut other = Series::default();
        other.merge(&series);
        assert_eq!(other.bytes.iter().sum::<u64>(), 60);
    }
}
