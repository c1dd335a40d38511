//! Producing and reading records.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use tidelog_format::batch::split;
use tidelog_proto::http::answers::ProduceAnswer;
use tidelog_proto::http::body::{BodyFormat, NDJSON, RAW_BATCH};
use tidelog_proto::http::error::ErrorCode;
use tidelog_proto::http::read_query::{ReadQuery, parse_produce_query};
use tidelog_proto::http::records::decode;

use super::answer::{json, typed};
use super::body;
use crate::budget::Share;
use crate::failure::Failure;
use crate::node::{LiveTopic, Node};
use crate::older;
use crate::produce::{self, Batches, CollectError, Collector};
use crate::read;
use crate::routing::forward::{self, Ask, Hop, Led};

const HIGH_WATERMARK: HeaderName = HeaderName::from_static("tidelog-high-watermark");
const START: HeaderName = HeaderName::from_static("tidelog-log-start");

/// `POST /v1/topics/T/records`.
pub(super) async fn produce(
    State(node): State<Arc<Node>>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Failure> {
    // First of all: a connection can go on only when the body has been taken off it.
    let mut share = node.budget.share();
    let bytes = body::read(&node, &headers, request, &mut share).await?;
    let name = segment(path)?;
    let partition = parse_produce_query(query.as_deref().unwrap_or_default())?;
    let format = BodyFormat::from_content_type(content_type(&headers)?);
    let format = format.map_err(|error| Failure::from(&error))?;
    if node.is_stopping() {
        return Err(Failure::stopping());
    }
    let hop = Hop::of(&headers);
    let topic = match hop {
        Hop::First => node.topic_to_write(&name).await?,
        // A topic that was deleted meanwhile is not made again by what was under way.
        Hop::Last => node.topic_heard_of(&name).await?,
    };
    if let Some(partition) = partition {
        topic.partition(partition)?;
    }
    let len = bytes.len();
    let mut batches = body::work(len, || match format {
        BodyFormat::RawBatch => raw(&node, &headers, bytes, partition, &mut share),
        _ => collect(&node, &topic, format, &headers, &bytes, partition, &mut share),
    })?;
    let partitions = produce::append(&node, &topic, &mut batches, hop).await?;
    Ok(json(&ProduceAnswer { partitions }))
}

fn content_type(headers: &HeaderMap) -> Result<Option<&str>, Failure> {
    let text = headers.get(CONTENT_TYPE).map(HeaderValue::to_str).transpose();
    text.map_err(|_| Failure::new(ErrorCode::UnsupportedMediaType, "the Content-Type is not plain text"))
}

fn collect(
    node: &Node,
    topic: &LiveTopic,
    format: BodyFormat,
    headers: &HeaderMap,
    bytes: &[u8],
    partition: Option<u32>,
    share: &mut Share,
) -> Result<Batches, Failure> {
    let decoded = body::decoded(node, headers, bytes, share)?;
    let (mut collector, mut refused) = (Collector::new(node, topic), None);
    let now = node.clock.now_ms();
    let mut number = 0_u64;
    let read = decode(format, &decoded, &node.config.limits, |record| {
        number += 1;
        if refused.is_some() {
            return;
        }
        let pushed = collector.push(record.partition.or(partition), &record.as_record(now));
        refused = pushed.err().map(|error| (number, error));
    });
    read.map_err(|error| Failure::from(&error))?;
    if let Some((number, error)) = refused {
        return Err(match error {
            CollectError::NoPartition(wanted) => {
                Failure::no_partition(&topic.name, wanted, topic.partitions.len())
            }
            CollectError::Batch(error) => {
                let failure = Failure::from(error);
                Failure::new(failure.code, format!("record {number}: {}", failure.message))
            }
        });
    }
    share.grow(collector.len())?;
    Ok(collector.finish()?)
}

fn raw(
    node: &Node,
    headers: &HeaderMap,
    bytes: BytesMut,
    partition: Option<u32>,
    share: &mut Share,
) -> Result<Batches, Failure> {
    let no_partition = || Failure::new(ErrorCode::InvalidParameter, "record batches need `?partition=N`");
    let partition = partition.ok_or_else(no_partition)?;
    let bytes = match body::decoded(node, headers, &bytes, share)? {
        std::borrow::Cow::Borrowed(_) => bytes,
        std::borrow::Cow::Owned(bytes) => BytesMut::from(Bytes::from(bytes)),
    };
    let batches = split(bytes)?;
    let (mut scratch, mut records, limits) = (Vec::new(), 0_u64, &node.config.limits);
    for batch in &batches {
        if batch.len() as u64 > limits.batch_bytes {
            let message = format!("a batch has {} bytes, the limit is {}", batch.len(), limits.batch_bytes);
            return Err(Failure::new(ErrorCode::TooLarge, message));
        }
        records += u64::from(batch.count());
        batch.validate_records_with(&mut scratch)?;
    }
    if records > limits.records_per_request {
        let message =
            format!("{records} records in one request, the limit is {}", limits.records_per_request);
        return Err(Failure::new(ErrorCode::TooLarge, message));
    }
    Ok(if batches.is_empty() { Batches::new() } else { Batches::from([(partition, batches)]) })
}

/// `GET /v1/topics/T/partitions/P/records`.
pub(super) async fn read(
    State(node): State<Arc<Node>>,
    path: Result<Path<(String, String)>, PathRejection>,
    RawQuery(query): RawQuery,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (name, partition) = segments(path)?;
    let query = ReadQuery::parse(query.as_deref().unwrap_or_default(), &node.config.limits)?;
    let topic = node.topic(&name).ok_or_else(|| Failure::no_topic(&name))?;
    let mut share = node.budget.share();
    let live = topic.partition(partition)?;
    if let Some(shard) = body::header(&headers, older::PLACE).and_then(|shard| shard.parse().ok()) {
        let fetched = older::give(&node, live, shard, &query).await?;
        share.grow(fetched.batches.iter().map(Bytes::len).sum())?;
        return Ok(typed(200, RAW_BATCH, read::Found { from: 0, fetched }.into_raw()));
    }
    let serves = if query.any_holder { live.held().is_ok() } else { live.led().is_ok() };
    if !serves && Hop::of(&headers) == Hop::First {
        let mut ask = Ask::of(Method::GET, &uri, &headers, Bytes::new());
        ask.wait = Duration::from_millis(query.wait_ms);
        let led = tokio::select! {
            led = forward::to_leader(&node, &name, partition, &ask) => led?,
            () = node.until_stopping() => return Err(Failure::stopping()),
        };
        if let Led::Answer(answer) = led {
            share.grow(answer.body.len())?;
            return Ok(answer.into_response());
        }
    }
    let found = tokio::select! {
        found = read::read(&node, &topic, partition, &query) => found.inspect_err(|failure| {
            if failure.code == ErrorCode::CorruptStorage && let Ok(live) = topic.partition(partition) {
                node.met_damage(live.shard);
            }
        })?,
        () = node.until_stopping() => return Err(Failure::stopping()),
    };
    let bytes: usize = found.fetched.batches.iter().map(Bytes::len).sum();
    share.grow(bytes)?;
    let (log_start, next_offset) = (found.fetched.log_start, found.fetched.next_offset);
    let raw = body::header(&headers, ACCEPT).is_some_and(|accept| accept.contains(RAW_BATCH));
    let mut response = if raw {
        typed(200, RAW_BATCH, found.into_raw())
    } else {
        typed(200, NDJSON, body::work(bytes, || found.lines(query.max_bytes))?)
    };
    response.headers_mut().insert(HIGH_WATERMARK, HeaderValue::from(next_offset));
    response.headers_mut().insert(START, HeaderValue::from(log_start));
    Ok(response)
}

/// The topic of a path.
pub(super) fn segment(path: Result<Path<String>, PathRejection>) -> Result<String, Failure> {
    path.map(|Path(name)| name).map_err(|error| not_text(&error))
}

/// Topic and partition of a path.
pub(super) fn segments(
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<(String, u32), Failure> {
    let Path((name, partition)) = path.map_err(|error| not_text(&error))?;
    match partition.parse() {
        Ok(number) if !partition.starts_with('+') => Ok((name, number)),
        _ => {
            let shown: String = partition.chars().filter(|c| !c.is_control()).take(64).collect();
            let message = format!("a partition is a number, not `{shown}`");
            Err(Failure::new(ErrorCode::InvalidParameter, message))
        }
    }
}

fn not_text(error: &PathRejection) -> Failure {
    Failure::new(ErrorCode::InvalidParameter, format!("the path is not understood: {error}"))
}
