import pytest
from protos import wire as make_wire
from streamfleet_worker.wire import FrameSplitter, frame


def frames(*payloads):
    return b"".join(len(payload).to_bytes(4, "big") + payload for payload in payloads)


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 1000])
def test_frames_are_found_however_the_bytes_arrive(step):
    payloads = [b"", b"a", b"bc" * 100, b"", b"d"]
    data = frames(*payloads)
    splitter = FrameSplitter()
    found = []
    for start in range(0, len(data), step):
        found.extend(splitter.feed(data[start : start + step]))
    assert found == payloads


def test_an_unfinished_frame_is_kept_back():
    splitter = FrameSplitter()
    assert list(splitter.feed(frames(b"one", b"two")[:-1])) == [b"one"]
    assert list(splitter.feed(b"o")) == [b"two"]


@pytest.mark.parametrize(
    "sizes", [[], [0], [1, 0, 3], [127, 128], [16_383, 16_384, 70_000], [3_000_000, 5]]
)
def test_a_batch_written_by_hand_is_what_protobuf_writes(sizes):
    wire = make_wire()
    messages = [bytes([number]) * size for number, size in enumerate(sizes, 1)]
    pieces = wire.framed_batch(messages)
    assert b"".join(pieces) == frame(wire.stream_event(batch=wire.message_batch(messages=messages)))
    # None was copied.
    assert all(any(piece is message for piece in pieces) for message in messages)
