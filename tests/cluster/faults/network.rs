//! Hosts with a network namespace each, and a switch between them that drops, delays and reorders packets as it is told, in each
//! direction by itself.
//!
//! A host has one device, a TUN: what it sends comes to this process, which hands it to another host's device, or does not.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};
use tun_rs::{DeviceBuilder, InterruptEvent, SyncDevice};

use crate::support::chance::Chance;

/// A host's number: 0 is the clients', nodes are counted from 1.
pub(crate) type Host = usize;

const NETWORK: [u8; 3] = [10, 77, 0];
/// Longest packet, in bytes.
const MTU: u16 = 9000;

/// Where a host is.
pub(crate) fn address(host: Host) -> Ipv4Addr {
    let [a, b, c] = NETWORK;
    Ipv4Addr::new(a, b, c, u8::try_from(host + 1).unwrap())
}

/// What happens to packets that are not cut off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Weather {
    /// Longest delay; each packet has its own, so that they overtake each other.
    pub(crate) delay: Duration,
    /// Of 1,000 packets so many are lost.
    pub(crate) lost: u64,
}

struct Links {
    /// Nothing gets from the first to the second.
    cut: BTreeSet<(Host, Host)>,
    weather: Weather,
    chance: Chance,
}

/// A packet that is on its way: when it arrives, its number, to whom, its bytes.
type Late = Reverse<(Instant, u64, Host, Vec<u8>)>;

#[derive(Default)]
struct Way {
    late: BinaryHeap<Late>,
    packets: u64,
    over: bool,
}

struct Switch {
    devices: Vec<SyncDevice>,
    links: Mutex<Links>,
    way: Mutex<Way>,
    more: Condvar,
    end: InterruptEvent,
}

/// The hosts and what is between them.
pub(crate) struct Network {
    switch: Arc<Switch>,
    namespaces: Vec<File>,
    threads: Vec<JoinHandle<()>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Network {
    /// As many hosts as `hosts` says, the clients' among them; an error where the machine or its user cannot have them.
    pub(crate) fn new(hosts: usize, chance: Chance) -> io::Result<Network> {
        let made: io::Result<Vec<_>> =
            (0..hosts).map(|host| std::thread::spawn(move || host_of(host)).join().unwrap()).collect();
        let (devices, namespaces) = made?.into_iter().unzip();
        let links = Links { cut: BTreeSet::new(), weather: Weather::default(), chance };
        let switch = Arc::new(Switch {
            devices,
            links: Mutex::new(links),
            way: Mutex::default(),
            more: Condvar::new(),
            end: InterruptEvent::new()?,
        });
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        for host in 0..hosts {
            let switch = Arc::clone(&switch);
            threads.push(std::thread::spawn(move || switch.take_from(host)));
        }
        let late = Arc::clone(&switch);
        threads.push(std::thread::spawn(move || late.bring()));
        Ok(Network { switch, namespaces, threads })
    }

    /// Runs something as if on a host; what it starts, threads and processes, is there as well.
    pub(crate) fn on<T: Send>(&self, host: Host, run: impl FnOnce() -> T + Send) -> T {
        let namespace = &self.namespaces[host];
        let there = || {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            run()
        };
        std::thread::scope(|scope| {
            scope.spawn(there).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Nothing gets from one host to the other any more; the other direction is as it was.
    pub(crate) fn cut(&self, from: Host, to: Host) {
        locked(&self.switch.links).cut.insert((from, to));
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        locked(&self.switch.links).weather = weather;
    }

    /// All links are whole again and at once.
    pub(crate) fn heal(&self) {
        let mut links = locked(&self.switch.links);
        links.cut.clear();
        links.weather = Weather::default();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        locked(&self.switch.way).over = true;
        self.switch.more.notify_all();
        let _ = self.switch.end.trigger();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Makes a namespace of this thread's own with a device in it. The thread is to end then.
fn host_of(host: Host) -> io::Result<(SyncDevice, File)> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
    if !up.success() {
        return Err(io::Error::other(format!("`ip link set lo up` ended with {up}")));
    }
    let device = DeviceBuilder::new().name("tidelog").mtu(MTU).ipv4(address(host), 24, None).build_sync()?;
    Ok((device, File::open("/proc/thread-self/ns/net")?))
}

/// The host that a packet is for.
fn receiver(packet: &[u8], hosts: usize) -> Option<Host> {
    let &[a, b, c, last] = packet.get(16..20)? else { return None };
    let host = usize::from(last).checked_sub(1)?;
    (packet[0] >> 4 == 4 && [a, b, c] == NETWORK && host < hosts).then_some(host)
}

impl Switch {
    /// Takes what a host sends.
    fn take_from(&self, host: Host) {
        let mut buffer = vec![0; usize::from(MTU)];
        while let Ok(len) = self.devices[host].recv_intr(&mut buffer, &self.end) {
            let packet = &buffer[..len];
            let Some(to) = receiver(packet, self.devices.len()) else { continue };
            match self.delay(host, to) {
                None => {}
                Some(Duration::ZERO) => self.give(to, packet),
                Some(delay) => {
                    let mut way = locked(&self.way);
                    way.packets += 1;
                    let number = way.packets;
                    way.late.push(Reverse((Instant::now() + delay, number, to, packet.to_vec())));
                    self.more.notify_one();
                }
            }
        }
    }

    /// How long a packet takes; `None` when it does not arrive.
    fn delay(&self, from: Host, to: Host) -> Option<Duration> {
        let mut links = locked(&self.links);
        let Weather { delay, lost } = links.weather;
        if links.cut.contains(&(from, to)) || links.chance.within(1, 1000) <= lost {
            return None;
        }
        let longest = u64::try_from(delay.as_micros()).unwrap();
        Some(Duration::from_micros(links.chance.within(0, longest)))
    }

    /// A device whose host is gone, or that is full, loses packets as networks do.
    fn give(&self, to: Host, packet: &[u8]) {
        let _ = self.devices[to].send(packet);
    }

    /// Brings what is late.
    fn bring(&self) {
        let mut way = locked(&self.way);
        while !way.over {
            let now = Instant::now();
            let first = way.late.peek().map(|Reverse((at, ..))| at.saturating_duration_since(now));
            way = match first {
                Some(Duration::ZERO) => {
                    let Some(Reverse((_, _, to, packet))) = way.late.pop() else { continue };
                    drop(way);
                    self.give(to, &packet);
                    locked(&self.way)
                }
                Some(rest) => self.more.wait_timeout(way, rest).unwrap_or_else(PoisonError::into_inner).0,
                None => self.more.wait(way).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}
