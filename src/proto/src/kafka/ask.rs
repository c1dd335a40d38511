//! The client's side: a request written, its response read. The same tables of fields as the server's.

use bytes::Bytes;

use super::api::ApiKey;
use super::field::Field;
use super::wire::{Layout, Reader, WireError, Writer};

/// A request, with the response that it gets.
pub trait Ask: Field {
    /// The response.
    type Answer: Field;
    /// The API that both belong to.
    const API: ApiKey;
}

/// A request as a frame, in the newest version that is spoken here.
pub fn request<A: Ask>(body: &A, correlation_id: i32, client_id: &str) -> Vec<Bytes> {
    let version = *A::API.versions().end();
    let layout = A::API.layout(version);
    let mut writer = Writer::new();
    writer.put(&A::API.number().to_be_bytes());
    writer.put(&version.to_be_bytes());
    writer.put(&correlation_id.to_be_bytes());
    // The header's text is of the classic encoding in every version.
    writer.text(Some(client_id), Layout { version, flexible: false });
    if layout.flexible {
        writer.tagged(Vec::new());
    }
    body.write(&mut writer, layout);
    writer.into_frame()
}

/// The response to a [`request`]: its correlation id and body. `frame` is what follows the length.
///
/// # Errors
/// When the bytes are no such response.
pub fn response<A: Ask>(frame: &[u8]) -> Result<(i32, A::Answer), WireError> {
    let layout = A::API.layout(*A::API.versions().end());
    let mut reader = Reader::new(frame);
    let correlation_id = i32::from_be_bytes(reader.array()?);
    if layout.flexible && A::API != ApiKey::ApiVersions {
        reader.tagged(|_, _| Ok(()))?;
    }
    let answer = Field::read(&mut reader, layout)?;
    reader.finish()?;
    Ok((correlation_id, answer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::heartbeat::{HeartbeatRequest, HeartbeatResponse};
    use crate::kafka::{Request, RequestHeader, Response};

    #[test]
    fn what_a_client_writes_the_server_reads_and_the_other_way_round() {
        let asked =
            HeartbeatRequest { group_id: "g".to_owned(), generation_id: 3, ..HeartbeatRequest::default() };
        let frame = request(&asked, 77, "me").concat();
        let (header, read) = RequestHeader::decode(&frame[4..]).unwrap();
        assert_eq!((header.api, header.version, header.correlation_id), (ApiKey::Heartbeat, 4, 77));
        assert_eq!(header.client_id.as_deref(), Some("me"));
        assert_eq!(read, Request::Heartbeat(asked));
        let answer = HeartbeatResponse { error_code: 27, throttle_time_ms: 0 };
        let frame = Response::from(answer.clone()).encode(header.version, header.correlation_id).concat();
        assert_eq!(response::<HeartbeatRequest>(&frame[4..]).unwrap(), (77, answer));
        assert!(response::<HeartbeatRequest>(&frame[4..frame.len() - 1]).is_err());
    }
}
