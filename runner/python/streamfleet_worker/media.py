"""Media files, with word to the runner of which worker has which."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlit.runtime.memory_media_file_storage import MemoryMediaFileStorage

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlit.runtime.media_file_storage import MediaFileKind


class FleetMediaStorage(MemoryMediaFileStorage):
    """Streamlit's in-memory storage; media URLs carry no session, so the runner keeps a list."""

    def __init__(
        self, endpoint: str, stored: Callable[[str], None], removed: Callable[[str], None]
    ) -> None:
        """Have `stored` and `removed` called with file ids, from any thread."""
        super().__init__(endpoint)
        self._stored = stored
        self._removed = removed
        self._announced: set[str] = set()

    def load_and_get_id(
        self,
        path_or_data: str | bytes,
        mimetype: str,
        kind: MediaFileKind,
        filename: str | None = None,
    ) -> str:
        """Add a file and return its id, which is known to the runner before any browser."""
        file_id = super().load_and_get_id(path_or_data, mimetype, kind, filename)
        if file_id not in self._announced:
            self._announced.add(file_id)
            self._stored(file_id)
        return file_id

    def delete_file(self, file_id: str) -> None:
        """Forget a file."""
        super().delete_file(file_id)
        if file_id in self._announced:
            self._announced.discard(file_id)
            self._removed(file_id)
