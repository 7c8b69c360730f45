import asyncio
import contextlib
import socket
import threading
import time
import uuid
from types import SimpleNamespace

import pytest
from google.protobuf import message_factory
from protos import wire as make_wire
from streamfleet_worker import uploads
from streamfleet_worker.calls import CallFailedError, Calls
from streamfleet_worker.uploads import FleetUploadedFileManager, HeldUploads
from streamfleet_worker.wire import BlockingReader, frame
from streamlit.runtime.uploaded_file_manager import UploadedFileRec

LIMIT = 10
WIRE = make_wire()


def message(name):
    """The class of a message that only a runner makes."""
    file = WIRE.put_file.DESCRIPTOR.file
    return message_factory.GetMessageClass(file.message_types_by_name[name])


CallResponse, Done, Failed = message("CallResponse"), message("Done"), message("Failed")
File, NotFound = message("File"), message("NotFound")


class Runner:
    """A runner's end of calls, which keeps files in a dict."""

    def __init__(self, path):
        self.files = {}
        self.requests = []
        # What to answer instead, one for each call: a `failed`, or None for hanging up.
        self.failures = []
        # Puts wait for it.
        self.may_store = threading.Event()
        self.may_store.set()
        self._changed = threading.Condition()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self):
        self.may_store.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(LIMIT)

    def until(self, condition):
        with self._changed:
            assert self._changed.wait_for(condition, LIMIT)

    def kinds(self):
        return [request.WhichOneof("kind") for request in self.requests]

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError, EOFError):
                self._answer(connection)

    def _answer(self, connection):
        reader = BlockingReader(connection)

        def send(**kind):
            connection.sendall(frame(CallResponse(**kind)))

        request = WIRE.call_request.FromString(reader.read())
        kind = request.WhichOneof("kind")
        self._note(lambda: self.requests.append(request))
        if self.failures:
            failure = self.failures.pop(0)
            if failure is not None:
                send(failed=failure)
        elif kind == "put_file":
            self.may_store.wait(LIMIT)
            put, data = request.put_file, b""
            while part := WIRE.call_request.FromString(reader.read()).part:
                data += part
            assert len(data) == put.size
            file = UploadedFileRec(put.file_id, put.name, put.type, data)
            self._note(lambda: self.files.update({(put.session_id, put.file_id): file}))
            send(done=Done())
        elif kind == "get_file":
            file = self.files.get((request.get_file.session_id, request.get_file.file_id))
            if file is None:
                send(not_found=NotFound())
                return
            send(file=File(name=file.name, type=file.type, size=len(file.data)))
            for start in range(0, len(file.data), 300_000):
                send(part=file.data[start : start + 300_000])
            send(part=b"")
        else:
            session_id = request.delete_files.session_id
            for file_id in request.delete_files.file_ids:
                self._note(lambda file_id=file_id: self.files.pop((session_id, file_id), None))
            send(done=Done())

    def _note(self, change):
        with self._changed:
            change()
            self._changed.notify_all()


@pytest.fixture
def runner(tmp_path):
    runner = Runner(tmp_path / "calls")
    yield runner
    runner.close()


@pytest.fixture
def calls(tmp_path):
    return Calls(make_wire(), str(tmp_path / "calls"))


@pytest.fixture
def manager(calls):
    return FleetUploadedFileManager("/upload", calls)


@pytest.fixture
def elsewhere(calls):
    """The manager of another worker, to which the session has come."""
    manager = FleetUploadedFileManager("/upload", calls)
    manager.mark_restored("s")
    return manager


@pytest.fixture
def in_script(monkeypatch):
    monkeypatch.setattr(uploads, "get_script_run_ctx", lambda **_: object())


def record(data=b"a,b\n1,2\n", file_id=None):
    return UploadedFileRec(file_id or str(uuid.uuid4()), "Größe.csv", "text/csv", data)


def settled(manager, session_id="s"):
    asyncio.run(asyncio.wait_for(manager.settled(session_id), LIMIT))


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 5_000_001])
def test_a_file_is_had_where_its_session_goes_on(runner, manager, elsewhere, size):
    file = record(bytes(size))
    manager.add_file("s", file)
    assert manager.get_files("s", [file.file_id]) == [file]
    settled(manager)
    assert elsewhere.get_files("s", [file.file_id]) == [file]
    # From then on it is in memory there too.
    asked = len(runner.requests)
    assert elsewhere.get_files("s", [file.file_id]) == [file]
    assert len(runner.requests) == asked


def test_files_come_in_the_order_asked_for_wherever_they_are(runner, manager, elsewhere):
    first, second, third = record(b"1"), record(b"2"), record(b"3")
    manager.add_file("s", first)
    manager.add_file("s", third)
    settled(manager)
    elsewhere.add_file("s", second)
    ids = [file.file_id for file in (first, second, third)]
    assert elsewhere.get_files("s", ids) == [first, second, third]


def test_sessions_that_were_always_here_ask_nobody(runner, manager):
    assert manager.get_files("s", ["unknown"]) == []
    assert runner.requests == []


def test_that_there_is_no_such_file_is_asked_once(runner, elsewhere):
    for _ in range(3):
        assert elsewhere.get_files("s", ["unknown"]) == []
    assert runner.kinds() == ["get_file"]


def test_a_runner_that_fails_is_asked_again(runner, manager, elsewhere):
    file = record()
    manager.add_file("s", file)
    settled(manager)
    runner.failures = [None, Failed(reason="Redis is away", may_pass=True)]
    assert elsewhere.get_files("s", [file.file_id]) == []
    assert elsewhere.get_files("s", [file.file_id]) == []
    assert elsewhere.get_files("s", [file.file_id]) == [file]


def test_a_runner_that_hangs_holds_a_script_up_for_its_limit_only(
    runner, manager, elsewhere, monkeypatch
):
    usual = uploads._GET_LIMIT
    monkeypatch.setattr(uploads, "_GET_LIMIT", 0.2)
    runner.may_store.clear()
    manager.add_file("s", record())
    runner.until(lambda: runner.requests)
    began = time.monotonic()
    assert elsewhere.get_files("s", ["a", "b", "c"]) == []
    assert time.monotonic() - began < usual


def test_uploads_wait_for_nobody_and_settled_waits_for_them(runner, manager):
    runner.may_store.clear()
    files = [record(), record()]
    for file in files:
        manager.add_file("s", file)
    settled(manager, "other")

    async def scenario():
        waiting = asyncio.ensure_future(manager.settled("s"))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        runner.may_store.set()
        await asyncio.wait_for(waiting, LIMIT)

    asyncio.run(scenario())
    assert set(runner.files) == {("s", file.file_id) for file in files}
    settled(manager)


def test_what_can_not_be_kept_now_is_tried_again(runner, manager, monkeypatch):
    monkeypatch.setattr(uploads, "_RETRY_MIN", 0.01)
    runner.failures = [None, Failed(reason="Redis is away", may_pass=True)]
    file = record()
    manager.add_file("s", file)
    # A snapshot isn't held up by it for longer than the first try.
    settled(manager)
    runner.until(lambda: ("s", file.file_id) in runner.files)


def test_what_is_refused_is_not_tried_again(runner, manager):
    runner.failures = [Failed(reason="larger than 32 MiB")]
    manager.add_file("s", record(bytes(5_000_000)))
    settled(manager)
    manager.add_file("s", record())
    settled(manager)
    assert runner.kinds() == ["put_file", "put_file"]
    assert len(runner.files) == 1


def test_a_refusal_is_heard_while_sending(runner, calls):
    runner.failures = [Failed(reason="larger than 32 MiB")]
    with pytest.raises(CallFailedError, match="larger than 32 MiB") as caught:
        uploads._put(calls, "s", record(bytes(20_000_000)))
    assert not caught.value.may_pass


def test_without_a_runner_nothing_is_lost_here(manager):
    file = record()
    manager.add_file("s", file)
    settled(manager)
    assert manager.get_files("s", [file.file_id]) == [file]


def test_a_file_that_its_user_removes_is_removed_everywhere(runner, manager):
    stored, waiting = record(), record()
    manager.add_file("s", stored)
    settled(manager)
    runner.may_store.clear()
    manager.add_file("s", record())
    manager.add_file("s", waiting)
    for file in (stored, waiting):
        manager.remove_file("s", file.file_id)
        assert manager.get_files("s", [file.file_id]) == []
    runner.may_store.set()
    runner.until(lambda: runner.kinds().count("delete_files") == 2)
    runner.until(lambda: ("s", stored.file_id) not in runner.files)
    assert ("s", waiting.file_id) not in runner.files


def test_a_removed_file_does_not_come_back(runner, manager, elsewhere):
    file = record()
    manager.add_file("s", file)
    settled(manager)
    elsewhere.get_files("s", [file.file_id])
    elsewhere.remove_file("s", file.file_id)
    assert elsewhere.get_files("s", [file.file_id]) == []
    runner.until(lambda: not runner.files)


def test_unknown_files_are_not_removed_by_anybody(runner, manager):
    for _ in range(100):
        manager.remove_file("s", "unknown")
    assert manager._writer._jobs == []


@pytest.mark.usefixtures("in_script")
def test_what_a_script_has_taken_is_there_for_another_try_elsewhere(runner, manager, elsewhere):
    # As `st.chat_input` does.
    file = record()
    manager.add_file("s", file)
    manager.remove_file("s", file.file_id)
    assert manager.get_files("s", [file.file_id]) == []
    settled(manager)
    assert elsewhere.get_files("s", [file.file_id]) == [file]
    assert "delete_files" not in runner.kinds()


@pytest.mark.usefixtures("in_script")
def test_what_a_script_has_taken_is_deleted_later(runner, manager, monkeypatch):
    monkeypatch.setattr(uploads, "_KEEP_TAKEN", 0.1)
    file = record()
    manager.add_file("s", file)
    manager.remove_file("s", file.file_id)
    runner.until(lambda: "delete_files" in runner.kinds())
    runner.until(lambda: not runner.files)


@pytest.mark.usefixtures("in_script")
def test_scripts_take_no_faster_than_files_are_written(runner, manager, monkeypatch):
    monkeypatch.setattr(uploads, "_MAX_WAITING_BYTES", 100)
    runner.may_store.clear()
    files = [record(bytes(90)), record(bytes(90))]
    for file in files:
        manager.add_file("s", file)
    taking = threading.Thread(target=manager.remove_file, args=("s", files[0].file_id))
    taking.start()
    taking.join(0.1)
    assert taking.is_alive()
    runner.may_store.set()
    taking.join(LIMIT)
    assert not taking.is_alive()


def test_a_session_that_ends_takes_what_waits_along(runner, manager):
    runner.may_store.clear()
    first, second = record(), record()
    manager.add_file("s", first)
    runner.until(lambda: runner.requests)
    manager.add_file("s", second)
    manager.remove_session_files("s")
    assert manager.get_files("s", [first.file_id]) == []
    runner.may_store.set()
    settled(manager)
    # Deleting what is stored is the runner's business.
    assert set(runner.files) <= {("s", first.file_id)}
    assert runner.kinds() == ["put_file"]
    assert manager._writer._waiting_bytes == 0


def test_a_session_that_moves_leaves_its_files_stored(runner, manager, elsewhere):
    runner.may_store.clear()
    files = [record(), record()]
    for file in files:
        manager.add_file("s", file)
    manager.release("s")
    # As the session does when it is shut down.
    manager.remove_session_files("s")
    assert manager.get_files("s", [files[0].file_id]) == []
    runner.may_store.set()
    settled(manager)
    assert elsewhere.get_files("s", [file.file_id for file in files]) == files
    assert manager._writer._waiting_bytes == 0
    assert (manager._writer._puts, manager._writer._untried) == ({}, {})


def test_a_file_that_is_uploaded_again_is_the_new_one(runner, manager, elsewhere):
    runner.may_store.clear()
    manager.add_file("s", record(b"busy"))
    old = record(b"old")
    new = record(b"new", old.file_id)
    manager.add_file("s", old)
    manager.add_file("s", new)
    runner.may_store.set()
    settled(manager)
    assert elsewhere.get_files("s", [old.file_id]) == [new]
    assert manager._writer._waiting_bytes == 0


def test_an_upload_is_answered_when_it_is_stored(monkeypatch):
    order = []
    asked, stored = asyncio.Event(), asyncio.Event()

    class Uploads(FleetUploadedFileManager):
        def __init__(self):
            pass

        async def settled(self, session_id):
            order.append(f"asked for {session_id}")
            asked.set()
            await stored.wait()
            order.append("stored")

    monkeypatch.setattr(
        "streamfleet_worker.uploads.Runtime.instance",
        lambda: SimpleNamespace(uploaded_file_mgr=Uploads()),
    )

    async def app(scope, _receive, send):
        await send({"type": "http.response.start", "status": 204})

    async def send(_event):
        order.append("answered")

    async def scenario():
        held = HeldUploads(app)
        upload = {"type": "http", "method": "PUT", "path": "/base/_stcore/upload_file/S/F"}
        asking = asyncio.create_task(held(upload, None, send))
        await asked.wait()
        stored.set()
        await asking
        assert order == ["asked for S", "stored", "answered"]
        for other in ({**upload, "method": "GET"}, {**upload, "path": "/"}, {"type": "websocket"}):
            await held(other, None, send)
        assert order[3:] == ["answered"] * 3

    asyncio.run(scenario())
