//! Reading a request's body within the limits, and undoing its encoding.

use std::borrow::Cow;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT, HeaderName};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tidelog_proto::http::body::{BodyError, decompress};
use tidelog_proto::http::error::ErrorCode;

use crate::budget::Share;
use crate::failure::Failure;
use crate::node::Node;

/// What is left of a body that is too large is read and dropped up to this, so that the client gets to read the answer.
const DRAIN_BYTES: usize = 64 * 1024 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// Work on more bytes than this is kept off the threads that serve connections.
const INLINE_BYTES: usize = 128 * 1024;

/// A header's value as text; absent when it is not.
pub(super) fn header(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Reads a whole body. What is held is charged to `share`.
pub(super) async fn read(
    node: &Node,
    headers: &HeaderMap,
    mut body: Body,
    share: &mut Share,
) -> Result<BytesMut, Failure> {
    let max = node.config.limits.request_bytes;
    let too_large = || Failure::from(&BodyError::TooLarge { what: "has", max });
    let announced = header(headers, CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    if announced.is_some_and(|len| len > max) {
        // Who asks first sends nothing when told no.
        if !headers.contains_key(EXPECT) {
            drain(body).await;
        }
        return Err(too_large());
    }
    let expected = usize::try_from(announced.unwrap_or(0)).unwrap_or(usize::MAX);
    if let Err(refused) = share.grow(expected) {
        drain(body).await;
        return Err(refused.into());
    }
    let mut bytes = BytesMut::with_capacity(expected);
    while let Some(data) = next(node, &mut body).await? {
        if (bytes.len() + data.len()) as u64 > max {
            drain(body).await;
            return Err(too_large());
        }
        let more = (bytes.len() + data.len()).saturating_sub(expected.max(bytes.len()));
        if let Err(refused) = share.grow(more) {
            drain(body).await;
            return Err(refused.into());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

async fn next(node: &Node, body: &mut Body) -> Result<Option<Bytes>, Failure> {
    let idle = Duration::from_millis(node.config.limits.idle_timeout_ms);
    let stalled = || {
        let message = format!("no more of the body came for {} ms", idle.as_millis());
        Failure::new(ErrorCode::InvalidBody, message)
    };
    loop {
        let frame = match tokio::time::timeout(idle, body.frame()).await.map_err(|_| stalled())? {
            None => return Ok(None),
            Some(frame) => frame,
        };
        let cut = |cause| Failure::new(ErrorCode::InvalidBody, format!("the body is not whole: {cause}"));
        // Trailers are of no interest.
        if let Ok(data) = frame.map_err(cut)?.into_data() {
            return Ok(Some(data));
        }
    }
}

/// Takes the body off the connection and drops it, so that the client gets to read the answer and can ask again.
pub(super) async fn drain(mut body: Body) {
    let reading = async {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > DRAIN_BYTES {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN_TIME, reading).await;
}

/// Undoes the `Content-Encoding`. What it unfolds to is charged to `share`.
pub(super) fn decoded<'a>(
    node: &Node,
    headers: &HeaderMap,
    body: &'a [u8],
    share: &mut Share,
) -> Result<Cow<'a, [u8]>, Failure> {
    let encoding = match headers.get(CONTENT_ENCODING) {
        None => None,
        Some(value) => Some(value.to_str().unwrap_or("?")),
    };
    let decoded = decompress(encoding, body, &node.config.limits).map_err(|error| Failure::from(&error))?;
    if let Cow::Owned(bytes) = &decoded {
        share.grow(bytes.len())?;
    }
    Ok(decoded)
}

/// Runs work on `len` bytes, where it does not hold up other connections when there are many.
pub(super) fn work<T>(len: usize, work: impl FnOnce() -> T) -> T {
    if len > INLINE_BYTES { tokio::task::block_in_place(work) } else { work() }
}
