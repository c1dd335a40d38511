//! OpenTSDB's data points as records: key = series, timestamp, value = the number's text.

use tidelog_format::batch::Record;
use tidelog_proto::opentsdb::point::PointRef;

use crate::failure::Failure;
use crate::produce::{CollectError, Collector};

/// Adds a point to what a request or a socket read brought, in the partition of its series.
pub(crate) fn collect(collector: &mut Collector, point: &PointRef<'_>) -> Result<(), Failure> {
    let record = Record {
        timestamp: point.timestamp_ms,
        key: Some(point.series_key),
        value: Some(point.value),
        headers: Vec::new(),
    };
    collector.push(None, &record).map_err(|error| match error {
        CollectError::Batch(error) => error.into(),
        // A partitioner names no partition that is not there.
        CollectError::NoPartition(wanted) => Failure::no_partition("", wanted, 0),
    })
}
