//! # Purpose
//! Requests that another node has to answer: HTTP and OpenTSDB clients may be given any node, and this one has the leader
//! answer for it.
//!
//! # Invariants
//! A request is handed on once: who gets one with [`FORWARDED`] answers it itself or says that it does not lead. One that
//! may have been carried out is not sent again, unless that does no harm.
//!
//! # Limits
//! Bytes on their way to and from all other nodes: [`ROOM`]; who finds no room waits. A leader that is not reached, or leads
//! no more, is looked for again during [`PATIENCE`].

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use serde::de::DeserializeOwned;
use tidelog_format::batch::Batch;
use tidelog_proto::http::answers::{PartitionWritten, ProduceAnswer};
use tidelog_proto::http::body::{JSON, RAW_BATCH};
use tidelog_proto::http::error::{ErrorAnswer, ErrorCode};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::seat;
use crate::config::Advertised;
use crate::failure::Failure;
use crate::node::{LiveTopic, Node};
use crate::older::PLACE;

/// Names the node that hands a request on.
pub(crate) const FORWARDED: HeaderName = HeaderName::from_static("tidelog-forwarded");

/// How long the leader of a partition is looked for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);
const CONNECT: Duration = Duration::from_secs(2);
/// How long an answer may take that waits for nothing.
const ANSWER: Duration = Duration::from_secs(30);
/// An idle connection is given up after this, before the other side does.
const IDLE: Duration = Duration::from_secs(30);
/// KiB on their way at a time, and what a request is counted with beside its body.
const ROOM: u32 = 64 * 1024;
const LEAST: usize = 4;
/// Most bytes of an answer.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// Headers of a request and of its answer that are handed on.
const ASKED: [HeaderName; 3] = [ACCEPT, CONTENT_TYPE, CONTENT_ENCODING];

/// Whether a request may be handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hop {
    /// It comes from a client.
    First,
    /// Another node has handed it on already.
    Last,
}

impl Hop {
    pub(crate) fn of(headers: &HeaderMap) -> Hop {
        if headers.contains_key(FORWARDED) { Hop::Last } else { Hop::First }
    }
}

/// When a request may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// It does no harm when it arrives twice.
    Always,
    /// When it was refused nothing was done.
    IfRefused,
}

/// A request to be handed on.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    /// Path and query, as they came.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// How long the answer may be waited for on purpose, beside [`ANSWER`].
    pub(crate) wait: Duration,
    pub(crate) again: Again,
}

impl Ask {
    /// A request that changes nothing.
    pub(crate) fn get(path: String) -> Ask {
        let (headers, body) = (HeaderMap::new(), Bytes::new());
        Ask { method: Method::GET, path, headers, body, wait: Duration::ZERO, again: Again::Always }
    }

    /// As what the answer is wanted.
    pub(crate) fn accept(&mut self, kind: &'static str) {
        self.headers.insert(ACCEPT, HeaderValue::from_static(kind));
    }

    /// Where its records are to be looked for, and nowhere else.
    pub(crate) fn in_place(&mut self, shard: u64) {
        self.headers.insert(PLACE, HeaderValue::from(shard));
    }

    /// A client's request other than one to produce, with what the leader has to know of its headers.
    pub(crate) fn of(method: Method, uri: &Uri, headers: &HeaderMap, body: Bytes) -> Ask {
        let path = uri.path_and_query().map_or(uri.path(), |path| path.as_str()).to_owned();
        let kept = ASKED.iter().filter_map(|name| Some((name.clone(), headers.get(name)?.clone())));
        let again = if method == Method::DELETE { Again::IfRefused } else { Again::Always };
        Ask { method, path, headers: kept.collect(), body, wait: Duration::ZERO, again }
    }
}

/// What another node answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// To be given to the client as it came.
    pub(crate) fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }

    /// As it is.
    ///
    /// # Errors
    /// It was refused.
    pub(crate) fn into_raw(self) -> Result<Bytes, Failure> {
        self.refusal().map_or(Ok(self.body), Err)
    }

    /// As JSON.
    ///
    /// # Errors
    /// It was refused, or is something else.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        let foreign = |cause: serde_json::Error| {
            Failure::new(ErrorCode::Internal, format!("another node's answer is not understood: {cause}"))
        };
        serde_json::from_slice(&self.body).map_err(foreign)
    }

    /// Why it was refused.
    fn refusal(&self) -> Option<Failure> {
        if self.status.is_success() {
            return None;
        }
        let said = serde_json::from_slice::<ErrorAnswer>(&self.body);
        let foreign = |_| Failure::new(ErrorCode::Unavailable, format!("it answered {}", self.status));
        Some(said.map_or_else(foreign, Failure::from))
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    /// The request was not sent.
    #[error("{0}")]
    NotSent(String),
    /// It may have been carried out, or may still be.
    #[error("{0}")]
    Unknown(String),
}

impl Unanswered {
    /// Whether another try does no harm.
    fn is_passing(&self, again: Again) -> bool {
        matches!(self, Unanswered::NotSent(_)) || again == Again::Always
    }
}

/// What became of a request to a leader.
pub(crate) enum Led {
    /// This node leads by now.
    Here,
    Answer(Answer),
}

enum Way {
    Here,
    There(u64, Advertised),
    Nobody,
}

/// The connections to other nodes' HTTP ports.
#[derive(Debug)]
pub(crate) struct Forward {
    http: legacy::Client<HttpConnector, Full<Bytes>>,
    room: Semaphore,
    forwarded: Counter,
    failed: Counter,
    again: Counter,
    under_way: Gauge<i64, AtomicI64>,
}

impl Default for Forward {
    fn default() -> Forward {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Forward {
            http,
            room: Semaphore::new(ROOM as usize),
            forwarded: Counter::default(),
            failed: Counter::default(),
            again: Counter::default(),
            under_way: Gauge::default(),
        }
    }
}

/// One more request is under way, until this is dropped.
struct UnderWay<'a> {
    forward: &'a Forward,
    _room: SemaphorePermit<'a>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.forward.under_way.inner().fetch_sub(1, Ordering::Relaxed);
    }
}

impl Forward {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let help = "Requests handed on to the node that leads, and answered";
        registry.register("forwarded_requests", help, self.forwarded.clone());
        let help = "Requests handed on that got no answer";
        registry.register("forwarded_failures", help, self.failed.clone());
        let help = "Times that a leader was looked for again";
        registry.register("forwarded_again", help, self.again.clone());
        let help = "Requests that other nodes are answering now";
        registry.register("forwarded_under_way", help, self.under_way.clone());
    }

    async fn begin(&self, bytes: usize) -> Result<UnderWay<'_>, Unanswered> {
        let wanted = u32::try_from(bytes / 1024 + LEAST).unwrap_or(u32::MAX).min(ROOM);
        // It is never closed.
        let room = self.room.acquire_many(wanted).await;
        let room = room.map_err(|closed| Unanswered::NotSent(closed.to_string()))?;
        self.under_way.inner().fetch_add(1, Ordering::Relaxed);
        Ok(UnderWay { forward: self, _room: room })
    }

    async fn once(&self, from: u64, to: &Advertised, ask: &Ask) -> Result<Answer, Unanswered> {
        let _under_way = self.begin(ask.body.len()).await?;
        let answered = match tokio::time::timeout(ANSWER + ask.wait, self.exchange(from, to, ask)).await {
            Ok(answered) => answered,
            Err(_) => Err(Unanswered::Unknown(format!("{to} does not answer"))),
        };
        let counter = if answered.is_ok() { &self.forwarded } else { &self.failed };
        counter.inc();
        answered
    }

    async fn exchange(&self, from: u64, to: &Advertised, ask: &Ask) -> Result<Answer, Unanswered> {
        let not_sent = |cause: String| Unanswered::NotSent(format!("{to}: {cause}"));
        let mut request = Request::new(Full::new(ask.body.clone()));
        *request.method_mut() = ask.method.clone();
        let uri = Uri::builder().scheme("http").authority(to.to_string()).path_and_query(ask.path.as_str());
        *request.uri_mut() = uri.build().map_err(|cause| not_sent(cause.to_string()))?;
        *request.headers_mut() = ask.headers.clone();
        request.headers_mut().insert(FORWARDED, HeaderValue::from(from));
        let response = self.http.request(request).await.map_err(|cause| match cause.is_connect() {
            true => not_sent("it cannot be reached".to_owned()),
            false => Unanswered::Unknown(format!("{to}: {cause}")),
        })?;
        let (mut head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|cause| Unanswered::Unknown(format!("{to}: {cause}")))?.to_bytes();
        // What concerns that connection alone.
        for name in
            [hyper::header::CONNECTION, hyper::header::TRANSFER_ENCODING, hyper::header::CONTENT_LENGTH]
        {
            head.headers.remove(name);
        }
        Ok(Answer { status: head.status, headers: head.headers, body })
    }
}

/// Has a node answer.
///
/// # Errors
/// It is not reached, or does not answer.
pub(crate) async fn to_node(node: &Node, to: u64, ask: &Ask) -> Result<Answer, Failure> {
    let at = node.metadata.read(|state| state.nodes.get(&to).and_then(super::reached_by_http));
    let at = at.ok_or_else(|| unavailable(format!("node {to} has told no address for HTTP")))?;
    let answered = node.forward.once(node.me.node, &at, ask).await;
    answered.map_err(|unanswered| unavailable(format!("node {to} at {unanswered}")))
}

/// Has the leader of a partition answer, whoever that is by then.
///
/// # Errors
/// There is no such partition, nobody leads it, or its leader is not reached or does not answer.
pub(crate) async fn to_leader(node: &Node, topic: &str, partition: u32, ask: &Ask) -> Result<Led, Failure> {
    let (end, mut routed) = (Instant::now() + PATIENCE, node.routed());
    loop {
        routed.borrow_and_update();
        let why = match way(node, topic, partition)? {
            Way::Here => return Ok(Led::Here),
            Way::Nobody => "nobody leads it at present".to_owned(),
            Way::There(leader, at) => match node.forward.once(node.me.node, &at, ask).await {
                Ok(answer) => match answer.refusal().filter(is_passing) {
                    Some(refusal) => format!("node {leader}: {}", refusal.message),
                    None => return Ok(Led::Answer(answer)),
                },
                Err(unanswered) if unanswered.is_passing(ask.again) => {
                    format!("node {leader} at {unanswered}")
                }
                Err(unanswered) => {
                    let message =
                        format!("partition {partition} of `{topic}`, node {leader} at {unanswered}");
                    return Err(unavailable(format!("{message}; the records may have been stored")));
                }
            },
        };
        if Instant::now() >= end || node.is_stopping() {
            return Err(unavailable(format!("partition {partition} of topic `{topic}`: {why}")));
        }
        tracing::debug!(topic, partition, why, "the leader is looked for again");
        node.forward.again.inc();
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            _ = routed.changed() => {}
        }
    }
}

/// Whether another try may find the leader: this one did nothing. With the last two the leader has not heard of the topic yet.
fn is_passing(refusal: &Failure) -> bool {
    use ErrorCode::{NotLeader, ShuttingDown, UnknownPartition, UnknownTopic};
    matches!(refusal.code, NotLeader | ShuttingDown | UnknownTopic | UnknownPartition)
}

fn way(node: &Node, topic: &str, partition: u32) -> Result<Way, Failure> {
    let live = node.topic(topic).ok_or_else(|| Failure::no_topic(topic))?;
    let partition = live.partition(partition)?;
    if partition.led().is_ok() {
        return Ok(Way::Here);
    }
    Ok(node.metadata.read(|state| {
        let leader = seat(state, partition.shard).leader.filter(|leader| *leader != node.me.node);
        let reached =
            leader.and_then(|leader| Some((leader, super::reached_by_http(state.nodes.get(&leader)?)?)));
        reached.map_or(Way::Nobody, |(leader, at)| Way::There(leader, at))
    }))
}

fn unavailable(message: String) -> Failure {
    Failure::new(ErrorCode::Unavailable, message)
}

/// Has the leader of a partition append batches; `None` when that is this node by now. It tells of all of them, or of the first
/// ones, when it came to lead no more behind those.
///
/// # Errors
/// As [`to_leader`], or why the leader does not take them.
pub(crate) async fn append(
    node: &Node,
    topic: &LiveTopic,
    partition: u32,
    batches: &[Batch],
) -> Result<Option<PartitionWritten>, Failure> {
    let path = format!("/v1/topics/{}/records?partition={partition}", topic.name);
    let mut body = BytesMut::with_capacity(batches.iter().map(Batch::len).sum());
    batches.iter().for_each(|batch| body.extend_from_slice(batch.bytes()));
    let headers = HeaderMap::from_iter([
        (CONTENT_TYPE, HeaderValue::from_static(RAW_BATCH)),
        (ACCEPT, HeaderValue::from_static(JSON)),
    ]);
    // As long as the leader itself waits for the others' disks, if it is set as this node is.
    let wait = Duration::from_millis(node.config.limits.produce_wait_ms);
    let ask = Ask { method: Method::POST, path, headers, body: body.freeze(), wait, again: Again::IfRefused };
    match to_leader(node, &topic.name, partition, &ask).await? {
        Led::Here => Ok(None),
        Led::Answer(answer) => written(&answer, partition).map(Some),
    }
}

fn written(answer: &Answer, partition: u32) -> Result<PartitionWritten, Failure> {
    let read: ProduceAnswer = answer.read()?;
    let found = read.partitions.into_iter().find(|one| one.partition == partition);
    found.ok_or_else(|| Failure::new(ErrorCode::Internal, "the leader's answer is not understood"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: ErrorCode) -> Answer {
        let body = ErrorAnswer::new(code, "why").to_json().into();
        let status = StatusCode::from_u16(code.status()).unwrap();
        Answer { status, headers: HeaderMap::new(), body }
    }

    #[test]
    fn what_may_have_been_stored_is_not_sent_again() {
        let again = |code| answer(code).refusal().as_ref().is_some_and(is_passing);
        let nothing_done = [
            ErrorCode::NotLeader,
            ErrorCode::ShuttingDown,
            ErrorCode::UnknownTopic,
            ErrorCode::UnknownPartition,
        ];
        for code in ErrorCode::ALL {
            assert_eq!(again(*code), nothing_done.contains(code), "{code}");
        }
        let (not_sent, unknown) = (Unanswered::NotSent(String::new()), Unanswered::Unknown(String::new()));
        assert!(not_sent.is_passing(Again::IfRefused) && not_sent.is_passing(Again::Always));
        assert!(!unknown.is_passing(Again::IfRefused) && unknown.is_passing(Again::Always));
    }

    #[test]
    fn a_leader_s_refusal_is_the_client_s() {
        assert_eq!(written(&answer(ErrorCode::StorageFull), 0).unwrap_err().code, ErrorCode::StorageFull);
        let body = Bytes::from_static(br#"{"partitions":[{"partition":3,"base_offset":7,"count":2}]}"#);
        let stored = Answer { status: StatusCode::OK, headers: HeaderMap::new(), body };
        let written_there = PartitionWritten { partition: 3, base_offset: 7, count: 2 };
        assert_eq!(written(&stored, 3), Ok(written_there));
        assert_eq!(written(&stored, 2).unwrap_err().code, ErrorCode::Internal);
    }

    #[test]
    fn a_request_is_handed_on_once() {
        let mut headers = HeaderMap::new();
        assert_eq!(Hop::of(&headers), Hop::First);
        headers.insert(FORWARDED, HeaderValue::from(1));
        assert_eq!(Hop::of(&headers), Hop::Last);
    }
}
