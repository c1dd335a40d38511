//! `export`: records and batches for other tools, into a new file or folder.
//!
//! # Format
//! - `jsonl`: a document a line, as `dump --output json` prints it.
//! - `csv`: a head line, then topic, partition, offset, timestamp, key, value, headers (JSON), base64 (which of `key` and
//!   `value` stand in base64, because they are no UTF-8), null (which of them are null: an empty field alone does not
//!   say it).
//! - `batches`: for each partition a folder with its number and in it one Kafka segment, the batches as stored, one
//!   behind the other; `partitions.jsonl` says whose number it is. `kafka-dump-log` and others read it.
//! - `parquet` (feature `parquet`): a column for each field.

mod batches;
mod csv;
mod json;
#[cfg(feature = "parquet")]
mod parquet;
mod records;

use crate::args::{ExportArgs, ExportFormat};
use crate::dump::run;
use crate::error::InspectError;
use crate::filter::{Filter, Pattern};
use crate::finding::Status;
use crate::output::Screen;
use crate::target::{Target, refuse_unsafe};
use crate::tree::shown;
use records::{RecordExport, Sink};

/// Writes what is asked for to its new place.
pub(crate) fn export(screen: &mut Screen<'_>, args: &ExportArgs) -> Result<Status, InspectError> {
    // Before anything is made: what is not there can't be exported.
    let _ = crate::tree::Tree::find(&args.path)?;
    refuse_unsafe(&args.path, &args.to)?;
    let mut filter = Filter::new(&args.filter);
    if let Some(regex) = &args.pattern {
        filter = filter.with(Pattern { regex: regex.clone(), parts: crate::args::Part::ALL.to_vec() });
    }
    let (status, count, what) = match args.format {
        ExportFormat::Batches if filter.looks_inside() => return Err(InspectError::WholeBatches),
        ExportFormat::Batches => {
            let mut export = batches::BatchExport::new(Target::new(&args.to, false)?, filter);
            let status = run(&mut export, &args.path, false)?;
            (status, export.finish()?, "batches")
        }
        format => {
            let mut export = RecordExport::new(sink(format, args)?, filter);
            let status = run(&mut export, &args.path, false)?;
            (status, export.finish()?, "records")
        }
    };
    writeln!(screen.out, "{count} {what} written to {}", shown(&args.to))?;
    Ok(status)
}

fn sink(format: ExportFormat, args: &ExportArgs) -> Result<Box<dyn Sink>, InspectError> {
    let file = crate::target::NewFile::create(&args.to)?;
    Ok(match format {
        ExportFormat::Csv => Box::new(csv::Csv::new(file)?),
        #[cfg(feature = "parquet")]
        ExportFormat::Parquet => Box::new(parquet::Parquet::new(file)?),
        _ => Box::new(json::JsonLines::new(file)),
    })
}
