"""How large an image may become: a few bytes can be made to become very many."""

from __future__ import annotations

from pathlib import Path

from vm_manager.diagnostics.errors import ImageTooLarge
from vm_manager.host.disk_space import require_spare

_GIB = 1024**3
_LOOK_EVERY_BYTES = 16 * 1024**2


class Room:
    """Watches a file grow, whose end is not known.

    name: of the image, for failures. directory: where it is written. limit_bytes: how long it may become.
    """

    def __init__(self, name: str, directory: Path, limit_bytes: int) -> None:
        self._name, self._directory, self._limit_bytes = name, directory, limit_bytes
        self._size = self._looked_at = 0

    def take(self, size: int) -> None:
        """It is about to grow by so many bytes. Raises: `image::too_large`, `host::disk_full`; `OSError`."""
        self._size += size
        if self._size > self._limit_bytes:
            raise too_large(self._name, None, self._limit_bytes)
        if self._size - self._looked_at >= _LOOK_EVERY_BYTES:
            self._looked_at = self._size
            require_spare(self._directory, self._name, 0)


def too_large(name: str, size: int | None, limit_bytes: int, what: str = "the image") -> ImageTooLarge:
    """The failure that an image beyond a limit is. size: None: nobody knows how large it would have become."""
    wanted = -(-(2 * limit_bytes if size is None else size) // _GIB)
    has = "grows beyond" if size is None else f"has {size} bytes, more than"
    return ImageTooLarge(
        "{what} {name} {has} the limit of {limit} bytes",
        {"what": what, "name": name, "has": has, "limit": limit_bytes},
        help=(f"if you trust it, set VMCTL_MAX_IMAGE_SIZE={wanted}GiB to raise the limit",),
    )
