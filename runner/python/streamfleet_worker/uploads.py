"""Files that users upload, which go with their sessions wherever those go on.

As in Streamlit they are in memory here. Each is also written to the runner, which keeps it for
whoever has the session later, and a session that came from elsewhere gets from there what is
missing here.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import logging
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from streamlit.runtime import Runtime
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFileRec

from streamfleet_worker.calls import CallFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamfleet_worker.calls import Calls

_LOGGER = logging.getLogger(__name__)

# Longest part of a file sent as one message, in bytes.
_PART: Final = 256 * 1024
# How long a script may wait for its files, in seconds.
_GET_LIMIT: Final = 30.0
# How long keeping a file may take, in seconds: longer than any one step of the runner's, and what
# comes with its length, at 1 MiB/s.
_PUT_LIMIT: Final = 90.0
_BYTES_PER_SECOND: Final = 1 << 20
# First and longest pause before another try, in seconds, and how many tries there are: together
# about 20 minutes, longer than a store is away.
_RETRY_MIN: Final = 1.0
_RETRY_MAX: Final = 60.0
_TRIES: Final = 25
# A script that takes a file out of memory waits while so many bytes wait to be written.
_MAX_WAITING_BYTES: Final = 256 << 20
# How long a file is kept that a script has taken, in seconds. Should the machine be lost before the
# run's outcome is kept, the same message is applied elsewhere, and needs the file once more.
_KEEP_TAKEN: Final = 600.0


# How long an upload's answer waits for its being stored, in seconds.
_HOLD_LIMIT: Final = 30.0
_FIRST_ERROR: Final = 300


class FleetUploadedFileManager(MemoryUploadedFileManager):
    """Streamlit's own, with a copy of each file at the runner."""

    def __init__(self, upload_endpoint: str, calls: Calls) -> None:
        """Keep copies by means of `calls`."""
        super().__init__(upload_endpoint)
        self._calls = calls
        self._writer = _WriteBehind(calls)
        # The sessions that may have files elsewhere, each with the ids that it has not.
        self._restored: dict[str, set[str]] = {}

    # --- for those who move sessions --------------------------------------------------------

    def mark_restored(self, session_id: str) -> None:
        """Look for the session's files at the runner too, as it came from elsewhere."""
        self._restored[session_id] = set()

    def release(self, session_id: str) -> None:
        """Forget the session's files here and leave what is stored, as it goes on elsewhere.

        To be called before the session is shut down. What waits to be written still is.
        """
        self._writer.detach(session_id)
        self._restored.pop(session_id, None)
        super().remove_session_files(session_id)

    def is_pending(self, session_id: str) -> bool:
        """Whether a file of the session still waits to be stored."""
        return bool(self._writer.pending(session_id))

    async def settled(self, session_id: str) -> None:
        """Wait until each file that the session has by now was stored, or could not be.

        A snapshot that is sent after this is of a session whose files are where it may go.
        """
        pending = self._writer.pending(session_id)
        if pending:
            await asyncio.wait([asyncio.wrap_future(future) for future in pending])

    # --- for Streamlit ----------------------------------------------------------------------

    def add_file(self, session_id: str, file: UploadedFileRec) -> None:
        """Keep a file. Called on the event loop: neither writes nor waits."""
        super().add_file(session_id, file)
        self._writer.put(session_id, file)

    def get_files(self, session_id: str, file_ids: Sequence[str]) -> list[UploadedFileRec]:
        """Get those of the files that there are, from the runner where memory lacks them."""
        files = super().get_files(session_id, file_ids)
        missing = self._restored.get(session_id)
        if missing is None or len(files) == len(file_ids):
            return files
        found = {file.file_id: file for file in files}
        deadline = time.monotonic() + _GET_LIMIT
        for file_id in file_ids:
            if file_id not in found and file_id not in missing:
                file = self._fetch(session_id, file_id, missing, deadline)
                if file is not None:
                    found[file_id] = file
        return [found[file_id] for file_id in file_ids if file_id in found]

    def remove_file(self, session_id: str, file_id: str) -> None:
        """Forget a file, everywhere."""
        is_here = bool(super().get_files(session_id, [file_id]))
        super().remove_file(session_id, file_id)
        missing = self._restored.get(session_id)
        if not is_here and (missing is None or file_id in missing):
            return  # Anybody may ask for anything to be deleted.
        if missing is not None:
            missing.add(file_id)
        if get_script_run_ctx(suppress_warning=True) is None:
            self._writer.delete(session_id, file_id)
        else:
            self._writer.delete_taken(session_id, file_id)

    def remove_session_files(self, session_id: str) -> None:
        """Forget the files of a session that has ended; the runner deletes its own by itself."""
        self._writer.cancel(session_id)
        self._restored.pop(session_id, None)
        super().remove_session_files(session_id)

    def _fetch(
        self, session_id: str, file_id: str, missing: set[str], deadline: float
    ) -> UploadedFileRec | None:
        limit = deadline - time.monotonic()
        try:
            file = _get(self._calls, session_id, file_id, limit)
        except CallFailedError as error:
            # It may be there the next time.
            _LOGGER.warning("cannot get an uploaded file: %s", error)
            return None
        if file is None:
            missing.add(file_id)
            return None
        super().add_file(session_id, file)
        if session_id not in self._restored:
            super().remove_session_files(session_id)  # It ended meanwhile.
        return file


class HeldUploads:
    """An ASGI app that answers an upload when it is stored: the browser counts on it from then on."""

    def __init__(self, app: Any) -> None:
        """Stand in front of `app`, Streamlit's."""
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI's call."""
        session_id = _upload_to(scope)
        if session_id is None:
            await self._app(scope, receive, send)
            return

        async def hold(event: Any) -> None:
            if event["type"] == "http.response.start" and event["status"] < _FIRST_ERROR:
                uploads = Runtime.instance().uploaded_file_mgr
                if isinstance(uploads, FleetUploadedFileManager):
                    # A store that is away is not waited for any longer; it is tried again.
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(uploads.settled(session_id), _HOLD_LIMIT)
            await send(event)

        await self._app(scope, receive, hold)


def _upload_to(scope: Any) -> str | None:
    """The session that a request uploads a file to, if it does."""
    if scope["type"] != "http" or scope["method"] != "PUT":
        return None
    segments: list[str] = scope["path"].split("/")
    return segments[-2] if segments[-3:-2] == ["upload_file"] else None


@dataclass(eq=False)
class _Put:
    """A file to be written."""

    session_id: str
    file_id: str
    # None once nobody wants it written any more.
    file: UploadedFileRec | None
    tries: int = 0
    # Done when the first try has ended.
    tried: Future[None] = field(default_factory=Future)

    def size(self) -> int:
        return 0 if self.file is None else len(self.file.data)


class _WriteBehind:
    """Writes files to the runner in a thread of its own, one after the other.

    What waits costs no memory as long as the file manager has it as well.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        # What is to be done, by when; the numbers keep the order.
        self._jobs: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        # Files that have not been stored yet and may still be cancelled.
        self._puts: dict[str, dict[str, _Put]] = {}
        # Those that have not been tried, cancellable or not.
        self._untried: dict[str, set[_Put]] = {}
        self._waiting_bytes = 0

    def put(self, session_id: str, file: UploadedFileRec) -> None:
        """Have a file written."""
        put = _Put(session_id, file.file_id, file)
        with self._changed:
            puts = self._puts.setdefault(session_id, {})
            replaced = puts.get(file.file_id)
            if replaced is not None:
                self._drop(replaced)
            puts[file.file_id] = put
            self._untried.setdefault(session_id, set()).add(put)
            self._waiting_bytes += put.size()
            self._schedule(0.0, lambda: self._write(put))

    def delete(self, session_id: str, file_id: str) -> None:
        """Have a file deleted, or not written in the first place."""
        with self._changed:
            put = self._puts.get(session_id, {}).pop(file_id, None)
            if put is not None:
                self._drop(put)
            self._schedule(0.0, lambda: self._delete(session_id, file_id))

    def delete_taken(self, session_id: str, file_id: str) -> None:
        """Have a file deleted later; waits where too many wait to be written."""
        with self._changed:
            self._schedule(_KEEP_TAKEN, lambda: self._delete(session_id, file_id))
            self._changed.wait_for(lambda: self._waiting_bytes <= _MAX_WAITING_BYTES, _GET_LIMIT)

    def cancel(self, session_id: str) -> None:
        """Have no file of the session written any more."""
        with self._changed:
            for put in self._puts.pop(session_id, {}).values():
                self._drop(put)

    def detach(self, session_id: str) -> None:
        """Let nothing cancel what is still to be written of the session."""
        with self._changed:
            self._puts.pop(session_id, None)

    def pending(self, session_id: str) -> list[Future[None]]:
        """What tells when the session's files have been tried to be written."""
        with self._changed:
            return [put.tried for put in self._untried.get(session_id, ())]

    # --- with the lock ----------------------------------------------------------------------

    def _schedule(self, pause: float, job: Callable[[], None]) -> None:
        heapq.heappush(self._jobs, (time.monotonic() + pause, next(self._numbers), job))
        self._changed.notify_all()
        if self._thread is None:
            # Ends with the process, which doesn't wait for it.
            self._thread = threading.Thread(target=self._run, name="uploads", daemon=True)
            self._thread.start()

    def _drop(self, put: _Put) -> None:
        self._waiting_bytes -= put.size()
        put.file = None
        self._changed.notify_all()

    def _end(self, put: _Put) -> None:
        self._drop(put)
        puts = self._puts.get(put.session_id, {})
        if puts.get(put.file_id) is put:
            del puts[put.file_id]
            if not puts:
                del self._puts[put.session_id]

    # --- in the thread ----------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._jobs or self._jobs[0][0] > time.monotonic():
                    self._changed.wait(self._jobs[0][0] - time.monotonic() if self._jobs else None)
                _, _, job = heapq.heappop(self._jobs)
            try:
                job()
            except Exception:
                # The next one may do better; without this thread none would be done.
                _LOGGER.exception("an upload was not written")

    def _write(self, put: _Put) -> None:
        file = put.file
        failure: CallFailedError | None = None
        try:
            if file is not None:
                _put(self._calls, put.session_id, file)
        except CallFailedError as error:
            failure = error
        finally:
            self._tried(put, failure)

    def _tried(self, put: _Put, failure: CallFailedError | None) -> None:
        with self._changed:
            put.tries += 1
            again = failure is not None and failure.may_pass and put.tries < _TRIES
            if again and put.file is not None:
                pause = min(_RETRY_MIN * 2 ** (put.tries - 1), _RETRY_MAX)
                self._schedule(pause, lambda: self._write(put))
            else:
                self._end(put)
            untried = self._untried.get(put.session_id)
            if untried is not None:
                untried.discard(put)
                if not untried:
                    del self._untried[put.session_id]
        if not put.tried.done():
            put.tried.set_result(None)

    def _delete(self, session_id: str, file_id: str) -> None:
        try:
            with self._calls.open(_PUT_LIMIT) as call:
                wire = self._calls.wire
                call.send(delete_files=wire.delete_files(session_id=session_id, file_ids=[file_id]))
                call.receive()
        except CallFailedError as error:
            # It goes with its session, or when its time is over.
            _LOGGER.debug("cannot delete an uploaded file: %s", error)


def _put(calls: Calls, session_id: str, file: UploadedFileRec) -> None:
    data = memoryview(file.data)
    with calls.open(_PUT_LIMIT + len(data) / _BYTES_PER_SECOND) as call:
        call.send(
            put_file=calls.wire.put_file(
                session_id=session_id,
                file_id=file.file_id,
                name=file.name,
                type=file.type,
                size=len(data),
            )
        )
        for start in range(0, len(data), _PART):
            call.send(part=bytes(data[start : start + _PART]))
        call.send(part=b"")
        call.receive()


def _get(calls: Calls, session_id: str, file_id: str, limit: float) -> UploadedFileRec | None:
    with calls.open(limit) as call:
        call.send(get_file=calls.wire.get_file(session_id=session_id, file_id=file_id))
        answer = call.receive()
        if answer.WhichOneof("kind") != "file":
            return None
        head = answer.file
        data = bytearray()
        while part := call.receive().part:
            data += part
    return UploadedFileRec(file_id=file_id, name=head.name, type=head.type, data=bytes(data))
