//! One shard: the rules of its follower, its leader and its coordinator, and what they want done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tidelog_meta::{State, StoreId};
use tidelog_proto::peer;
use tidelog_replica::follower::{self, Follower};
use tidelog_replica::frame::Frame;
use tidelog_replica::leader::{self, Leader};
use tidelog_replica::message::{Envelope, From, Request};
use tidelog_replica::sealer::{self, Sealer};
use tidelog_replica::span::{Replica, Span, SpanState};
use tidelog_replica::succession;
use tidelog_replica::suspicion::Suspicion;
use tidelog_wal::{FrameWriter, Wal};
use tokio::sync::{Semaphore, mpsc, watch};

use super::{Around, view, words};
use crate::peers::Peer;
use crate::ring::RingError;
use crate::shards::store::{self, Job};
use crate::spans::{OpenedSpan, span_of};

/// Reads for coordinators at once.
const READS: usize = 16;

/// The log that serves a shard's partitions now.
#[derive(Debug, Clone)]
pub(crate) struct Serving {
    pub(crate) wal: Wal,
    /// The span.
    pub(crate) opened: OpenedSpan,
    /// Whether this process leads it; otherwise only reads are served.
    pub(crate) leads: bool,
}

/// A shard that this node takes part in.
pub(crate) struct Held {
    pub(super) shard: u64,
    pub(super) around: Arc<Around>,
    rules: Mutex<Rules>,
    jobs: mpsc::UnboundedSender<Job>,
    serving: watch::Sender<Option<Serving>>,
    /// LSNs below are committed, in the span that is led here.
    pub(super) committed: AtomicU64,
    pub(super) reads: Arc<Semaphore>,
    /// The turn to change which partitions live in the shard.
    pub(super) turn: Arc<tokio::sync::Mutex<()>>,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Held(shard {})", self.shard)
    }
}

/// What is behind the lock.
pub(super) struct Rules {
    pub(super) follower: Follower,
    pub(super) leader: Option<Leader>,
    pub(super) sealing: Option<Sealing>,
    pub(super) suspicion: Suspicion,
    pub(super) state: Arc<State>,
    /// The shard's last span, as that state has it.
    pub(super) last: Option<Span>,
    /// When a state was known to be the newest one.
    pub(super) sure_at: Duration,
    /// When what is not urgent was looked at.
    pub(super) looked_at: Duration,
    /// Where a follower's frames go, and of which span.
    pub(super) following: Option<(u32, FrameWriter)>,
    /// The appender's log, to be woken.
    pub(super) leading: Option<Wal>,
    /// The appender hands a frame over: so many frames its own store lets it write.
    own: Option<usize>,
    /// Asked of the metadata, and not answered.
    pub(super) beginning: bool,
    pub(super) closing: bool,
    /// The nodes that are to hold what follows the span that is led here, the leader first; none: whoever is best.
    pub(super) onward: Option<Vec<u64>>,
    /// The span that was handed over because this node stops.
    pub(super) left: Option<u32>,
    /// The newest span whose leader has sent something here.
    pub(super) heard_of: u32,
    /// The span is not ended before only because it would be better elsewhere.
    pub(super) rests_until: Duration,
    /// No partition leaves before.
    pub(super) moves_rest_until: Duration,
    pub(super) refreshing: bool,
    /// The disk was found full, and is looked at again.
    pub(super) full: bool,
    /// The appender is to stop.
    pub(super) resting: bool,
    /// The store is to begin to lead.
    pub(super) starting: bool,
    /// The span that this store was told to be ready for.
    pub(super) readied: u32,
    /// The span that is to end because it has become long.
    pub(super) long: Option<u32>,
    /// Spans that are being copied.
    pub(super) copies: BTreeSet<u32>,
    /// Spans that nobody could give whole: another try is not made before.
    pub(super) not_before: BTreeMap<u32, Duration>,
}

/// A seal that this node coordinates.
pub(super) struct Sealing {
    pub(super) sealer: Sealer,
    pub(super) committing: bool,
}

/// An event, and for whom.
pub(super) enum Input {
    Follow(follower::Event),
    Lead(leader::Event),
    Seal(sealer::Event),
}

impl Held {
    /// Looks at what is on the disk of a shard, and begins to take part in it.
    pub(super) async fn open(
        around: Arc<Around>,
        shard: u64,
        state: &Arc<State>,
    ) -> Result<Arc<Held>, RingError> {
        let (jobs, ends) = mpsc::unbounded_channel();
        let found = store::recover(&around, shard, state).await?;
        let me = around.me;
        let mut suspicion = Suspicion::new(me.node, around.now());
        if state.last_span(shard).is_some_and(|last| last.leader.node == me.node) {
            // An earlier life of this node led it; nobody else has to find that out.
            suspicion.stopped(around.now());
        }
        if state.last_span(shard).is_some_and(|last| last.replicas.len() == 1 && last.is_on(me.node)) {
            // And nobody else can.
            suspicion.alone(around.now());
        }
        let rules = Rules {
            follower: Follower::new(me.replica(), found.recovered.clone()),
            leader: None,
            sealing: None,
            suspicion,
            state: Arc::new(State::default()),
            last: None,
            sure_at: Duration::ZERO,
            looked_at: Duration::ZERO,
            following: None,
            leading: None,
            own: None,
            beginning: false,
            closing: false,
            onward: None,
            left: None,
            heard_of: 0,
            rests_until: Duration::ZERO,
            moves_rest_until: Duration::ZERO,
            refreshing: false,
            full: false,
            resting: false,
            starting: false,
            readied: 0,
            long: None,
            copies: BTreeSet::new(),
            not_before: BTreeMap::new(),
        };
        let held = Arc::new(Held {
            shard,
            around,
            rules: Mutex::new(rules),
            jobs,
            serving: watch::Sender::new(None),
            committed: AtomicU64::new(0),
            reads: Arc::new(Semaphore::new(READS)),
            turn: Arc::default(),
        });
        tokio::spawn(store::run(Arc::downgrade(&held), found, ends));
        Ok(held)
    }

    /// The log that serves the shard now; it changes with every span.
    pub(crate) fn serving(&self) -> watch::Receiver<Option<Serving>> {
        self.serving.subscribe()
    }

    pub(super) fn serve(&self, serving: Option<Serving>) {
        self.serving.send_replace(serving);
        self.around.changes.send_modify(|changes| *changes += 1);
    }

    pub(super) fn rules(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an event.
    pub(super) fn step(self: &Arc<Held>, input: Input) {
        let before = self.committed.load(Ordering::Relaxed);
        let mut rules = self.rules();
        self.run(&mut rules, input);
        if self.committed.load(Ordering::Relaxed) > before
            && let Some(wal) = &rules.leading
        {
            wal.wake();
        }
    }

    /// The appender hands frames over; whether they may go to this disk.
    pub(super) fn framed(self: &Arc<Held>, epoch: u32, frames: Vec<Frame>) -> bool {
        let mut rules = self.rules();
        if rules.leader_of(epoch).is_none() {
            return false;
        }
        let count = frames.len();
        rules.own = Some(0);
        self.run(&mut rules, Input::Lead(leader::Event::Framed(frames)));
        // One write is in flight, so what this store takes of a new frame it takes whole or not at all.
        rules.own.take() == Some(count)
    }

    /// The appender tells what became of its write: it publishes by itself.
    pub(super) fn wrote(self: &Arc<Held>, event: follower::Event) {
        self.run(&mut self.rules(), Input::Follow(event));
    }

    /// The appender's write failed; its log keeps the cause.
    pub(super) fn lost_its_log(self: &Arc<Held>) {
        self.around.metrics.failed.inc();
        self.around.peers.leave(&format!("shard {}: a write of its leader failed", self.shard));
        self.wrote(follower::Event::Failed);
    }

    /// What a coordinator that has just begun wants done.
    pub(super) fn carry_out(self: &Arc<Held>, rules: &mut Rules, effects: Vec<sealer::Effect>) {
        let mut inputs = VecDeque::new();
        for effect in effects {
            self.seal(rules, effect, &mut inputs);
        }
        self.run_all(rules, inputs);
    }

    /// Takes the event and all that follows from it here.
    pub(super) fn run(self: &Arc<Held>, rules: &mut Rules, input: Input) {
        self.run_all(rules, VecDeque::from([input]));
    }

    fn run_all(self: &Arc<Held>, rules: &mut Rules, mut inputs: VecDeque<Input>) {
        // A connection that is dialled now lives on the runtime of the connections, whichever thread this is.
        let _runtime = self.around.runtime.enter();
        while let Some(input) = inputs.pop_front() {
            let now = self.around.now();
            match input {
                Input::Follow(event) => {
                    for effect in rules.follower.step(event) {
                        self.follow(rules, effect, &mut inputs);
                    }
                }
                Input::Lead(event) => {
                    let effects = rules.leader.as_mut().map(|leader| leader.step(now, event));
                    for effect in effects.into_iter().flatten() {
                        self.lead(rules, effect, &mut inputs);
                    }
                }
                Input::Seal(event) => {
                    let effects = rules.sealing.as_mut().map(|sealing| sealing.sealer.step(now, event));
                    for effect in effects.into_iter().flatten() {
                        self.seal(rules, effect, &mut inputs);
                    }
                }
            }
        }
        rules.show();
    }

    fn follow(self: &Arc<Held>, rules: &mut Rules, effect: follower::Effect, inputs: &mut VecDeque<Input>) {
        use follower::Effect;
        match effect {
            Effect::Answer { to, epoch, answer } => {
                let from = From { shard: self.shard, epoch, replica: self.around.me.replica(), answer };
                if to == self.around.me.process() {
                    inputs.push_back(Input::Lead(leader::Event::Answered(from.clone())));
                    inputs.push_back(Input::Seal(sealer::Event::Answered(from)));
                } else {
                    self.around.tell(&rules.state, to.node, &words::answer(&from));
                }
            }
            Effect::Write { epoch, frames, doubted } => match &mut rules.own {
                Some(own) => *own += frames.len(),
                None => self.job(Job::Write { epoch, frames, doubted }),
            },
            Effect::Keep { promised } => self.keep(promised),
            Effect::Read { epoch, from, to, reader, attempt } => {
                self.read_tail(epoch, (from, to), reader, attempt);
            }
            Effect::Seal { epoch, end } => self.job(Job::Seal { epoch, end }),
            Effect::Copy { epoch, .. } => self.copy(rules, epoch),
            Effect::Delete { epoch } => self.job(Job::Delete { epoch }),
            Effect::Quarantine { epoch } => {
                tracing::error!(
                    shard = self.shard,
                    epoch,
                    "frames that came are not those that are here under the same numbers: this copy is used for nothing \
                     any more. A disk or a rule is broken, please report it"
                );
                self.job(Job::PutAside { epoch });
            }
            Effect::Refresh { .. } => self.refresh(rules),
        }
    }

    fn lead(self: &Arc<Held>, rules: &mut Rules, effect: leader::Effect, inputs: &mut VecDeque<Input>) {
        use leader::Effect;
        let Some(leader) = &rules.leader else { return };
        match effect {
            Effect::Send { to, request } => {
                let envelope = leader.envelope(rules.state.version);
                self.send(to, envelope, request, inputs);
            }
            Effect::Committed(committed) => self.committed.store(committed.end(), Ordering::Relaxed),
            Effect::ReadBack { to, from, below } => self.read_back(leader.span().epoch, to, (from, below)),
            Effect::Close { end } => {
                let span = leader.span().clone();
                self.ask_to_close(rules, span, end);
            }
            Effect::Over { closed } => {
                tracing::info!(
                    shard = self.shard,
                    epoch = leader.span().epoch,
                    closed,
                    "this node leads the span no more"
                );
                if !closed {
                    rules.suspicion.stopped(self.around.now());
                }
                self.job(Job::Rest);
            }
        }
    }

    fn seal(self: &Arc<Held>, rules: &mut Rules, effect: sealer::Effect, inputs: &mut VecDeque<Input>) {
        use sealer::Effect;
        let Some(sealing) = &mut rules.sealing else { return };
        match effect {
            Effect::Send { to, request } => {
                let (epoch, from) = (sealing.sealer.span().epoch, self.around.me.process());
                let envelope = Envelope { shard: self.shard, epoch, from, version: rules.state.version };
                self.send(to, envelope, request, inputs);
            }
            Effect::Commit { attempt, end, survivors, substitutes } => {
                self.ask_to_commit(rules, attempt, end, &survivors, &substitutes);
            }
            Effect::Over { sealed } => {
                let epoch = sealing.sealer.span().epoch;
                self.around.metrics.seals_done.inc_by(u64::from(sealed));
                tracing::info!(
                    shard = self.shard,
                    epoch,
                    sealed,
                    "the seal that was coordinated here is over"
                );
                rules.sealing = None;
            }
        }
    }

    fn send(&self, to: Replica, envelope: Envelope, request: Request, inputs: &mut VecDeque<Input>) {
        if to == self.around.me.replica() {
            inputs.push_back(Input::Follow(follower::Event::Asked(envelope, request)));
        } else {
            self.around.tell_store(StoreId(to.store), &words::request(&envelope, &request));
        }
    }

    pub(super) fn job(&self, job: Job) {
        // The store's task lives as long as this.
        let _ = self.jobs.send(job);
    }

    /// A peer asks this store.
    pub(super) fn asked(self: &Arc<Held>, from: Peer, envelope: peer::Envelope, request: peer::Request) {
        // Nobody speaks for another process.
        if envelope.from != from.process {
            return;
        }
        let (envelope, request) = match words::of_request(envelope, request) {
            Ok(asked) => asked,
            Err(error) => {
                self.around.metrics.refused.inc();
                tracing::warn!(shard = self.shard, node = from.replica.node, %error, "a frame came damaged");
                return;
            }
        };
        if let Request::Append { .. } = request {
            let now = self.around.now();
            let mut rules = self.rules();
            let leads = rules.state.span(self.shard, envelope.epoch).is_some_and(|span| {
                (span.leader.node, span.leader.incarnation) == (envelope.from.node, envelope.from.incarnation)
            });
            if leads {
                rules.suspicion.heard(now);
                rules.heard_of = rules.heard_of.max(envelope.epoch);
            }
        }
        self.step(Input::Follow(follower::Event::Asked(envelope, request)));
    }

    /// A holder answers.
    pub(super) fn answered(self: &Arc<Held>, from: Peer, answer: peer::From) {
        if answer.replica != from.replica {
            return;
        }
        match words::of_answer(answer) {
            Ok(answer) => {
                self.step(Input::Lead(leader::Event::Answered(answer.clone())));
                self.step(Input::Seal(sealer::Event::Answered(answer)));
            }
            Err(error) => {
                self.around.metrics.refused.inc();
                tracing::warn!(shard = self.shard, node = from.replica.node, %error, "a frame came damaged");
            }
        }
    }

    /// Takes a state of the metadata, if it is newer than the one at hand.
    pub(super) fn look(self: &Arc<Held>, state: &Arc<State>, current: bool) {
        let mut rules = self.rules();
        if state.version < rules.state.version {
            return;
        }
        rules.state = Arc::clone(state);
        let last = state.last_span(self.shard).map(|last| span_of(self.shard, last));
        if rules.last.is_some()
            && last.as_ref().map(|last| last.epoch) != rules.last.as_ref().map(|last| last.epoch)
        {
            // Whoever leads the new one gets the time to begin.
            rules.suspicion.heard(self.around.now());
        }
        rules.last = last;
        if current {
            rules.sure_at = self.around.now();
        }
        let view = view::view(state, self.shard, current);
        self.run(&mut rules, Input::Follow(follower::Event::Viewed(view)));
        let of = |epoch: Option<u32>| epoch.and_then(|epoch| view::span(state, self.shard, epoch));
        if let Some(span) = of(rules.leader.as_ref().map(|leader| leader.span().epoch)) {
            self.run(&mut rules, Input::Lead(leader::Event::Viewed(span.state)));
        }
        if let Some(span) = of(rules.sealing.as_ref().map(|sealing| sealing.sealer.span().epoch)) {
            self.run(&mut rules, Input::Seal(sealer::Event::Viewed(span.state)));
        }
        self.lead_if_named(&mut rules);
        self.follow_if_quiet(&mut rules);
    }

    /// A holder of the shard's last span shows what it has before a frame comes: once for each span.
    fn follow_if_quiet(&self, rules: &mut Rules) {
        let Some(span) = &rules.last else { return };
        let mine = span.is_held_by(&self.around.me.replica()) && !span.is_led_by(&self.around.me.process());
        if mine && span.state == SpanState::Open && span.epoch > rules.readied {
            rules.readied = span.epoch;
            self.job(Job::Follow { epoch: span.epoch });
        }
    }

    /// Begins to lead the shard's last span if it is this process's, and everything that its leader must know is here.
    pub(super) fn lead_if_named(&self, rules: &mut Rules) {
        let Some(span) = &rules.last else { return };
        let last = span.epoch;
        let led = rules.leader.as_ref().is_some_and(|leader| leader.span().epoch >= last);
        if led
            || rules.starting
            || span.state != SpanState::Open
            || !span.is_led_by(&self.around.me.process())
        {
            return;
        }
        let spans = view::view(&rules.state, self.shard, false).spans;
        let knows =
            succession::needed(&spans, last).iter().all(|before| rules.follower.is_whole(before.epoch));
        if knows {
            rules.starting = true;
            self.job(Job::Lead { epoch: last });
        }
    }

    /// This process leads the span from now on; false when that is not so any more.
    pub(super) fn leads(self: &Arc<Held>, epoch: u32) -> bool {
        let mut rules = self.rules();
        let Some(span) = view::span(&rules.state, self.shard, epoch) else { return false };
        if span.state != SpanState::Open {
            return false;
        }
        self.committed.store(span.base.lsn, Ordering::Relaxed);
        rules.leader = Some(Leader::new(span, self.around.limits, self.around.now()));
        (rules.closing, rules.resting) = (false, false);
        rules.forget_wishes();
        true
    }

    /// The disk, or what is on it, is not what it must be: the first failure ends all writing here.
    pub(super) fn failed(self: &Arc<Held>, what: &str, error: &dyn std::fmt::Display) {
        self.around.metrics.failed.inc();
        tracing::error!(shard = self.shard, %error, "{what}: this store takes no further part in the shard");
        self.around.peers.leave(&format!("shard {}: {what}: {error}", self.shard));
        self.step(Input::Follow(follower::Event::Failed));
    }
}

impl Rules {
    /// The leader of this span, if this process leads it or did last.
    pub(super) fn leader_of(&self, epoch: u32) -> Option<&Leader> {
        self.leader.as_ref().filter(|leader| leader.span().epoch == epoch)
    }

    /// Tells the follower's writer what is committed.
    fn show(&self) {
        if let Some((epoch, writer)) = &self.following
            && let Some(readable) = self.follower.readable(*epoch)
        {
            writer.commit(readable);
        }
    }
}
