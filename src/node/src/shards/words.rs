//! The words of the rules as they go over a connection, and back. What comes is verified frame by frame.

use bytes::Bytes;
use tidelog_proto::peer;
use tidelog_replica::copier;
use tidelog_replica::frame::{Frame, FrameError};
use tidelog_replica::message::{Answer, Envelope, From, Grade, Refusal, Request, Standing};
use tidelog_replica::span::{Place, Process, Replica};
use tidelog_wal::{ReadyFrame, SealedFile};

fn bytes_of(frames: &[Frame]) -> Vec<Bytes> {
    frames.iter().map(|frame| frame.bytes().clone()).collect()
}

pub(super) fn verified(frames: Vec<Bytes>) -> Result<Vec<Frame>, FrameError> {
    frames.into_iter().map(Frame::verify).collect()
}

/// A frame for the disk.
pub(super) fn ready(frame: &Frame) -> ReadyFrame {
    ReadyFrame { header: *frame.header(), next_chain: frame.next().chain, bytes: frame.bytes().clone() }
}

/// A frame that the disk gave, all of whose checksums were verified there.
pub(super) fn of_ready(frame: ReadyFrame) -> Frame {
    Frame::made(frame.header, frame.next_chain, frame.bytes)
}

fn place(place: Place) -> peer::Place {
    peer::Place { lsn: place.lsn, chain: place.chain }
}

fn of_place(place: peer::Place) -> Place {
    Place { lsn: place.lsn, chain: place.chain }
}

fn process(process: Process) -> peer::Process {
    peer::Process { node: process.node, incarnation: process.incarnation }
}

pub(super) fn of_process(process: peer::Process) -> Process {
    Process { node: process.node, incarnation: process.incarnation }
}

fn replica(replica: Replica) -> peer::Replica {
    peer::Replica { node: replica.node, store: replica.store }
}

pub(super) fn of_replica(replica: peer::Replica) -> Replica {
    Replica { node: replica.node, store: replica.store }
}

/// Something asked of a holder, for the wire.
pub(super) fn request(envelope: &Envelope, request: &Request) -> peer::Message {
    let Envelope { shard, epoch, from, version } = *envelope;
    let envelope = peer::Envelope { shard, epoch, from: process(from), version };
    let request = match request {
        Request::Append { base, committed, frames } => {
            peer::Request::Append { base: *base, committed: *committed, frames: bytes_of(frames) }
        }
        Request::Fence { attempt, base } => peer::Request::Fence { attempt: *attempt, base: place(*base) },
        Request::FetchTail { attempt, from, to } => {
            peer::Request::FetchTail { attempt: *attempt, from: *from, to: *to }
        }
        Request::RepairAppend { attempt, base, frames } => {
            peer::Request::RepairAppend { attempt: *attempt, base: place(*base), frames: bytes_of(frames) }
        }
        Request::SpanSealed => peer::Request::SpanSealed,
    };
    peer::Message::Request(envelope, request)
}

/// Something asked of a holder, from the wire.
///
/// # Errors
/// A frame that is not intact.
pub(super) fn of_request(
    envelope: peer::Envelope,
    request: peer::Request,
) -> Result<(Envelope, Request), FrameError> {
    let peer::Envelope { shard, epoch, from, version } = envelope;
    let envelope = Envelope { shard, epoch, from: of_process(from), version };
    let request = match request {
        peer::Request::Append { base, committed, frames } => {
            Request::Append { base, committed, frames: verified(frames)? }
        }
        peer::Request::Fence { attempt, base } => Request::Fence { attempt, base: of_place(base) },
        peer::Request::FetchTail { attempt, from, to } => Request::FetchTail { attempt, from, to },
        peer::Request::RepairAppend { attempt, base, frames } => {
            Request::RepairAppend { attempt, base: of_place(base), frames: verified(frames)? }
        }
        peer::Request::SpanSealed => Request::SpanSealed,
    };
    Ok((envelope, request))
}

/// A holder's answer, for the wire.
pub(super) fn answer(from: &From) -> peer::Message {
    let answer = match &from.answer {
        Answer::Appended { durable } => peer::Answer::Appended { durable: *durable },
        Answer::Refused(why) => peer::Answer::Refused(refusal(*why)),
        Answer::Fenced(said) => peer::Answer::Fenced(standing(said)),
        Answer::HigherPromise { attempt, promised } => {
            peer::Answer::HigherPromise { attempt: *attempt, promised: *promised }
        }
        Answer::Tail { attempt, from, to, frames } => {
            peer::Answer::Tail { attempt: *attempt, from: *from, to: *to, frames: bytes_of(frames) }
        }
        Answer::Repaired { attempt, durable } => {
            peer::Answer::Repaired { attempt: *attempt, durable: *durable }
        }
    };
    let (shard, epoch) = (from.shard, from.epoch);
    peer::Message::Answer(peer::From { shard, epoch, replica: replica(from.replica), answer })
}

/// A holder's answer, from the wire.
///
/// # Errors
/// A frame that is not intact.
pub(super) fn of_answer(from: peer::From) -> Result<From, FrameError> {
    let answer = match from.answer {
        peer::Answer::Appended { durable } => Answer::Appended { durable },
        peer::Answer::Refused(why) => Answer::Refused(of_refusal(why)),
        peer::Answer::Fenced(said) => Answer::Fenced(of_standing(&said)),
        peer::Answer::HigherPromise { attempt, promised } => Answer::HigherPromise { attempt, promised },
        peer::Answer::Tail { attempt, from, to, frames } => {
            Answer::Tail { attempt, from, to, frames: verified(frames)? }
        }
        peer::Answer::Repaired { attempt, durable } => Answer::Repaired { attempt, durable },
    };
    Ok(From { shard: from.shard, epoch: from.epoch, replica: of_replica(from.replica), answer })
}

fn refusal(refusal: Refusal) -> peer::Refusal {
    match refusal {
        Refusal::Fenced { promised } => peer::Refusal::Fenced { promised },
        Refusal::Gap { end } => peer::Refusal::Gap { end },
        Refusal::ReadOnly => peer::Refusal::ReadOnly,
        Refusal::StoreGone => peer::Refusal::StoreGone,
        Refusal::UnknownSpan => peer::Refusal::UnknownSpan,
    }
}

fn of_refusal(refusal: peer::Refusal) -> Refusal {
    match refusal {
        peer::Refusal::Fenced { promised } => Refusal::Fenced { promised },
        peer::Refusal::Gap { end } => Refusal::Gap { end },
        peer::Refusal::ReadOnly => Refusal::ReadOnly,
        peer::Refusal::StoreGone => Refusal::StoreGone,
        peer::Refusal::UnknownSpan => Refusal::UnknownSpan,
    }
}

fn standing(said: &Standing) -> peer::Standing {
    let grade = match said.grade {
        Grade::Proved => peer::Grade::Proved,
        Grade::Unproved => peer::Grade::Unproved,
        Grade::Suspect => peer::Grade::Suspect,
    };
    let Standing { attempt, end, reach, committed, .. } = *said;
    peer::Standing { attempt, end: place(end), reach, grade, committed }
}

fn of_standing(said: &peer::Standing) -> Standing {
    let grade = match said.grade {
        peer::Grade::Proved => Grade::Proved,
        peer::Grade::Unproved => Grade::Unproved,
        peer::Grade::Suspect => Grade::Suspect,
    };
    let peer::Standing { attempt, end, reach, committed, .. } = *said;
    Standing { attempt, end: of_place(end), reach, grade, committed }
}

/// A sealed file, as the rules list it.
pub(super) fn of_sealed(file: &SealedFile) -> copier::SealedFile {
    copier::SealedFile { number: file.number, len: file.len, digest: file.digest }
}

pub(super) fn sealed(file: &copier::SealedFile) -> SealedFile {
    SealedFile { number: file.number, len: file.len, digest: file.digest }
}

/// Sealed files for the wire.
pub(super) fn listed(files: &[SealedFile]) -> Vec<peer::SealedFile> {
    let listed =
        |file: &SealedFile| peer::SealedFile { number: file.number, len: file.len, digest: file.digest };
    files.iter().map(listed).collect()
}

pub(super) fn of_listed(files: &[peer::SealedFile]) -> Vec<copier::SealedFile> {
    let of = |file: &peer::SealedFile| copier::SealedFile {
        number: file.number,
        len: file.len,
        digest: file.digest,
    };
    files.iter().map(of).collect()
}
