//! Stopped in every way, nothing acknowledged is lost.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::http::Http;
use crate::{ok, start, values};

#[test]
fn a_kill_keeps_everything_acknowledged_in_order_and_once() {
    let (mut node, mut http) = start("[topics]\npartitions = 2\n");
    ok(http.post("/v1/topics/t/records?partition=0", "text/plain", b"first"));
    let address = node.address();
    let killed = AtomicBool::new(false);
    let acked: Vec<Vec<String>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let killed = &killed;
                scope.spawn(move || {
                    let mut http = Http::new(address);
                    let mut acked = Vec::new();
                    while !killed.load(Ordering::SeqCst) {
                        let value = format!("{writer}-{}", acked.len());
                        let path = format!("/v1/topics/t/records?partition={}", writer % 2);
                        match http.post(&path, "text/plain", value.as_bytes()) {
                            Ok(answer) if answer.is_success() => acked.push(value),
                            _ => break,
                        }
                    }
                    acked
                })
            })
            .collect();
        crate::support::wait::until("some hundred records", || {
            (values(&node, "t", 0).len() > 200).then_some(())
        });
        node.kill();
        killed.store(true, Ordering::SeqCst);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    node.restart();
    let stored = [values(&node, "t", 0), values(&node, "t", 1)];
    for (writer, acked) in acked.iter().enumerate() {
        let own = format!("{writer}-");
        let mine: Vec<&String> = stored[writer % 2].iter().filter(|value| value.starts_with(&own)).collect();
        // One more may have been stored whose answer was lost.
        assert!(mine.len() == acked.len() || mine.len() == acked.len() + 1, "writer {writer}");
        assert!(mine.iter().zip(acked).all(|(stored, acked)| *stored == acked), "writer {writer}");
    }
}

#[test]
fn a_stop_finishes_what_was_taken_and_the_next_start_scans_nothing() {
    let (mut node, mut http) = start("");
    for n in 0..50 {
        ok(http.post("/v1/topics/t/records", "text/plain", format!("{n}").as_bytes()));
    }
    drop(http);
    assert!(node.stop().success());
    node.restart();
    let mut http = Http::new(node.address());
    let status = ok(http.get("/v1/status"));
    for shard in status["shards"].as_array().unwrap() {
        assert_eq!(shard["recovery"]["frames_scanned"], 0, "{shard}");
    }
    assert_eq!(status["incarnation"], 2);
    assert_eq!(values(&node, "t", 0), (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn a_waiting_reader_does_not_hold_up_a_stop() {
    let (mut node, mut http) = start("");
    ok(http.post("/v1/topics", "application/json", br#"{"name":"t"}"#));
    let address = node.address();
    let reader = std::thread::spawn(move || {
        Http::new(address)
            .get("/v1/topics/t/partitions/0/records?offset=0&wait_ms=60000")
            .map(|answer| answer.status)
    });
    assert!(node.stop().success());
    // Either it was told, or it came when nobody listened any more.
    assert!(!matches!(reader.join().unwrap(), Ok(200)));
}

#[test]
fn records_of_many_segments_are_read_back_after_a_kill() {
    let (mut node, mut http) = start("");
    // Noise, so that it is not compressed away.
    let mut seed = 1_u64;
    let mut noise = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{seed:016x}")
    };
    let mut sent = Vec::new();
    for _ in 0..40 {
        let lines: Vec<String> = (0..100).map(|_| (0..60).map(|_| noise()).collect()).collect();
        ok(http.post("/v1/topics/t/records", "text/plain", (lines.join("\n") + "\n").as_bytes()));
        sent.extend(lines);
    }
    node.kill();
    node.restart();
    assert_eq!(values(&node, "t", 0), sent);
}
