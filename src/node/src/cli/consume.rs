//! `tidelog consume`: records to standard output, alone or as a member of a consumer group.

use std::ops::ControlFlow;

use tidelog_client::{Chunk, Client, Consumer, ConsumerOptions, Error, GroupConsumer, GroupOptions};
use tokio::signal::unix::{SignalKind, signal};

use super::args::ConsumeArgs;
use super::exit::{Failure, end_on_interrupt};
use super::output;
use super::record_writer::RecordWriter;

/// Output is handed to the system in pieces of about this many bytes.
const PIECE: usize = 64 * 1024;

/// Reads records and writes them to stdout.
pub(crate) async fn consume(args: ConsumeArgs) -> Result<(), Failure> {
    let client = args.server.connect().await?;
    match &args.group {
        Some(group) => in_group(&args, &client, group).await,
        None => alone(&args, &client).await,
    }
}

async fn alone(args: &ConsumeArgs, client: &Client) -> Result<(), Failure> {
    end_on_interrupt();
    let options = ConsumerOptions { from: args.offset, until_end: args.exit, ..ConsumerOptions::default() };
    let mut consumer = client.consumer(&args.topic, &args.partitions, options).await?;
    Out::new(args).all(&mut consumer).await
}

/// Whatever ends it, what was written is committed and the others take over at once.
async fn in_group(args: &ConsumeArgs, client: &Client, group: &str) -> Result<(), Failure> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let options = GroupOptions { from: args.offset, until_end: args.exit, ..GroupOptions::default() };
    let mut consumer = client.group_consumer(group, &args.topic, options).await?;
    let mut out = Out::new(args);
    let result = tokio::select! {
        result = out.all(&mut consumer) => result,
        _ = interrupt.recv() => Err(Failure::Interrupted(None)),
        _ = terminate.recv() => Err(Failure::Interrupted(None)),
    };
    let closed = consumer.close().await;
    result.and(closed.map_err(Failure::from))
}

/// Where records come from.
trait Source {
    async fn next(&mut self) -> Result<Option<Chunk>, Error>;

    /// All records of a partition up to `next_offset` are on stdout.
    fn done(&mut self, partition: u32, next_offset: u64);
}

impl Source for Consumer {
    async fn next(&mut self) -> Result<Option<Chunk>, Error> {
        Consumer::next(self).await
    }

    fn done(&mut self, _: u32, _: u64) {}
}

impl Source for GroupConsumer {
    async fn next(&mut self) -> Result<Option<Chunk>, Error> {
        GroupConsumer::next(self).await
    }

    fn done(&mut self, partition: u32, next_offset: u64) {
        GroupConsumer::done(self, partition, next_offset);
    }
}

/// What is on its way to stdout.
struct Out {
    writer: RecordWriter,
    /// Records still to be written.
    left: u64,
    bytes: Vec<u8>,
}

impl Out {
    fn new(args: &ConsumeArgs) -> Out {
        Out {
            writer: RecordWriter::new(&args.topic, args.format.clone(), args.output),
            left: args.count.unwrap_or(u64::MAX),
            bytes: Vec::with_capacity(2 * PIECE),
        }
    }

    async fn all(&mut self, source: &mut impl Source) -> Result<(), Failure> {
        self.writer.begin(&mut self.bytes);
        self.write()?;
        let result = self.run(source).await;
        // What came before an error is as good as the rest.
        self.write()?;
        result
    }

    async fn run(&mut self, source: &mut impl Source) -> Result<(), Failure> {
        let mut scratch = Vec::new();
        while self.left > 0 {
            let Some(chunk) = source.next().await? else { return Ok(()) };
            let next_offset = self.chunk(&chunk, &mut scratch)?;
            self.write()?;
            source.done(chunk.partition(), next_offset);
        }
        Ok(())
    }

    /// Answers the offset behind the last record that was wanted.
    fn chunk(&mut self, chunk: &Chunk, scratch: &mut Vec<u8>) -> Result<u64, Failure> {
        let stopped = chunk.for_each(scratch, |offset, record| {
            self.writer.write(&mut self.bytes, chunk.partition(), offset, record);
            self.left -= 1;
            if self.bytes.len() >= PIECE
                && let Err(failure) = self.write()
            {
                return ControlFlow::Break(Err(failure));
            }
            if self.left == 0 { ControlFlow::Break(Ok(offset + 1)) } else { ControlFlow::Continue(()) }
        })?;
        stopped.break_value().unwrap_or(Ok(chunk.next_offset()))
    }

    fn write(&mut self) -> Result<(), Failure> {
        if !self.bytes.is_empty() {
            output::write(&self.bytes)?;
            self.bytes.clear();
        }
        Ok(())
    }
}
