//! A request over the limit. The protocol has an answer for a produce request alone, and only by partition: the first one
//! of it is told that it sent too much, by which clients give up instead of sending it again. The connection ends behind
//! it; what was for other partitions comes again without the first.

use std::time::Duration;

use bytes::BytesMut;
use tidelog_proto::kafka::produce::{PartitionProduceResponse, ProduceResponse, TopicProduceResponse};
use tidelog_proto::kafka::produce_start::ProduceStart;
use tidelog_proto::kafka::{ErrorCode, RequestHeader, Response};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::timeout;

/// Bytes that are read past at once.
const STEP: usize = 16 * 1024;

/// The answer, if there is one to the request that begins so.
pub(super) fn answer(start: &[u8], why: &str) -> Option<(RequestHeader, Response)> {
    let ProduceStart { header, acks, topic, partition } = ProduceStart::read(start)?;
    if acks == 0 {
        return None;
    }
    let refused = PartitionProduceResponse {
        index: partition,
        error_code: ErrorCode::MessageTooLarge.into(),
        base_offset: -1,
        error_message: Some(why.to_owned()),
        ..PartitionProduceResponse::default()
    };
    let topic = TopicProduceResponse { name: topic, partition_responses: vec![refused] };
    Some((header, ProduceResponse { responses: vec![topic], throttle_time_ms: 0 }.into()))
}

/// Reads past the rest of a request: a client that still sends does not look for an answer.
pub(super) async fn skip(read: &mut OwnedReadHalf, mut left: usize, idle: Duration) {
    let mut scratch = BytesMut::with_capacity(STEP);
    while left > 0 {
        scratch.clear();
        match timeout(idle, read.read_buf(&mut scratch)).await {
            Ok(Ok(count @ 1..)) => left = left.saturating_sub(count),
            // It has gone, or sends nothing.
            _ => return,
        }
    }
}
