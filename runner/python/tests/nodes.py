"""Workers that share a cache, in this process: a runner's end of the calls, and Streamlit's caches.

`Runner` keeps values, claims and stamps as a cluster of one machine does. A `Node` is what a
worker has around `st.cache_data`; several of them are as several workers.
"""

import contextlib
import socket
import struct
import threading
import time
import zlib
from pathlib import Path

from google.protobuf import message_factory
from protos import wire as make_wire
from streamfleet_worker import streamlit_compat_cache
from streamfleet_worker.cache_calls import SharedCache
from streamfleet_worker.cache_manager import FleetCacheStorageManager
from streamfleet_worker.cache_stamps import Stamps
from streamfleet_worker.calls import Calls
from streamfleet_worker.streamlit_compat_cache import FleetDataCaches
from streamfleet_worker.wire import BlockingReader, frame
from streamlit.runtime.caching import cache_utils
from streamlit.runtime.caching.cache_data_api import CachedDataFuncInfo
from streamlit.runtime.caching.cache_utils import CachedFunc
from streamlit.web.cache_storage_manager_config import create_default_cache_storage_manager

LIMIT = 10
_now = time.monotonic
WIRE = make_wire()
_SLOTS = 65


def message(name):
    """The class of a message that only a runner makes."""
    file = WIRE.put_file.DESCRIPTOR.file
    return message_factory.GetMessageClass(file.message_types_by_name[name])


CallResponse, Done, Failed, NotFound = map(message, ("CallResponse", "Done", "Failed", "NotFound"))
CachedValue, Granted, Busy = map(message, ("CachedValue", "Granted", "Busy"))


class Runner:
    """A runner's end of the calls."""

    def __init__(self, folder):
        self.path = str(folder / "calls")
        self.stamps_path = str(folder / "stamps")
        self.values = {}
        self.requests = []
        self.failing = set()
        # Who computes, and which owner waits for whom.
        self.claims = {}
        self.waiting = {}
        self.uses = {}
        self.taken_within = 1.0
        # Claims are not answered before.
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.changed = threading.Condition()
        self._stamps = [0] * _SLOTS
        self._write_stamps()
        self._connections = set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(128)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self):
        """Be gone, as when the process dies."""
        self.may_answer.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(LIMIT)
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def until(self, condition, limit=LIMIT):
        with self.changed:
            assert self.changed.wait_for(condition, limit), "it did not come to pass"

    def kinds(self, *wanted):
        kinds = [request.WhichOneof("kind") for request in self.requests]
        return [kind for kind in kinds if not wanted or kind in wanted]

    def bump(self, name=""):
        """Change the stamp of a function, of a call, or of everything."""
        place = 1 + zlib.crc32(name.encode()) % (_SLOTS - 1) if name else 0
        self._stamps[place] += 1
        self._write_stamps()

    def _write_stamps(self):
        # In place: it is mapped.
        with open(self.stamps_path, "r+b" if Path(self.stamps_path).exists() else "wb") as file:
            file.write(struct.pack(f"={_SLOTS}Q", *self._stamps))

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.add(connection)
            threading.Thread(target=self._connection, args=(connection,), daemon=True).start()

    def _connection(self, connection):
        with connection, contextlib.suppress(OSError, EOFError):
            reader = BlockingReader(connection)
            request = WIRE.call_request.FromString(reader.read())
            with self.changed:
                self.requests.append(request)
                self.changed.notify_all()
            kind = request.WhichOneof("kind")
            if kind in self.failing:
                self._send(connection, failed=Failed(reason="the store is away", may_pass=True))
                return
            getattr(self, f"_{kind}")(connection, reader, getattr(request, kind))
        self._connections.discard(connection)

    def _send(self, connection, **kind):
        connection.sendall(frame(CallResponse(**kind)))

    def _send_value(self, connection, value):
        data, expires = value
        remaining = 0 if expires is None else max(1, int((expires - _now()) * 1000))
        self._send(connection, value=CachedValue(size=len(data), remaining_ms=remaining))
        connection.sendall(data)

    def _find(self, key):
        value = self.values.get(key)
        if value is None or (value[1] is not None and value[1] <= _now()):
            return None
        return value

    def _get_value(self, connection, _reader, request):
        value = self._find((request.function.id, request.key))
        if value is None:
            self._send(connection, not_found=NotFound())
        else:
            self._send_value(connection, value)

    def _claim_value(self, connection, reader, claim):
        self.may_answer.wait(LIMIT)
        key = claim.function.id, claim.key
        value, answer = self._decide(connection, claim, key)
        if value is not None:
            self._send_value(connection, value)
        elif answer == "busy":
            self._send(connection, busy=Busy())
        elif answer == "alone":
            self._send(connection, granted=Granted(shared=False))
            reader.read()
        elif answer == "granted":
            try:
                self._granted(connection, reader, claim, key)
            finally:
                with self.changed:
                    if self.claims.get(key) == claim.owner:
                        del self.claims[key]
                    self.changed.notify_all()

    def _decide(self, connection, claim, key):
        with self.changed:
            while True:
                value = self._find(key)
                if value is not None and not claim.anew:
                    return value, None
                if value is not None and value[1] - _now() > claim.fresh_ms / 1000:
                    return value, None
                if key not in self.claims:
                    self.claims[key] = claim.owner
                    self.waiting.pop(claim.owner, None)
                    return None, "granted"
                if not claim.wait:
                    return None, "busy"
                if claim.nested and self._waits_for(self.claims[key], claim.owner):
                    return None, "alone"
                self.waiting[claim.owner] = key
                self.changed.notify_all()
                self.changed.wait(0.01)
                if _hung_up(connection):
                    self.waiting.pop(claim.owner, None)
                    return None, "gone"

    def _waits_for(self, one, other):
        while one != other:
            key = self.waiting.get(one)
            if key not in self.claims:
                return False
            one = self.claims[key]
        return True

    def _granted(self, connection, reader, claim, key):
        before = list(self._stamps)
        self._send(connection, granted=Granted(shared=True))
        connection.settimeout(self.taken_within)
        assert WIRE.call_request.FromString(reader.read()).WhichOneof("kind") == "taken"
        connection.settimeout(None)
        put = WIRE.call_request.FromString(reader.read())
        with self.changed:
            self.requests.append(put)
            self.changed.notify_all()
        if "put_value" in self.failing:
            return
        data = reader._exactly(put.put_value.size)
        ttl = claim.function.ttl_ms / 1000
        with self.changed:
            if before == self._stamps:
                self.values[key] = data, _now() + ttl if ttl else None
        self._send(connection, done=Done())

    def _clear_values(self, connection, _reader, request):
        with self.changed:
            for key in list(self.values):
                if request.function_id in {"", key[0]} and request.key in {"", key[1]}:
                    del self.values[key]
            names = [part for part in (request.function_id, request.key) if part]
            self.bump("/".join(names))
        self._send(connection, done=Done())

    def _values_used(self, _connection, _reader, request):
        with self.changed:
            for use in request.values:
                name = use.function_id, use.key
                self.uses[name] = self.uses.get(name, 0) + use.times
            self.changed.notify_all()


def _hung_up(connection):
    try:
        return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


class Node:
    """What a worker has around `st.cache_data`."""

    def __init__(self, runner, max_value_bytes=1 << 20):
        calls = Calls(WIRE, runner.path)
        self.shared = SharedCache(calls, Stamps(runner.stamps_path), max_value_bytes)
        self.manager = FleetCacheStorageManager(self.shared, create_default_cache_storage_manager())
        self.caches = FleetDataCaches(self.shared.clears.wait)
        self.caches.get_storage_manager = lambda: self.manager

    def function(self, function, **declared):
        """What `st.cache_data` makes of a function in this worker."""
        declared = {"persist": None, "max_entries": None, "ttl": None, **declared}
        scope = declared.pop("scope", "global")
        optional = {
            name: declared.pop(name)
            for name in ("refresh_mode", "max_size_bytes")
            if name in declared
        }
        if _HAS_SIZES:
            optional.setdefault("max_size_bytes", None)
        info = _Info(function, show_spinner=False, scope=scope, **declared, **optional)
        info.node = self
        return CachedFunc(info)

    def cache(self, function):
        """The cache of what `function` returned."""
        return function._info.get_function_cache(function._function_key)

    def key(self, function, *args):
        """The key of a call."""
        return cache_utils._make_value_key(
            cache_type=function._info.cache_type,
            func=function._info.func,
            func_args=args,
            func_kwargs={},
            hash_funcs=None,
        )


_HAS_SIZES = "max_size_bytes" in CachedDataFuncInfo.__annotations__


class _Info(CachedDataFuncInfo):
    """Looks for caches in a node instead of the module."""

    def get_function_cache(self, function_key):
        options = {
            name: getattr(self, name)
            for name in ("refresh_mode", "max_size_bytes")
            if hasattr(self, name)
        }
        return self.node.caches.get_cache(
            key=function_key,
            persist=self.persist,
            max_entries=self.max_entries,
            ttl=self.ttl,
            display_name=self.display_name,
            scope=self.scope,
            **options,
        )

    def validate_params(self):
        pass


def installed(monkeypatch):
    """Have Streamlit make our caches, for one test."""
    names = streamlit_compat_cache.cache_data_api
    monkeypatch.setattr(names, "DataCache", streamlit_compat_cache.FleetDataCache)
    monkeypatch.setattr(names, "_data_caches", names._data_caches)


class Clock:
    """By which values get old here: as time goes, and when a test says so."""

    def __init__(self, monkeypatch):
        self._skipped = 0
        for name in (
            "nodes._now",
            "streamfleet_worker.cache_storage._now",
            "streamlit.runtime.caching.cache_utils.TTLCACHE_TIMER",
        ):
            monkeypatch.setattr(name, self)

    def skip(self, seconds):
        self._skipped += seconds

    def __call__(self):
        return time.monotonic() + self._skipped


class InThread:
    """Calls something in a thread of its own."""

    def __init__(self, function, *args):
        self._function, self._args = function, args
        self.value = self.error = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            self.value = self._function(*self._args)
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self.error = error

    def result(self, limit=LIMIT):
        self._thread.join(limit)
        assert not self._thread.is_alive(), "it has not ended"
        if self.error is not None:
            raise self.error
        return self.value
