//! `tidelog consume`: records to standard output.

use std::ops::ControlFlow;

use tidelog_client::{Chunk, Consumer, ConsumerOptions};

use super::args::ConsumeArgs;
use super::exit::{Failure, end_on_interrupt};
use super::output;
use super::record_writer::RecordWriter;

/// Output is handed to the system in pieces of about this many bytes.
const PIECE: usize = 64 * 1024;

/// Reads records and writes them to stdout.
pub(crate) async fn consume(args: ConsumeArgs) -> Result<(), Failure> {
    end_on_interrupt();
    let client = args.server.connect().await?;
    let options = ConsumerOptions { from: args.offset, until_end: args.exit, ..ConsumerOptions::default() };
    let mut consumer = client.consumer(&args.topic, &args.partitions, options).await?;
    let mut out = Out {
        writer: RecordWriter::new(&args.topic, args.format, args.output),
        left: args.count.unwrap_or(u64::MAX),
        bytes: Vec::with_capacity(2 * PIECE),
    };
    out.writer.begin(&mut out.bytes);
    out.write()?;
    let result = out.run(&mut consumer).await;
    // What came before an error is as good as the rest.
    out.write()?;
    result
}

/// What is on its way to stdout.
struct Out {
    writer: RecordWriter,
    /// Records still to be written.
    left: u64,
    bytes: Vec<u8>,
}

impl Out {
    async fn run(&mut self, consumer: &mut Consumer) -> Result<(), Failure> {
        let mut scratch = Vec::new();
        while self.left > 0 {
            let Some(chunk) = consumer.next().await? else { return Ok(()) };
            self.chunk(&chunk, &mut scratch)?;
            self.write()?;
        }
        Ok(())
    }

    fn chunk(&mut self, chunk: &Chunk, scratch: &mut Vec<u8>) -> Result<(), Failure> {
        let written = chunk.for_each(scratch, |offset, record| {
            self.writer.write(&mut self.bytes, chunk.partition(), offset, record);
            self.left -= 1;
            if self.bytes.len() >= PIECE
                && let Err(failure) = self.write()
            {
                return ControlFlow::Break(Err(failure));
            }
            if self.left == 0 { ControlFlow::Break(Ok(())) } else { ControlFlow::Continue(()) }
        })?;
        written.break_value().unwrap_or(Ok(()))
    }

    fn write(&mut self) -> Result<(), Failure> {
        if !self.bytes.is_empty() {
            output::write(&self.bytes)?;
            self.bytes.clear();
        }
        Ok(())
    }
}
