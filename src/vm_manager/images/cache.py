"""The image cache: a directory per URL, in which the image is complete or absent."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from vm_manager.diagnostics.os_errors import os_errors
from vm_manager.domain.deadline import CancelToken
from vm_manager.images.accept import require_acceptable
from vm_manager.images.download import ProgressSink, Source, fetch
from vm_manager.images.http import redacted
from vm_manager.state.files import make_dir, sync_directory, write_atomically
from vm_manager.state.lock import wait_locked


class ImageCache:
    """Images by URL, below the cache's directory: `by-url/<sha256 of the URL>/{data,meta.json}`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self, url: str) -> Path | None:
        """The cached image of a URL, or None."""
        data = self._home(url) / "data"
        return data if data.exists() else None

    def fetch(self, url: str, progress: ProgressSink, cancel: CancelToken) -> Path:
        """The image of a URL, downloaded unless it is there. Two at a time download once.

        Raises: `image::download_failed`, `image::refused`, `image::format_detection_failed`, `host::disk_full`.
        """
        home = self._home(url)
        make_dir(home)
        with wait_locked(home / "lock", cancel):
            if (found := self.find(url)) is not None:
                return found
            part = home / "fetched"
            try:
                fetch(Source(url=url), part, progress, cancel)
                require_acceptable(part)
                write_atomically(home / "meta.json", json.dumps({"url": redacted(url)}, indent=2).encode())
                with os_errors(home):
                    part.chmod(0o400)  # overlays depend on its every byte
                    part.rename(home / "data")
                    sync_directory(home)
            finally:
                part.unlink(missing_ok=True)
        return home / "data"

    def _home(self, url: str) -> Path:
        return self._root / "by-url" / hashlib.sha256(url.encode()).hexdigest()
