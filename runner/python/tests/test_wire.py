import pytest
from streamfleet_worker.wire import FrameSplitter


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
