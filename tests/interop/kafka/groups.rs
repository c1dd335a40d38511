//! Consumer groups of three members of which one is killed, with the clients' own ways to share partitions, and static
//! members that come back.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::driver::{Client, Driver, are_installed};
use super::record::Record;
use super::{create, produce, start};
use crate::support::http::Http;
use crate::support::node::Node;
use crate::support::wait;

const PARTITIONS: i32 = 6;
/// Records of each partition that are there before a member is killed, and that come after it.
const EACH: i64 = 50;

/// What the server says of a group.
fn describe(node: &Node, group: &str) -> Value {
    let answer = Http::new(node.address()).get(&format!("/v1/groups/{group}")).unwrap();
    serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
}

/// Waits until so many members have all partitions between them; the description then.
fn until_shared(node: &Node, group: &str, members: usize, drivers: &mut [Driver]) -> Value {
    wait::until(&format!("{members} members of {group} to share its partitions"), || {
        drivers.iter_mut().for_each(Driver::assert_well);
        let group = describe(node, group);
        let now = group["members"].as_array()?;
        let each = now.iter().map(|member| assigned(member).len());
        let each: Vec<usize> = each.collect();
        let all: BTreeSet<i64> = now.iter().flat_map(assigned).collect();
        let shared = each.iter().sum::<usize>() == all.len() && all.len() == 6 && !each.contains(&0);
        (group["state"] == "Stable" && now.len() == members && shared).then_some(group)
    })
}

fn assigned(member: &Value) -> Vec<i64> {
    let topics = member["assignment"].as_array().into_iter().flatten();
    topics.flat_map(|topic| topic["partitions"].as_array().unwrap()).map(|p| p.as_i64().unwrap()).collect()
}

fn fill(node: &Node, topic: &str, from: i64) {
    let numbers = (0..PARTITIONS).flat_map(|p| (from..from + EACH).map(move |n| (p, n)));
    let records: Vec<Record> = numbers.map(|(p, n)| Record::new(p, 1, format!("{p}/{n}"))).collect();
    produce(node, Client::Confluent, topic, &records);
}

/// Places of all records that were read.
fn read(drivers: &[&Driver]) -> BTreeSet<(i32, i64)> {
    let records = drivers.iter().flat_map(|driver| driver.said("record"));
    let place = |json: Value| {
        let record = Record::of_json(&json).1;
        assert_eq!(record.text(), format!("{}/{}", record.partition, record.offset));
        (record.partition, record.offset)
    };
    records.map(place).collect()
}

fn offsets(node: &Node, group: &str) -> Vec<i64> {
    let group = describe(node, group);
    let offsets = group["offsets"].as_array().into_iter().flatten();
    offsets.map(|one| one["offset"].as_i64().unwrap()).collect()
}

/// Three members share six partitions; one is killed in the middle, and its part goes to the others without a loss.
fn one_of_three_is_killed(clients: [Client; 3], assignor: &str) {
    if !are_installed() {
        return;
    }
    let node = start();
    let (topic, group) = ("shared", "three");
    create(&node, topic, 6);
    fill(&node, topic, 0);
    let job = json!({"group": group, "topics": [topic], "assignor": assignor, "session_ms": 3000});
    let mut members: Vec<Driver> =
        clients.iter().map(|client| Driver::start(&node, *client, "group", &job)).collect();
    until_shared(&node, group, 3, &mut members);
    let killed = members.remove(1).kill();
    fill(&node, topic, EACH);
    until_shared(&node, group, 2, &mut members);

    let all: BTreeSet<(i32, i64)> =
        (0..PARTITIONS).flat_map(|p| (0..2 * EACH).map(move |n| (p, n))).collect();
    wait::until("every record to be read", || {
        members.iter_mut().for_each(Driver::assert_well);
        let everyone: Vec<&Driver> = members.iter().chain([&killed]).collect();
        (read(&everyone) == all).then_some(())
    });
    members.into_iter().for_each(|member| drop(member.finish()));
    let group = wait::until("the group to be empty", || {
        let group = describe(&node, group);
        (group["state"] == "Empty").then_some(group)
    });
    assert_eq!(group["members"], json!([]), "who leaves is gone at once");
    assert_eq!(offsets(&node, "three"), [2 * EACH; 6], "what was read is committed");
}

#[test]
fn confluent_shares_by_range() {
    one_of_three_is_killed([Client::Confluent; 3], "range");
}

#[test]
fn confluent_shares_cooperatively() {
    one_of_three_is_killed([Client::Confluent; 3], "cooperative-sticky");
}

#[test]
fn kafka_python_shares_stickily() {
    one_of_three_is_killed([Client::KafkaPython; 3], "sticky");
}

#[test]
fn kafka_python_shares_cooperatively() {
    one_of_three_is_killed([Client::KafkaPython; 3], "cooperative-sticky");
}

#[test]
fn aiokafka_shares_round_robin() {
    one_of_three_is_killed([Client::Aiokafka; 3], "roundrobin");
}

#[test]
fn kafkajs_shares_round_robin() {
    one_of_three_is_killed([Client::Kafkajs; 3], "roundrobin");
}

#[test]
fn clients_of_three_makers_share_one_group() {
    one_of_three_is_killed([Client::Confluent, Client::KafkaPython, Client::Aiokafka], "range");
}

#[test]
fn consumers_go_on_when_the_server_was_killed() {
    if !are_installed() {
        return;
    }
    let mut node = start();
    create(&node, "shared", 6);
    fill(&node, "shared", 0);
    let begin = |client: &Client| {
        let assignor = if *client == Client::Confluent { "cooperative-sticky" } else { "roundrobin" };
        let job =
            json!({"group": client.name(), "topics": ["shared"], "assignor": assignor, "session_ms": 10_000});
        Driver::start(&node, *client, "group", &job)
    };
    let mut members: Vec<Driver> = Client::ALL.iter().map(begin).collect();
    let mut until_read = |upto: i64| {
        let all: BTreeSet<(i32, i64)> =
            (0..PARTITIONS).flat_map(|p| (0..upto).map(move |n| (p, n))).collect();
        for (client, member) in Client::ALL.iter().zip(&mut members) {
            wait::until(&format!("{client:?} to read all records"), || {
                member.assert_well();
                (read(&[member]) == all).then_some(())
            });
        }
    };
    for round in 1..=3 {
        until_read(round * EACH);
        node.kill();
        node.restart();
        fill(&node, "shared", round * EACH);
    }
    until_read(4 * EACH);
    members.into_iter().for_each(|member| drop(member.finish()));
    for client in Client::ALL {
        assert_eq!(offsets(&node, client.name()), [4 * EACH; 6], "{client:?}: what was read is committed");
    }
}

/// The partitions of a member by its instance.
fn part_of(group: &Value, instance: &str) -> Vec<i64> {
    let members = group["members"].as_array().unwrap();
    members.iter().find(|member| member["instance_id"] == instance).map(assigned).unwrap()
}

/// A static member is killed and comes back within its session: it has what it had, and nobody else notices.
fn a_static_member_comes_back(client: Client) {
    if !are_installed() {
        return;
    }
    let node = start();
    create(&node, "static", 6);
    let job = |instance: &str| json!({"group": "statics", "topics": ["static"], "assignor": "range", "session_ms": 60_000, "instance": instance});
    let mut members = vec![
        Driver::start(&node, client, "group", &job("a")),
        Driver::start(&node, client, "group", &job("b")),
    ];
    let before = until_shared(&node, "statics", 2, &mut members);
    members.iter_mut().for_each(|member| {
        wait::until("a member to hear of its part", || {
            member.assert_well();
            member.said("assigned").last().filter(|part| part.as_array().unwrap().len() == 3).map(|_| ())
        });
    });
    let heard = members[0].said("assigned").len();
    drop(members.remove(1).kill());
    members.push(Driver::start(&node, client, "group", &job("b")));
    let part = part_of(&before, "b");
    wait::until("the member to be back with its part", || {
        members[1].assert_well();
        let last = members[1].said("assigned").pop()?;
        let numbers: Vec<i64> = last.as_array()?.iter().map(|pair| pair[1].as_i64().unwrap()).collect();
        (numbers == part).then_some(())
    });
    let after = describe(&node, "statics");
    assert_eq!(after["generation"], before["generation"], "it came back without a rebalance");
    assert_eq!(part_of(&after, "b"), part);
    assert_eq!(members[0].said("assigned").len(), heard, "the other one noticed");
}

#[test]
fn a_static_member_of_confluent_comes_back() {
    a_static_member_comes_back(Client::Confluent);
}

#[test]
fn a_static_member_of_kafka_python_comes_back() {
    a_static_member_comes_back(Client::KafkaPython);
}

#[test]
fn a_static_member_of_aiokafka_comes_back() {
    a_static_member_comes_back(Client::Aiokafka);
}
