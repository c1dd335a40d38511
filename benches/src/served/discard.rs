//! A Kafka broker that throws away what it is sent and says that it is stored: what a client reaches here is the
//! client's own limit, and more cannot be asked of any server.

use std::io::Write;
use std::net::SocketAddr;

use bytes::{Buf, Bytes};
use tidelog_proto::kafka::api_versions::ApiVersionsResponse;
use tidelog_proto::kafka::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker, MetadataResponsePartition,
    MetadataResponseTopic,
};
use tidelog_proto::kafka::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceResponse,
};
use tidelog_proto::kafka::{ErrorCode, Request, RequestError, RequestHeader, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use crate::BenchError;
use crate::served::process::KAFKA;

/// Largest request, bytes.
const LONGEST: usize = 64 * 1024 * 1024;

/// Serves until the process is ended.
///
/// # Errors
/// When it cannot listen or cannot say where.
pub fn run(out: &mut dyn Write) -> Result<(), BenchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(BenchError::file("starting a runtime for", "the discarding server"))?;
    LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(BenchError::Connection)?;
        let address = listener.local_addr().map_err(BenchError::Connection)?;
        writeln!(out, "{KAFKA}{address}").and_then(|()| out.flush()).map_err(BenchError::Output)?;
        loop {
            let (stream, _) = listener.accept().await.map_err(BenchError::Connection)?;
            tokio::task::spawn_local(async move {
                // The client sees the end of its connection; there is nobody else to tell.
                let _ = serve(stream, address).await;
            });
        }
    })
}

async fn serve(mut stream: TcpStream, address: SocketAddr) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut frame = Vec::new();
    loop {
        let len = usize::try_from(stream.read_i32().await?).unwrap_or(usize::MAX);
        if len > LONGEST {
            return Err(std::io::Error::other(format!("a request of {len} bytes")));
        }
        frame.resize(len, 0);
        stream.read_exact(&mut frame).await?;
        if let Some(answer) = answer(&frame, address)? {
            let mut answer = Bytes::from(answer.concat());
            while answer.has_remaining() {
                stream.write_buf(&mut answer).await?;
            }
        }
    }
}

/// The whole response to a request; `None` when the client wants none.
fn answer(frame: &[u8], address: SocketAddr) -> std::io::Result<Option<Vec<Bytes>>> {
    let (header, request) = match RequestHeader::decode(frame) {
        Ok(decoded) => decoded,
        Err(RequestError::Version { correlation_id, .. }) => {
            // The client asks again with a version that it finds here.
            let body = Response::from(ApiVersionsResponse::all(ErrorCode::UnsupportedVersion.into()));
            return Ok(Some(body.encode(0, correlation_id)));
        }
        Err(error) => return Err(std::io::Error::other(error)),
    };
    let body: Response = match request {
        Request::ApiVersions(_) => ApiVersionsResponse::all(0).into(),
        Request::Metadata(request) => metadata(request, address).into(),
        Request::Produce(request) if request.acks == 0 => return Ok(None),
        Request::Produce(request) => stored(request).into(),
        _ => return Err(std::io::Error::other("only produce requests are thrown away here")),
    };
    Ok(Some(body.encode(header.version, header.correlation_id)))
}

/// Every topic that is asked for is there, with one partition.
fn metadata(request: MetadataRequest, address: SocketAddr) -> MetadataResponse {
    let topic = |name| MetadataResponseTopic {
        name: Some(name),
        partitions: vec![MetadataResponsePartition {
            leader_id: 1,
            replica_nodes: vec![1],
            isr_nodes: vec![1],
            ..MetadataResponsePartition::default()
        }],
        ..MetadataResponseTopic::default()
    };
    let (host, port) = (address.ip().to_string(), address.port().into());
    let names = request.topics.unwrap_or_default().into_iter().filter_map(|topic| topic.name);
    MetadataResponse {
        brokers: vec![MetadataResponseBroker { node_id: 1, host, port, rack: None }],
        controller_id: 1,
        topics: names.map(topic).collect(),
        ..MetadataResponse::default()
    }
}

fn stored(request: ProduceRequest) -> ProduceResponse {
    let topics = request.topic_data.into_iter().map(|topic| {
        let partitions = topic.partition_data.iter().map(|partition| PartitionProduceResponse {
            index: partition.index,
            ..PartitionProduceResponse::default()
        });
        TopicProduceResponse { name: topic.name, partition_responses: partitions.collect() }
    });
    ProduceResponse { responses: topics.collect(), throttle_time_ms: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidelog_proto::kafka::ask;
    use tidelog_proto::kafka::heartbeat::HeartbeatRequest;
    use tidelog_proto::kafka::metadata::MetadataRequestTopic;

    fn address() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 9))
    }

    /// What follows the length, as a connection reads it.
    fn asked<A: ask::Ask>(request: &A) -> Vec<u8> {
        ask::request(request, 5, "test").concat().split_off(4)
    }

    #[test]
    fn a_client_is_told_that_the_topic_lives_here_and_that_its_batch_is_stored() {
        let topic = MetadataRequestTopic { name: Some("t".to_owned()), ..MetadataRequestTopic::default() };
        let request = MetadataRequest { topics: Some(vec![topic]), ..MetadataRequest::default() };
        let frame = answer(&asked(&request), address()).unwrap().unwrap().concat();
        let (_, found) = ask::response::<MetadataRequest>(&frame[4..]).unwrap();
        assert_eq!(found.topics[0].partitions[0].leader_id, found.brokers[0].node_id);
        assert_eq!(found.brokers[0].port, 9);

        let request = ProduceRequest { acks: -1, ..ProduceRequest::default() };
        let frame = answer(&asked(&request), address()).unwrap().unwrap().concat();
        assert_eq!(ask::response::<ProduceRequest>(&frame[4..]).unwrap().0, 5);
        let silent = ProduceRequest { acks: 0, ..ProduceRequest::default() };
        assert!(answer(&asked(&silent), address()).unwrap().is_none());
    }

    #[test]
    fn what_is_no_load_ends_the_connection() {
        assert!(answer(&asked(&HeartbeatRequest::default()), address()).is_err());
        assert!(answer(b"short", address()).is_err());
    }
}
