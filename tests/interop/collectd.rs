//! collectd's write_tsdb: telnet, CRLF, a double space before the host's tags, one socket for ever, and it never reads.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::points::{Point, Send, check};
use crate::support::node::{Node, scratch};
use crate::support::peers::{Peer, find};
use crate::support::proxy::{Lines, Proxy};
use crate::support::{read, wait};

const PLACES: [&str; 2] = ["/usr/sbin/collectd", "/usr/local/sbin/collectd"];

fn start(program: &Path, dir: &Path, proxy: &Proxy<Lines>) -> Peer {
    let port = proxy.address.port();
    let dir = dir.display();
    let plugins: String = ["load", "memory", "cpu", "df", "disk", "interface", "processes", "write_tsdb"]
        .iter()
        .map(|plugin| format!("LoadPlugin {plugin}\n"))
        .collect();
    let config = format!(
        r#"Hostname "tidelog-test"
FQDNLookup false
BaseDir "{dir}"
PIDFile "{dir}/pid"
Interval 1
{plugins}<Plugin cpu>
  ReportByCpu true
  ValuesPercentage false
</Plugin>
<Plugin write_tsdb>
  <Node>
    Host "127.0.0.1"
    Port "{port}"
    HostTags "status=production deviceclass=www"
  </Node>
</Plugin>
"#
    );
    let file = format!("{dir}/collectd.conf");
    std::fs::write(&file, config).unwrap();
    let output = std::fs::File::create(format!("{dir}/output")).unwrap();
    let mut command = Command::new(program);
    command.args(["-f", "-C", &file]).stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
    Peer(command.spawn().unwrap())
}

fn sends(ledger: &[Lines]) -> Vec<Send> {
    let send = |chunk: &Lines| Send {
        points: chunk.lines.iter().filter_map(|line| Point::of_line(line)).collect(),
        acknowledged: chunk.clean,
    };
    ledger.iter().map(send).collect()
}

#[test]
fn every_line_of_collectd_is_one_record_in_its_order() {
    let Some(program) = find("collectd", &PLACES) else { return };
    let (_keep, dir) = scratch();
    let node = Node::start("");
    let proxy = Proxy::telnet(&node, None);
    let mut collectd = start(&program, &dir, &proxy);
    wait::until("300 lines of collectd", || {
        collectd.assert_alive();
        (proxy.count() >= 300).then_some(())
    });
    collectd.stop();

    let ledger = proxy.finished();
    assert!(ledger.iter().all(|chunk| chunk.clean), "the server broke a connection");
    let lines: Vec<&String> = ledger.iter().flat_map(|chunk| &chunk.lines).collect();
    assert!(
        lines.iter().all(|line| line.ends_with("\r\n") && line.contains("  ")),
        "collectd changed its ways"
    );
    let refused = lines.iter().filter(|line| Point::of_line(line).is_none()).count();
    let errors: usize = ledger.iter().map(|chunk| chunk.answers.lines().count()).sum();
    assert_eq!(errors, refused, "each line that cannot be stored is answered, the others are not");

    let (acknowledged, others) = check(&sends(&ledger), &read::partition(node.address(), "tsdb", 0));
    assert_eq!(others, 0);
    println!("collectd: {acknowledged} points, {refused} refused");
}

#[test]
fn kill_9_under_collectd_loses_no_line_of_a_connection_that_was_closed() {
    let Some(program) = find("collectd", &PLACES) else { return };
    let (_keep, dir) = scratch();
    let mut node = Node::start("");
    let proxy = Proxy::telnet(&node, Some(40));
    let mut collectd = start(&program, &dir, &proxy);
    for _ in 0..4 {
        let target = proxy.count() + 130;
        wait::until("more lines of collectd", || {
            collectd.assert_alive();
            (proxy.count() >= target).then_some(())
        });
        node.kill();
        node.restart();
    }
    collectd.stop();

    let ledger = proxy.finished();
    let (acknowledged, others) = check(&sends(&ledger), &read::partition(node.address(), "tsdb", 0));
    assert!(acknowledged >= 300, "{acknowledged}");
    println!("collectd under kill -9: {acknowledged} acknowledged points, {others} others stored");
}
