//! Cuts what a worker sends at once into gRPC messages of a bounded size.

use std::collections::VecDeque;

use bytes::Bytes;
use streamfleet_proto::{
    MAX_CHUNK_BYTES,
    common::MessageBatch,
    runner::{MessageChunk, session_response},
};

/// Makes gRPC messages of a batch: messages together up to the chunk size, longer ones in pieces.
pub(super) fn cut(batch: MessageBatch, queue: &mut VecDeque<session_response::Kind>) {
    let mut together = Vec::new();
    let mut size = 0;
    let flush = |together: &mut Vec<Bytes>, queue: &mut VecDeque<_>| {
        if !together.is_empty() {
            let messages = std::mem::take(together);
            queue.push_back(session_response::Kind::Batch(MessageBatch { messages }));
        }
    };
    for mut message in batch.messages {
        if size + message.len() > MAX_CHUNK_BYTES {
            flush(&mut together, queue);
            size = 0;
        }
        if message.len() <= MAX_CHUNK_BYTES {
            size += message.len();
            together.push(message);
            continue;
        }
        while !message.is_empty() {
            let data = message.split_to(message.len().min(MAX_CHUNK_BYTES));
            let remaining = message.len() as u64;
            queue.push_back(session_response::Kind::Chunk(MessageChunk { data, remaining }));
        }
    }
    flush(&mut together, queue);
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn join(queue: VecDeque<session_response::Kind>) -> Vec<Bytes> {
        let mut messages = Vec::new();
        let mut partial = BytesMut::new();
        let mut whole = 0;
        for kind in queue {
            match kind {
                session_response::Kind::Batch(batch) => {
                    let size: usize = batch.messages.iter().map(Bytes::len).sum();
                    assert!(size <= MAX_CHUNK_BYTES);
                    assert!(partial.is_empty());
                    messages.extend(batch.messages);
                }
                session_response::Kind::Chunk(chunk) => {
                    assert!(chunk.data.len() <= MAX_CHUNK_BYTES);
                    if partial.is_empty() {
                        whole = chunk.data.len() as u64 + chunk.remaining;
                    }
                    partial.extend_from_slice(&chunk.data);
                    assert_eq!(partial.len() as u64 + chunk.remaining, whole);
                    if chunk.remaining == 0 {
                        messages.push(partial.split().freeze());
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        messages
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn cutting_loses_and_reorders_nothing(
            sizes in vec(prop_oneof![0..2000_usize, 0..(3 * MAX_CHUNK_BYTES)], 0..6)
        ) {
            let messages: Vec<Bytes> = sizes
                .iter()
                .enumerate()
                .map(|(number, &size)| Bytes::from(vec![u8::try_from(number).unwrap(); size]))
                .collect();
            let mut queue = VecDeque::new();
            cut(MessageBatch { messages: messages.clone() }, &mut queue);
            prop_assert_eq!(join(queue), messages);
        }
    }
}
