//! What a browser has sent and no snapshot of its session holds yet: to be sent again should whoever has the session be lost.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use bytes::Bytes;
use tokio::sync::Notify;

/// Messages kept for one browser; a single one may be longer. Past either bound those that have been sent longest ago are kept no
/// longer: while no snapshot can be made for so long, it is better to go on than to stand still. Those that could not be
/// sent yet are kept, and the browser's connection isn't read meanwhile.
const MAX_FRAMES: usize = 1024;
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// A message of the browser's.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    /// Counts the messages of the browser's connection, from 1.
    pub(crate) seq: u64,
    pub(crate) payload: Bytes,
    pub(crate) text: bool,
    /// When it came.
    pub(crate) received: SystemTime,
}

/// What one browser has sent, in order. One task puts messages in, and one takes them out.
#[derive(Debug, Default)]
pub(crate) struct ReplayBuffer {
    state: Mutex<State>,
    arrived: Notify,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    bytes: usize,
    last_seq: u64,
    acked_seq: u64,
    /// The last message that has been taken out.
    sent_seq: u64,
}

impl State {
    fn has_room(&self, length: usize) -> bool {
        self.frames.is_empty() || (self.frames.len() < MAX_FRAMES && self.bytes + length <= MAX_BYTES)
    }

    /// Makes room for a message of this length, of what has been sent already.
    fn make_room(&mut self, length: usize) {
        while !self.has_room(length) && self.frames.front().is_some_and(|frame| frame.seq <= self.sent_seq) {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some(frame) = self.frames.pop_front() {
            self.bytes -= frame.payload.len();
        }
        if self.frames.is_empty() {
            // Browsers are idle most of the time, and many.
            self.frames = VecDeque::new();
        }
    }
}

impl ReplayBuffer {
    /// Keeps a message, and waits for room first.
    pub(crate) async fn push(&self, payload: Bytes, text: bool) {
        loop {
            {
                let mut state = self.state();
                state.make_room(payload.len());
                if state.has_room(payload.len()) {
                    state.last_seq += 1;
                    state.bytes += payload.len();
                    let seq = state.last_seq;
                    state.frames.push_back(Frame { seq, payload, text, received: SystemTime::now() });
                    break;
                }
            }
            self.freed.notified().await;
        }
        self.arrived.notify_one();
    }

    /// The first message after this one, as soon as there is one. Nothing is lost when the wait is given up.
    pub(crate) async fn after(&self, seq: u64) -> Frame {
        loop {
            if let Some(frame) = self.try_after(seq) {
                return frame;
            }
            self.arrived.notified().await;
        }
    }

    /// The first message after this one, if there is one.
    pub(crate) fn try_after(&self, seq: u64) -> Option<Frame> {
        let mut state = self.state();
        let first = state.frames.front()?.seq;
        let index = usize::try_from((seq + 1).saturating_sub(first)).ok()?;
        let frame = state.frames.get(index).cloned()?;
        if state.sent_seq < frame.seq {
            state.sent_seq = frame.seq;
            self.freed.notify_one();
        }
        Some(frame)
    }

    /// Forgets all messages up to this one: a snapshot holds what they did.
    pub(crate) fn acknowledge(&self, seq: u64) {
        {
            let mut state = self.state();
            // Whoever acknowledges what was never sent is mistaken.
            let seq = seq.min(state.last_seq);
            state.acked_seq = state.acked_seq.max(seq);
            while state.frames.front().is_some_and(|frame| frame.seq <= seq) {
                state.pop_front();
            }
        }
        self.freed.notify_one();
    }

    /// Gives up messages up to this one: they are not to be tried again.
    pub(crate) fn give_up(&self, seq: u64) {
        {
            let mut state = self.state();
            while state.frames.front().is_some_and(|frame| frame.seq <= seq) {
                state.pop_front();
            }
        }
        self.freed.notify_one();
    }

    /// All up to here is in a snapshot.
    pub(crate) fn acked_seq(&self) -> u64 {
        self.state().acked_seq
    }

    /// The last message that came.
    #[cfg(test)]
    fn last_seq(&self) -> u64 {
        self.state().last_seq
    }

    /// The last message that has been taken out.
    pub(crate) fn sent_seq(&self) -> u64 {
        self.state().sent_seq
    }

    /// The first message that has been taken out and isn't in a snapshot.
    pub(crate) fn unacknowledged(&self) -> Option<u64> {
        let state = self.state();
        state.frames.front().map(|frame| frame.seq).filter(|first| *first <= state.sent_seq)
    }

    /// The first message that is kept.
    #[cfg(test)]
    fn first_seq(&self) -> Option<u64> {
        self.state().frames.front().map(|frame| frame.seq)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No change leaves it half done, so a panic elsewhere does no harm.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use proptest::prelude::*;

    use super::*;

    fn payload(seq: u64) -> Bytes {
        Bytes::from(seq.to_string())
    }

    #[tokio::test]
    async fn a_full_buffer_is_waited_for() {
        let buffer = ReplayBuffer::default();
        let half = Bytes::from(vec![0; MAX_BYTES / 2]);
        buffer.push(half.clone(), false).await;
        buffer.push(half.clone(), false).await;
        let mut third = Box::pin(buffer.push(half, false));
        assert!((&mut third).now_or_never().is_none());
        buffer.acknowledge(1);
        third.await;
        assert_eq!((buffer.first_seq(), buffer.last_seq()), (Some(2), 3));
    }

    #[tokio::test]
    async fn what_was_sent_gives_way_when_no_snapshot_is_made() {
        let buffer = ReplayBuffer::default();
        for seq in 1..=u64::try_from(MAX_FRAMES).unwrap() {
            buffer.push(payload(seq), false).await;
        }
        assert!(buffer.push(payload(0), false).now_or_never().is_none());
        assert_eq!(buffer.after(0).await.seq, 1);
        buffer.push(payload(0), false).await;
        assert_eq!((buffer.first_seq(), buffer.acked_seq()), (Some(2), 0));
    }

    #[tokio::test]
    async fn one_long_message_always_fits() {
        let buffer = ReplayBuffer::default();
        buffer.push(Bytes::from(vec![0; MAX_BYTES + 1]), false).await;
        assert!(buffer.push(payload(2), false).now_or_never().is_none());
    }

    #[tokio::test]
    async fn what_is_given_up_is_not_acknowledged() {
        let buffer = ReplayBuffer::default();
        for seq in 1..=3 {
            buffer.push(payload(seq), true).await;
        }
        buffer.acknowledge(1);
        buffer.give_up(2);
        assert_eq!((buffer.acked_seq(), buffer.first_seq()), (1, Some(3)));
        assert_eq!(buffer.after(0).await.seq, 3);
    }

    #[derive(Debug, Clone)]
    enum Act {
        Send,
        /// Deliver the next message, if there is one.
        Deliver,
        /// A snapshot of everything delivered, told to the gateway or not.
        Snapshot {
            told: bool,
        },
        /// Whoever has the session is lost; the next one has the last snapshot.
        Lose,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            3 => Just(Act::Send),
            4 => Just(Act::Deliver),
            2 => any::<bool>().prop_map(|told| Act::Snapshot { told }),
            1 => Just(Act::Lose),
        ]
    }

    proptest! {
        #[test]
        fn a_session_applies_each_message_once_and_in_order(acts in prop::collection::vec(act(), 0..200)) {
            let buffer = ReplayBuffer::default();
            // What the session has applied, now and as of its last snapshot; a session is nothing but that here.
            let (mut applied, mut saved): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
            let mut cursor = 0;
            for act in acts.into_iter().chain([Act::Lose]).chain((0..200).map(|_| Act::Deliver)) {
                match act {
                    Act::Send => buffer.push(payload(0), false).now_or_never().unwrap_or(()),
                    Act::Deliver => {
                        if let Some(frame) = buffer.try_after(cursor) {
                            cursor = frame.seq;
                            applied.push(frame.seq);
                        }
                    }
                    Act::Snapshot { told } => {
                        saved.clone_from(&applied);
                        if told {
                            buffer.acknowledge(saved.last().copied().unwrap_or(0));
                        }
                    }
                    Act::Lose => {
                        applied.clone_from(&saved);
                        let in_snapshot = saved.last().copied().unwrap_or(0);
                        buffer.acknowledge(in_snapshot);
                        cursor = in_snapshot;
                    }
                }
            }
            prop_assert_eq!(applied, (1..=buffer.last_seq()).collect::<Vec<_>>());
        }
    }
}
