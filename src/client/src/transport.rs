//! # Purpose
//! One HTTP request at a time over pooled connections, and the rule for trying again.
//!
//! # Invariants
//! A request that may have taken effect is sent again only when sending it twice does no harm. A pooled connection
//! that turns out closed before anything was written is replaced silently.

use std::error::Error as StdError;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tidelog_proto::http::error::{ErrorAnswer, ErrorCode};

use crate::Error;
use crate::address::Address;
use crate::options::{Backoff, Options};

/// Most bytes of an answer that are taken: a read's batches, or the description of 100,000 partitions.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
/// An idle connection is given up after this, well before the server closes it.
const POOL_IDLE: Duration = Duration::from_secs(60);

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) method: Method,
    /// Path and query, encoded.
    pub(crate) path: String,
    pub(crate) accept: &'static str,
    pub(crate) content_type: Option<&'static str>,
    pub(crate) body: Bytes,
    /// How long the server may wait on purpose, beside the request timeout.
    pub(crate) wait: Duration,
}

impl Ask {
    pub(crate) fn new(method: Method, path: String) -> Ask {
        let accept = tidelog_proto::http::body::JSON;
        Ask { method, path, accept, content_type: None, body: Bytes::new(), wait: Duration::ZERO }
    }

    pub(crate) fn body(mut self, content_type: &'static str, body: Bytes) -> Ask {
        self.content_type = Some(content_type);
        self.body = body;
        self
    }
}

/// Connections to one server.
#[derive(Debug)]
pub(crate) struct Transport {
    address: Address,
    options: Options,
    http: legacy::Client<HttpConnector, Full<Bytes>>,
}

impl Transport {
    pub(crate) fn new(address: Address, options: Options) -> Transport {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(options.connect_timeout));
        let http = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .build(connector);
        Transport { address, options, http }
    }

    /// HOST:PORT.
    pub(crate) fn server(&self) -> &str {
        self.address.as_str()
    }

    /// How long a request is tried again.
    pub(crate) fn retry_for(&self) -> Duration {
        self.options.retry_for
    }

    /// For requests that change nothing, or that do no harm when they arrive twice.
    pub(crate) async fn repeatable(&self, ask: &Ask) -> Result<Bytes, Error> {
        self.with_retries(ask, Error::is_passing).await
    }

    /// For all other requests: tried again only when the server certainly did nothing.
    pub(crate) async fn unrepeatable(&self, ask: &Ask) -> Result<Bytes, Error> {
        self.with_retries(ask, Error::is_unstarted).await
    }

    async fn with_retries(&self, ask: &Ask, again: impl Fn(&Error) -> bool) -> Result<Bytes, Error> {
        let mut backoff = Backoff::new(self.options.retry_for);
        loop {
            let error = match self.once(ask).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            match backoff.pause().filter(|_| again(&error)) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            }
        }
    }

    /// One try.
    pub(crate) async fn once(&self, ask: &Ask) -> Result<Bytes, Error> {
        let after = self.options.request_timeout.saturating_add(ask.wait);
        match tokio::time::timeout(after, self.exchange(ask)).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout { server: self.server().to_owned(), after }),
        }
    }

    async fn exchange(&self, ask: &Ask) -> Result<Bytes, Error> {
        let response = self.http.request(self.request(ask)?).await.map_err(|error| self.failed(&error))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|cause| self.broken(innermost(&*cause)))?.to_bytes();
        if head.status.is_success() {
            return Ok(body);
        }
        Err(refusal(head.status, &body))
    }

    fn request(&self, ask: &Ask) -> Result<Request<Full<Bytes>>, Error> {
        let mut request = Request::new(Full::new(ask.body.clone()));
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = self.address.uri(&ask.path)?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(ask.accept));
        if let Some(content_type) = ask.content_type {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        Ok(request)
    }

    fn failed(&self, error: &legacy::Error) -> Error {
        let cause = innermost(error);
        if error.is_connect() {
            return Error::Unreachable { server: self.server().to_owned(), cause };
        }
        self.broken(cause)
    }

    fn broken(&self, cause: String) -> Error {
        Error::Broken { server: self.server().to_owned(), cause }
    }

    /// An answer that makes no sense.
    pub(crate) fn not_understood(&self, what: &str, cause: impl ToString) -> Error {
        Error::Decode { server: self.server().to_owned(), what: what.to_owned(), cause: cause.to_string() }
    }
}

/// The error that an answer without success stands for.
fn refusal(status: StatusCode, body: &[u8]) -> Error {
    let (code, message) = match serde_json::from_slice::<ErrorAnswer>(body) {
        Ok(answer) => (answer.error.code, answer.error.message),
        Err(_) => {
            let reason = status.canonical_reason().unwrap_or("an unknown status");
            (ErrorCode::Unknown, format!("the server answered `{reason}`; is it a Tidelog server?"))
        }
    };
    match status {
        StatusCode::NOT_FOUND if code != ErrorCode::Unknown => Error::NotFound { code, message },
        _ => Error::Status { status: status.as_u16(), code, message },
    }
}

/// The words of the last error in the chain, which tell most.
fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
