//! librdkafka, the C client below most of the others.
//!
//! # What is measured
//! One producer that is always given more than it can send: its batches are those of the load, and as many requests are
//! in flight as the load has producers. A record counts when its delivery report says that it is stored.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use hdrhistogram::Histogram;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use tidelog_io::random::Entropy;

use crate::BenchError;
use crate::args::Shape;
use crate::served::closed_loop::{self, Plan, Served};
use crate::served::process::Process;

/// Values that are prepared ahead.
const VALUES: usize = 1000;
/// Longest wait for reports when nothing more fits, ms.
const POLL_MS: u64 = 10;
/// How long the rest may take at the end.
const FLUSH: std::time::Duration = std::time::Duration::from_secs(30);

/// Counts delivery reports.
struct Reports {
    begun: Instant,
    measuring: AtomicBool,
    records: AtomicU64,
    latency: Mutex<Histogram<u64>>,
    refused: Mutex<Option<String>>,
}

#[derive(Clone)]
struct Context(Arc<Reports>);

impl ClientContext for Context {}

impl ProducerContext for Context {
    /// Nanoseconds from the beginning of the run to the sending.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, sent: usize) {
        let reports = &self.0;
        match result {
            Ok(_) if reports.measuring.load(Ordering::Relaxed) => {
                reports.records.fetch_add(1, Ordering::Relaxed);
                let took = nanos(reports.begun).saturating_sub(sent);
                let mut latency = reports.latency.lock().unwrap_or_else(PoisonError::into_inner);
                latency.saturating_record(took as u64);
            }
            Ok(_) => {}
            Err((error, _)) => {
                let mut refused = reports.refused.lock().unwrap_or_else(PoisonError::into_inner);
                refused.get_or_insert_with(|| error.to_string());
            }
        }
    }
}

fn nanos(since: Instant) -> usize {
    usize::try_from(since.elapsed().as_nanos()).unwrap_or(usize::MAX)
}

/// Drives the server with one producer.
///
/// # Errors
/// The first record that was refused; what librdkafka says.
pub fn drive(server: &Process, shape: Shape, seed: u64, plan: Plan) -> Result<Served, BenchError> {
    let reports = Arc::new(Reports {
        begun: Instant::now(),
        measuring: AtomicBool::new(false),
        records: AtomicU64::new(0),
        latency: Mutex::new(closed_loop::histogram()?),
        refused: Mutex::new(None),
    });
    let producer = producer(server, shape, &reports)?;
    let entropy = Entropy::seeded(seed);
    let value = || (0..shape.record.div_ceil(8)).flat_map(|_| entropy.u64().to_le_bytes());
    let values: Vec<Vec<u8>> = (0..VALUES).map(|_| value().take(shape.record as usize).collect()).collect();
    let send_for = |time| send(&producer, &values, &reports, time);
    send_for(plan.before)?;
    let (begun, cpu) = (Instant::now(), server.cpu_seconds()?);
    reports.measuring.store(true, Ordering::Relaxed);
    send_for(plan.measured)?;
    reports.measuring.store(false, Ordering::Relaxed);
    let (seconds, cpu_seconds) = (begun.elapsed().as_secs_f64(), server.cpu_seconds()? - cpu);
    producer.flush(FLUSH).map_err(refused)?;
    let latency = reports.latency.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let records = reports.records.load(Ordering::Relaxed);
    Ok(Served { seconds, records, bytes: records * u64::from(shape.record), latency, cpu_seconds })
}

fn producer(
    server: &Process,
    shape: Shape,
    reports: &Arc<Reports>,
) -> Result<BaseProducer<Context>, BenchError> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", server.address().to_string())
        .set("acks", "all")
        .set("compression.type", "none")
        .set("linger.ms", if shape.batch > 1 { "5" } else { "0" })
        .set("batch.num.messages", shape.batch.to_string())
        .set("batch.size", "4000000")
        .set("max.in.flight.requests.per.connection", shape.producers.to_string())
        .set(
            "queue.buffering.max.messages",
            (u64::from(shape.batch) * u64::from(shape.producers) * 4).to_string(),
        );
    config.create_with_context(Context(Arc::clone(reports))).map_err(refused)
}

fn send(
    producer: &BaseProducer<Context>,
    values: &[Vec<u8>],
    reports: &Reports,
    time: std::time::Duration,
) -> Result<(), BenchError> {
    let begun = Instant::now();
    for value in values.iter().cycle() {
        let mut record = BaseRecord::<(), [u8], usize>::with_opaque_to("bench", nanos(reports.begun));
        record = record.payload(value).partition(0);
        while let Err((error, back)) = producer.send(record) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(refused(error));
            }
            producer.poll(std::time::Duration::from_millis(POLL_MS));
            record = back;
        }
        if begun.elapsed() >= time {
            break;
        }
    }
    match reports.refused.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(why) => Err(BenchError::Refused(why)),
        None => Ok(()),
    }
}

fn refused(error: KafkaError) -> BenchError {
    BenchError::Refused(error.to_string())
}
