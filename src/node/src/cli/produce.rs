//! `tidelog produce`: lines in, acknowledged records out.

use std::collections::BTreeSet;
use std::time::Duration;

use memchr::memmem::Finder;
use tidelog_client::{Delivery, Error, Producer, ProducerOptions};
use tidelog_format::batch::{Header, Record};
use tidelog_io::clock::Clock;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::args::ProduceArgs;
use super::exit::{Failure, tell};
use super::input::{Input, Splitter, TooLong, key_and_value};
use super::progress::Progress;
use super::table::{counted, grouped};

/// Records wait at most about this long for more when the input pauses.
const LINGER: Duration = Duration::from_millis(5);

/// Stores one record for each line of the input.
pub(crate) async fn produce(args: ProduceArgs) -> Result<(), Failure> {
    let mut input = Input::open(&args.file)?;
    let client = args.server.connect().await?;
    let producer = client.producer(&args.topic, ProducerOptions::default()).await?;
    if let Some(partition) = args.partition {
        producer.check_partition(partition)?;
    }
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut run = Run::new(args, producer, Progress::new(input.total));
    let mut end = run.read(&mut input, &mut interrupt).await;
    tokio::select! {
        () = run.producer.flush() => {}
        _ = interrupt.recv() => end = End::Interrupted,
    }
    run.take_stock();
    run.progress.finish();
    let result = run.tally.report(end);
    if result.is_ok() {
        tell(&format!("{} acknowledged", counted(run.tally.durable, "record")));
    }
    result
}

/// Why reading stopped.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// At the end of the input.
    Finished,
    /// Ctrl-C.
    Interrupted,
    /// A line that cannot be stored, or an input that cannot be read.
    Failed(String),
    /// A batch was not acknowledged; the tally knows why.
    Stopped,
}

/// One run of the command.
struct Run {
    args: ProduceArgs,
    separator: Option<Finder<'static>>,
    splitter: Splitter,
    producer: Producer,
    progress: Progress,
    clock: Clock,
    bytes: u64,
    tally: Tally,
}

impl Run {
    fn new(args: ProduceArgs, producer: Producer, progress: Progress) -> Run {
        Run {
            separator: args.key_separator.as_ref().map(|separator| Finder::new(&separator.0).into_owned()),
            splitter: Splitter::new(&args.delimiter.0),
            args,
            producer,
            progress,
            clock: Clock::system(),
            bytes: 0,
            tally: Tally::default(),
        }
    }

    /// Reads the input and hands its records to the producer.
    async fn read(&mut self, input: &mut Input, interrupt: &mut Signal) -> End {
        loop {
            tokio::select! {
                biased;
                _ = interrupt.recv() => return End::Interrupted,
                piece = input.pieces.recv() => {
                    let fed = tokio::select! {
                        _ = interrupt.recv() => return End::Interrupted,
                        fed = self.take(piece) => fed,
                    };
                    match fed {
                        Ok(true) => {}
                        Ok(false) => return End::Finished,
                        Err(end) => return end,
                    }
                }
                () = tokio::time::sleep(LINGER), if self.producer.holds_records() => {
                    tokio::select! {
                        _ = interrupt.recv() => return End::Interrupted,
                        () = self.producer.flush() => {}
                    }
                }
            }
            self.take_stock();
            if self.producer.is_stopped() {
                return End::Stopped;
            }
        }
    }

    /// Takes a piece of the input, or its end. Whether more may come.
    async fn take(&mut self, piece: Option<std::io::Result<Vec<u8>>>) -> Result<bool, End> {
        match piece {
            Some(Ok(piece)) => {
                self.bytes += piece.len() as u64;
                self.splitter.feed(&piece);
                let now = self.clock.now_ms();
                while let Some(line) = self.splitter.next().map_err(|TooLong| self.tally.line_too_long())? {
                    let line =
                        Line { args: &self.args, separator: self.separator.as_ref(), bytes: line, now };
                    self.tally.taken(line.send(&mut self.producer).await)?;
                }
                Ok(true)
            }
            Some(Err(error)) => Err(End::Failed(format!("{}: {error}", self.args.file.display()))),
            None => {
                let now = self.clock.now_ms();
                if let Some(line) = self.splitter.rest() {
                    let line =
                        Line { args: &self.args, separator: self.separator.as_ref(), bytes: line, now };
                    self.tally.taken(line.send(&mut self.producer).await)?;
                }
                Ok(false)
            }
        }
    }

    fn take_stock(&mut self) {
        for delivery in self.producer.take_deliveries() {
            self.tally.add(delivery);
        }
        self.progress.update(self.bytes, self.tally.durable);
    }
}

/// One line on its way to become a record.
struct Line<'a> {
    args: &'a ProduceArgs,
    separator: Option<&'a Finder<'static>>,
    bytes: &'a [u8],
    now: i64,
}

impl Line<'_> {
    async fn send(&self, producer: &mut Producer) -> Result<(), Error> {
        let (key, value) = key_and_value(self.bytes, self.separator);
        let is_null = self.args.null_value.as_ref().is_some_and(|mark| mark.as_bytes() == value);
        let headers = self.args.headers.iter();
        let headers = headers
            .map(|header| Header { name: header.name.as_bytes(), value: Some(header.value.as_bytes()) });
        let record = Record {
            timestamp: self.now,
            key,
            value: (!is_null).then_some(value),
            headers: headers.collect(),
        };
        producer.send(&record, self.args.partition).await
    }
}

/// How many lines there were, and what became of them.
#[derive(Debug, Default)]
struct Tally {
    /// Lines that the producer took.
    taken: u64,
    durable: u64,
    /// Lines that are certainly not stored.
    refused: u64,
    partitions: BTreeSet<u32>,
    /// The first failure that is not a consequence of another.
    cause: Option<Error>,
}

impl Tally {
    /// Counts a line by what the producer said to it.
    fn taken(&mut self, sent: Result<(), Error>) -> Result<(), End> {
        match sent {
            Ok(()) => {
                self.taken += 1;
                Ok(())
            }
            Err(Error::Stopped) => Err(End::Stopped),
            Err(error) => Err(End::Failed(format!("line {}: {error}", grouped(self.taken + 1)))),
        }
    }

    fn line_too_long(&self) -> End {
        let line = grouped(self.taken + 1);
        End::Failed(format!("line {line} is longer than the largest record; is the delimiter right?"))
    }

    fn add(&mut self, delivery: Delivery) {
        let count = u64::from(delivery.count);
        self.partitions.insert(delivery.partition);
        match delivery.result {
            Ok(_) => self.durable += count,
            Err(error) => {
                if !error.outcome_unknown() {
                    self.refused += count;
                }
                if !matches!(error, Error::Stopped) {
                    self.cause.get_or_insert(error);
                }
            }
        }
    }

    /// How the command ends.
    fn report(&self, end: End) -> Result<(), Failure> {
        let cause = self.cause.as_ref().map(Error::to_string);
        match (end, cause) {
            (End::Finished, None) if self.durable == self.taken => Ok(()),
            (End::Interrupted, _) => {
                Err(Failure::Interrupted(Some(format!("interrupted; {}", self.state()))))
            }
            (End::Failed(text), _) | (_, Some(text)) => {
                Err(Failure::Error(format!("{text}; {}", self.state())))
            }
            (_, None) => Err(Failure::Error(self.state())),
        }
    }

    /// What is certain about the lines read.
    fn state(&self) -> String {
        let first = if self.partitions.len() <= 1 && self.durable > 0 { "the first " } else { "" };
        let durable = counted(self.durable, "line");
        let verb = if self.durable == 1 { "is" } else { "are" };
        let mut text = format!("{first}{durable} {verb} durable");
        let unknown = self.taken.saturating_sub(self.durable).saturating_sub(self.refused);
        if unknown > 0 {
            text.push_str(&format!(", of {} more it is unknown", grouped(unknown)));
        }
        if self.refused > 0 {
            let verb = if self.refused == 1 { "is" } else { "are" };
            text.push_str(&format!(", {} more {verb} not stored", grouped(self.refused)));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidelog_proto::http::error::ErrorCode;

    fn tally(taken: u64, deliveries: Vec<Delivery>) -> Tally {
        let mut tally = Tally { taken, ..Tally::default() };
        for delivery in deliveries {
            tally.add(delivery);
        }
        tally
    }

    fn acked(partition: u32, count: u32) -> Delivery {
        Delivery { partition, count, result: Ok(0) }
    }

    fn failed(partition: u32, count: u32, error: Error) -> Delivery {
        Delivery { partition, count, result: Err(error) }
    }

    fn broken() -> Error {
        Error::Broken { server: "h:1".to_owned(), cause: "reset".to_owned() }
    }

    fn message(result: Result<(), Failure>) -> String {
        match result {
            Err(Failure::Error(text) | Failure::Interrupted(Some(text))) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn everything_acknowledged_is_a_success() {
        assert!(tally(0, vec![]).report(End::Finished).is_ok());
        assert!(tally(5, vec![acked(0, 2), acked(1, 3)]).report(End::Finished).is_ok());
    }

    #[test]
    fn a_failure_names_what_is_durable_what_is_not_and_what_nobody_knows() {
        let run = tally(17, vec![acked(0, 10), failed(0, 4, broken()), failed(0, 3, Error::Stopped)]);
        let text = message(run.report(End::Finished));
        assert_eq!(
            text,
            "the connection to h:1 broke before the answer was whole: reset; the first 10 lines are durable, \
             of 4 more it is unknown, 3 more are not stored"
        );
    }

    #[test]
    fn with_several_partitions_the_durable_lines_need_not_be_the_first() {
        let refused =
            Error::Status { status: 413, code: ErrorCode::TooLarge, message: "too large".to_owned() };
        let run = tally(7, vec![acked(0, 1), failed(1, 6, refused)]);
        let text = message(run.report(End::Stopped));
        assert!(text.ends_with("; 1 line is durable, 6 more are not stored"), "{text}");
    }

    #[test]
    fn a_line_that_cannot_be_stored_is_named_by_its_number() {
        let mut run = tally(16, vec![acked(0, 16)]);
        let end = run.taken(Err(broken())).unwrap_err();
        assert_eq!(run.taken(Err(Error::Stopped)), Err(End::Stopped));
        let text = message(run.report(end));
        assert!(
            text.starts_with("line 17: ") && text.ends_with("; the first 16 lines are durable"),
            "{text}"
        );
    }

    #[test]
    fn an_interrupted_run_says_how_far_it_came() {
        let text = message(tally(9, vec![acked(0, 4)]).report(End::Interrupted));
        assert_eq!(text, "interrupted; the first 4 lines are durable, of 5 more it is unknown");
    }
}
