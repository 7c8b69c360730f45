"""What the app prints, as the runner is told."""
# ruff: noqa: T201 - printing is what is tested

import asyncio
import contextlib
import io
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from fleet import Browser, run, worker
from google.protobuf import descriptor_pb2
from protos import wire as make_wire
from streamfleet_worker import output as output_module
from streamfleet_worker.output import Output
from streamfleet_worker.runs import belonging
from streamfleet_worker.wire import BlockingReader, frame
from streamlit.proto.BackMsg_pb2 import BackMsg


class Control:
    """Takes what is sent."""

    def __init__(self):
        self.lines = []
        self.unsent_bytes = 0

    def send(self, printed):
        self.lines.append(printed)

    @property
    def texts(self):
        return [line.line for line in self.lines]


@contextlib.contextmanager
def taken():
    """Standard output and error, taken over."""
    output = Output()
    before = sys.stdout, sys.stderr
    output.install()
    try:
        yield output
    finally:
        output.close()
        assert (sys.stdout, sys.stderr) == before


async def sent(output, control, wire=None):
    """Wait until everything has been sent."""
    output.connect(wire or make_wire(), control, asyncio.get_running_loop(), belonging)
    while output._scheduled or output._lines:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0)


def test_lines(capsys):
    async def scenario():
        control = Control()
        with taken() as output:
            print("one\ntwo", end="")
            print(" goes on")
            print("wrong", file=sys.stderr)
            print("10%\r20%\r\n\n", end="")
            sys.stdout.writelines(["a", "b", "\n"])
            sys.stdout.write("\udc80 no text\n")
            print("x" * 10_000)
            print("y" * 9_000, end="")
            print("y" * 9_000)
            with pytest.raises(TypeError):
                sys.stdout.write(b"bytes")
            await sent(output, control)
        assert control.texts[:7] == [
            "one",
            "two goes on",
            "wrong",
            "10%",
            "20%",
            "ab",
            "\\udc80 no text",
        ]
        assert [line.error for line in control.lines[:4]] == [False, False, True, False]
        assert [len(line) for line in control.texts[7:]] == [8194, 8194]
        assert {line.session_id for line in control.lines} == {""}

    asyncio.run(scenario())
    assert capsys.readouterr().out == ""


def test_it_is_like_what_it_stands_for(capfd):
    with taken():
        stream = sys.stdout
        original = stream._original
        assert isinstance(stream, io.TextIOBase)
        assert stream.encoding == original.encoding
        assert stream.isatty() is False
        assert stream.errors == original.errors
        assert not stream.closed
        stream.buffer.write(b"raw\n")
        stream.flush()
        stream.close()
        with contextlib.redirect_stdout(io.StringIO()) as other:
            print("elsewhere")
        assert other.getvalue() == "elsewhere\n"
        assert sys.__stdout__.fileno() == 1
    assert capfd.readouterr().out == "raw\n"


def test_threads_have_lines_of_their_own():
    async def scenario():
        control = Control()
        with taken() as output:
            print("mine ", end="")
            thread = threading.Thread(target=lambda: print("not ended", end=""))
            thread.start()
            await asyncio.to_thread(thread.join)
            print("and mine")
            await sent(output, control)
        assert sorted(control.texts) == ["mine and mine", "not ended"]

    asyncio.run(scenario())


def test_too_much_is_left_out(monkeypatch):
    monkeypatch.setattr(output_module, "_MAX_RATE", 10)
    monkeypatch.setattr(output_module, "_QUIET", 0.05)

    async def scenario():
        control = Control()
        with taken() as output:
            for n in range(25):
                print(n)
            await sent(output, control)
            assert control.texts[:10] == [str(n) for n in range(10)]
            assert len(control.texts) == 11
            assert "10 lines a second" in control.texts[10]
            for n in range(5):
                print(n)
            while len(control.texts) == 11:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert control.texts[11:] == ["streamfleet: 20 printed lines have been left out."]
            assert control.lines[11].error
            # The runner doesn't read.
            monkeypatch.setattr(output, "_second", 0.0)
            control.unsent_bytes = 1 << 30
            print("x")
            while len(control.texts) < 14:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert "1 printed lines" in control.texts[13]

    asyncio.run(scenario())


def test_nothing_is_lost_at_the_end(capsys):
    with taken():
        print("not sent")
        print("nor this", file=sys.stderr)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("not sent\n", "nor this\n")


def test_a_flood_does_not_pile_up(monkeypatch):
    # All within one second.
    monkeypatch.setattr(output_module, "time", SimpleNamespace(monotonic=lambda: 5.0))
    with taken() as output:
        for _ in range(10_000):
            sys.stdout.write("some text\n")
        assert len(output._lines) == output_module._MAX_RATE


def test_lines_belong_to_their_session(app):
    script = app("""
import sys, threading
from streamlit.runtime.scriptrunner import add_script_run_ctx
print("printed")
sys.stderr.write("written\\n")
thread = threading.Thread(target=lambda: print("of a thread"))
add_script_run_ctx(thread)
thread.start()
thread.join()
print("not ended", end="")
""")

    async def scenario():
        with taken() as output:
            async with worker(script) as host:
                await sent(output, host.control, host.wire)
                tab = await Browser(host).open()
                tab.trace = bytes(range(1, 26))
                await tab.rerun()

                def printed():
                    lines = [
                        event.printed
                        for event in host.inbox.events
                        if event.WhichOneof("kind") == "printed" and event.printed.session_id
                    ]
                    return lines if len(lines) == 4 else None

                lines = await host.inbox.until(printed)
                context = tab.store.snapshots[-1].trace
        assert {(line.session_id, line.trace) for line in lines} == {(tab.session_id, context)}
        assert [(line.line, line.error) for line in lines] == [
            ("printed", False),
            ("written", True),
            ("of a thread", False),
            ("not ended", False),
        ]

    run(scenario())


SCRIPT = """
import os
import streamlit as st
from streamlit.logger import get_logger
print("printed")
os.write(1, b"low\\n")
get_logger("some.logger").warning("logged")
"""


class Process:
    """A worker as the runner starts it."""

    def __init__(self, folder, **init):
        self.wire = make_wire()
        self.control, theirs = socket.socketpair()
        self.control.settimeout(30)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "streamfleet_worker"],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env={"PYTHONPATH": str(Path(__file__).parents[1]), "HOME": str(folder)},
        )
        theirs.close()
        descriptors = self._descriptors()
        self.control.sendall(len(descriptors).to_bytes(4, "big") + descriptors)
        self.listen_path = str(folder / "listen")
        request = self.wire._control_request(init={"listen_path": self.listen_path, **init})
        self.control.sendall(frame(request))
        self._reader = BlockingReader(self.control)

    def _descriptors(self):
        files = descriptor_pb2.FileDescriptorSet()
        found = {}

        def add(file):
            for other in file.dependencies:
                add(other)
            if file.name not in found:
                found[file.name] = file
                file.CopyToProto(files.file.add())

        add(self.wire.run_report.DESCRIPTOR.file)
        add(self.wire.get_value.DESCRIPTOR.file)
        return files.SerializeToString()

    def event(self, kind):
        """The next event of this kind."""
        while True:
            event = self.wire.control_event.FromString(self._reader.read())
            if event.WhichOneof("kind") == kind:
                return getattr(event, kind)

    def visit(self):
        """Have the script run once."""
        stream = socket.socket(socket.AF_UNIX)
        stream.connect(self.listen_path)
        opening = self.wire._stream_request()
        opening.open.websocket = True
        opening.open.session_id = "11111111-1111-4111-8111-111111111111"
        opening.open.connection = 1
        head = opening.open.head
        head.method, head.raw_path = "GET", b"/_stcore/stream"
        head.scheme, head.http_version = "http", "1.1"
        message = BackMsg()
        message.rerun_script.query_string = ""
        message.rerun_script.SetInParent()
        request = self.wire._stream_request()
        request.frame.payload, request.frame.seq = message.SerializeToString(), 1
        stream.sendall(frame(opening) + frame(request))
        return stream

    def stop(self):
        request = self.wire._control_request()
        request.stop.SetInParent()
        self.control.sendall(frame(request))
        return self.end()

    def end(self):
        """What it has written by itself."""
        out, err = self.process.communicate(timeout=30)
        self.control.close()
        return out.decode(), err.decode()


def test_a_worker_that_forwards_what_is_printed(tmp_path):
    (tmp_path / "app.py").write_text(SCRIPT)
    process = Process(tmp_path, script_path=str(tmp_path / "app.py"), forward_output=True)
    process.event("ready")
    stream = process.visit()
    lines = []
    while not any("logged" in line.line for line in lines):
        lines.append(process.event("printed"))
    mine = [line for line in lines if line.session_id]
    assert [line.error for line in mine] == [False, True]
    assert mine[0].line == "printed"
    assert {line.session_id for line in mine} == {"11111111-1111-4111-8111-111111111111"}
    out, _ = process.stop()
    stream.close()
    # What doesn't go through Python's streams stays what it was.
    assert out == "low\n"
    assert process.process.returncode == 0


def test_a_worker_that_leaves_what_is_printed_alone(tmp_path):
    (tmp_path / "app.py").write_text(SCRIPT)
    process = Process(tmp_path, script_path=str(tmp_path / "app.py"))
    process.event("ready")
    with process.visit() as stream:
        assert stream.recv(1)
        process.event("load")
        out, err = process.stop()
    assert sorted(out.splitlines()) == ["low", "printed"]
    assert "logged" in err


def test_a_worker_that_cant_begin_says_why(tmp_path):
    (tmp_path / "app.py").write_text(SCRIPT)
    process = Process(
        tmp_path,
        script_path=str(tmp_path / "app.py"),
        forward_output=True,
        streamlit_flags=["--server.thisIsNone=1"],
    )
    assert "server.thisIsNone" in process.event("fatal").message
    process.end()
    assert process.process.returncode == 1
