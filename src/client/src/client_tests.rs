use std::sync::atomic::{AtomicUsize, Ordering};

use tidelog_format::batch::{BatchBuilder, Codec, Record};

use super::*;
use crate::scripted::{Reply, client, serve};

fn batch() -> Batch {
    let mut builder = BatchBuilder::new(Codec::None);
    builder.push(&Record { value: Some(b"x"), ..Record::default() }).unwrap();
    builder.finish().unwrap()
}

#[tokio::test]
async fn a_port_without_a_server_is_unreachable_and_names_its_address() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let error = Client::connect(&address).await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { server, .. } if *server == address), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn requests_have_the_paths_of_the_interface_and_names_are_escaped() {
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let lines = Arc::clone(&seen);
    let client = client(move |got| {
        lines.lock().unwrap().push(format!("{} {}", got.line, String::from_utf8_lossy(&got.body)));
        async { Reply::error(ErrorCode::UnknownTopic) }
    })
    .await;
    let create = CreateTopic { name: "n".to_owned(), partitions: 2, config: Default::default() };
    assert!(client.create_topic(&create).await.is_err());
    assert!(client.list_topics().await.is_err());
    assert!(client.describe_topic("a/b").await.is_err());
    assert!(client.delete_topic("..").await.is_err());
    assert!(client.trim("t", 3, 7).await.is_err());
    let known = [
        r#"POST /v1/topics {"name":"n","partitions":2,"config":{"retention_ms":null,"retention_bytes":null}}"#,
        "GET /v1/topics ",
        "GET /v1/topics/a%2Fb ",
        "DELETE /v1/topics/%2E%2E ",
        r#"POST /v1/topics/t/partitions/3/trim {"offset":7}"#,
    ];
    assert_eq!(*seen.lock().unwrap(), known);
}

#[tokio::test]
async fn errors_of_the_server_keep_its_words_and_code() {
    let client = client(|got| async move {
        match got.line.as_str() {
            "GET /v1/topics" => Reply::Answer(418, "<html>".into()),
            "GET /v1/topics/t" => Reply::error(ErrorCode::UnknownTopic),
            "GET /v1/topics/u" => Reply::Answer(404, "404 page".into()),
            _ => Reply::Answer(200, "{".into()),
        }
    })
    .await;
    let error = client.list_topics().await.unwrap_err();
    assert!(matches!(error, Error::Status { status: 418, code: ErrorCode::Unknown, .. }), "{error}");
    let error = client.describe_topic("t").await.unwrap_err();
    assert_eq!(error.to_string(), "as the test wants it");
    assert!(matches!(error, Error::NotFound { code: ErrorCode::UnknownTopic, .. }));
    let error = client.describe_topic("u").await.unwrap_err();
    assert!(
        matches!(error, Error::Status { status: 404, .. }),
        "a foreign server's 404 is no missing topic: {error}"
    );
    let error = client.describe_topic("v").await.unwrap_err();
    assert!(matches!(error, Error::Decode { .. }), "{error}");
}

#[tokio::test]
async fn an_answer_about_other_records_than_those_sent_is_not_believed() {
    for answer in [
        r#"{"partitions":[]}"#,
        r#"{"partitions":[{"partition":1,"base_offset":0,"count":1}]}"#,
        r#"{"partitions":[{"partition":0,"base_offset":0,"count":2}]}"#,
    ] {
        let client = client(move |_| async move { Reply::Answer(200, answer.into()) }).await;
        let error = client.append("t", 0, batch()).await.unwrap_err();
        assert!(matches!(error, Error::Decode { .. }) && error.outcome_unknown(), "{error}");
    }
}

#[tokio::test]
async fn a_write_is_repeated_only_when_the_server_said_that_it_did_not_begin() {
    let cases = [
        (Reply::HangUp, false),
        (Reply::error(ErrorCode::StorageFailed), false),
        (Reply::error(ErrorCode::Internal), false),
        (Reply::error(ErrorCode::TooLarge), false),
        (Reply::error(ErrorCode::Overloaded), true),
        (Reply::error(ErrorCode::ShuttingDown), true),
    ];
    for (reply, again) in cases {
        let requests = Arc::new(AtomicUsize::new(0));
        let (count, script) = (Arc::clone(&requests), reply.clone());
        let client = client(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            let reply = script.clone();
            async move { reply }
        })
        .await;
        assert!(client.append("t", 0, batch()).await.is_err());
        assert_eq!(requests.load(Ordering::SeqCst) > 1, again, "{reply:?}");
    }
}

#[tokio::test]
async fn a_server_that_never_answers_is_a_timeout_of_unknown_outcome() {
    let address = serve(|_| async { Reply::Silence }).await.to_string();
    let options = Options { request_timeout: Duration::from_millis(50), ..Options::default() };
    let client = Client::connect_with(&address, options).await.unwrap();
    let error = client.append("t", 0, batch()).await.unwrap_err();
    assert!(matches!(error, Error::Timeout { .. }) && error.outcome_unknown(), "{error}");
}

#[tokio::test]
async fn something_that_does_not_speak_http_is_told_apart_from_no_server() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"220 mail ready\r\n").await;
        }
    });
    let error = Client::connect(&address).await.unwrap_err();
    assert!(matches!(error, Error::Broken { .. }), "{error}");
}
