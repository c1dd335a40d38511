//! Netdata's OpenTSDB exporter over HTTP: a body every second, the first of them often an empty array.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use crate::points::{Point, Send, check};
use crate::support::http::Http;
use crate::support::node::{Node, scratch};
use crate::support::peers::{Peer, find};
use crate::support::proxy::{Exchange, Proxy};
use crate::support::{read, wait};

const PLACES: [&str; 2] = ["/usr/sbin/netdata", "/usr/local/sbin/netdata"];

/// Two Netdatas at once get into each other's way.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const SWITCHED_OFF: &str = "[web]
  mode = none
[health]
  enabled = no
[ml]
  enabled = no
[plugins]
  apps = no
  charts.d = no
  python.d = no
  go.d = no
  tc = no
  cgroups = no
  statsd = no
  enable running new plugins = no
";

fn start(program: &Path, dir: &Path, proxy: &Proxy<Exchange>) -> Peer {
    let user = Command::new("id").arg("-un").output().unwrap().stdout;
    let user = String::from_utf8(user).unwrap();
    let at = |name: &str| {
        let path = dir.join(name);
        std::fs::create_dir_all(&path).unwrap();
        path.display().to_string()
    };
    let (config, cache, lib, logs) = (at("etc"), at("cache"), at("lib"), at("logs"));
    let settings = format!(
        "[global]\n  run as user = {}\n  hostname = tidelog-test\n[db]\n  mode = ram\n  update every = 1\n\
         [directories]\n  config = {config}\n  cache = {cache}\n  lib = {lib}\n  log = {logs}\n  lock = {lib}\n\
         {SWITCHED_OFF}",
        user.trim()
    );
    let exporting = format!(
        "[exporting:global]\n  enabled = yes\n  update every = 1\n[opentsdb:http:tidelog]\n  enabled = yes\n  \
         destination = {}\n  data source = as collected\n  update every = 1\n  timeout ms = 10000\n",
        proxy.address
    );
    std::fs::write(dir.join("etc/netdata.conf"), settings).unwrap();
    std::fs::write(dir.join("etc/exporting.conf"), exporting).unwrap();
    let output = std::fs::File::create(dir.join("output")).unwrap();
    let mut command = Command::new(program);
    command.arg("-D").arg("-c").arg(dir.join("etc/netdata.conf")).env("NETDATA_USER_CONFIG_DIR", &config);
    command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    Peer(command.spawn().unwrap())
}

/// Netdata exports charts that were never collected with timestamp 0. Those points are refused, as OpenTSDB does, and
/// the answer says how many of the others are stored: durable, as with a plain 204.
fn send(exchange: &Exchange) -> Send {
    let (points, refused) = Point::of_body(&exchange.body);
    let acknowledged = match exchange.status {
        None | Some(503) => false,
        Some(204) => {
            assert_eq!(refused, 0, "204, and points without a time were sent");
            true
        }
        Some(400) => {
            let told = format!("{} stored, {refused} refused", points.len());
            assert!(exchange.answer.contains(&told), "not `{told}`: {}", exchange.answer);
            true
        }
        other => panic!("{other:?}: {}", exchange.answer),
    };
    Send { points, acknowledged }
}

fn sends(ledger: &[Exchange]) -> Vec<Send> {
    ledger.iter().map(send).collect()
}

/// How many requests with points were acknowledged.
fn acknowledged(proxy: &Proxy<Exchange>) -> usize {
    let answered =
        |exchange: &&Exchange| matches!(exchange.status, Some(204 | 400)) && exchange.body.len() > 10;
    proxy.ledger().iter().filter(answered).count()
}

#[test]
fn every_point_of_netdata_is_one_record_in_its_order() {
    let Some(program) = find("netdata", &PLACES) else { return };
    let _one = ONE_AT_A_TIME.lock();
    let (_keep, dir) = scratch();
    let node = Node::start("");
    let proxy = Proxy::http(&node);
    let empty = Http::new(proxy.address).post("/api/put", "application/json", b"[\n\n]\n").unwrap();
    assert_eq!((empty.status, empty.body.len()), (204, 0), "an empty array is nothing to complain about");

    let mut netdata = start(&program, &dir, &proxy);
    wait::until("four bodies of Netdata", || {
        netdata.assert_alive();
        (acknowledged(&proxy) >= 4).then_some(())
    });
    netdata.stop();

    let ledger = proxy.finished();
    for exchange in &ledger {
        assert!(exchange.first_line.starts_with("POST /api/put"), "{}", exchange.first_line);
        assert!(exchange.status.is_some(), "a request was not answered");
    }
    let (points, others) = check(&sends(&ledger), &read::partition(node.address(), "tsdb", 0));
    assert_eq!(others, 0);
    println!("Netdata: {points} points in {} requests", ledger.len());
}

#[test]
fn kill_9_under_netdata_loses_no_point_that_was_answered() {
    let Some(program) = find("netdata", &PLACES) else { return };
    let _one = ONE_AT_A_TIME.lock();
    let (_keep, dir) = scratch();
    let mut node = Node::start("");
    let proxy = Proxy::http(&node);
    let mut netdata = start(&program, &dir, &proxy);
    for _ in 0..3 {
        let target = acknowledged(&proxy) + 1;
        wait::until("another body of Netdata", || {
            netdata.assert_alive();
            (acknowledged(&proxy) >= target).then_some(())
        });
        // The next one is cut off while it is on its way, if the kill is quick enough.
        let begun = proxy.ledger().len();
        wait::until("the next body of Netdata", || (proxy.ledger().len() > begun).then_some(()));
        node.kill();
        node.restart();
    }
    let target = acknowledged(&proxy) + 1;
    wait::until("a body behind the last restart", || (acknowledged(&proxy) >= target).then_some(()));
    netdata.stop();

    let ledger = proxy.finished();
    let (points, others) = check(&sends(&ledger), &read::partition(node.address(), "tsdb", 0));
    assert!(points > 1000, "{points}");
    println!("Netdata under kill -9: {points} acknowledged points, {others} others stored");
}
