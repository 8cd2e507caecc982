"""Images as the cache has them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SizeLimits:
    """How large an image may be.

    file_bytes: the file, as it is when it is decompressed. disk_bytes: the disk that it is for a guest.
    """

    file_bytes: int = 64 * 1024**3
    disk_bytes: int = 2 * 1024**4

    @classmethod
    def of(cls, size_bytes: int | None) -> SizeLimits:
        """One limit for both, None: the usual ones; one that allows larger files than usual forbids no disk that was allowed."""
        if size_bytes is None:
            return cls()
        raised = size_bytes >= cls.file_bytes
        return cls(file_bytes=size_bytes, disk_bytes=max(size_bytes, cls.disk_bytes) if raised else size_bytes)


@dataclass(frozen=True, kw_only=True)
class ImageOrigin:
    """Where an image was fetched from.

    url: without what may be secret in it. name: what the user calls it, by default the URL's last part.
    fetched_at: UTC, ISO 8601; empty when not known.
    """

    url: str
    name: str
    fetched_at: str = ""


@dataclass(frozen=True, kw_only=True)
class CachedImage:
    """An image in the cache.

    digest: of the file as it was served, `sha256:…` or `sha512:…`; None for one that an early vmctl fetched.
    format: qcow2, raw …. virtual_size_bytes: as a guest sees it. size_bytes: what it takes on this host's disk.
    origins: the URLs it was fetched from. used_by: the VMs whose disks stand on it.
    """

    path: str
    digest: str | None
    format: str
    size_bytes: int
    virtual_size_bytes: int
    origins: tuple[ImageOrigin, ...] = ()
    used_by: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the user calls it; its digest when no URL leads to it any more."""
        return self.origins[0].name if self.origins else self.digest or self.path


@dataclass(frozen=True, kw_only=True)
class ImageReport:
    """What a look at an image file shows.

    size_bytes: what it takes on this host's disk. chain: the files below it, the next one first.
    cached: what the cache knows of it, or None when it is not in there. used_by: the VMs whose disks stand on it.
    """

    path: str
    format: str
    size_bytes: int
    virtual_size_bytes: int
    chain: tuple[str, ...] = ()
    cached: CachedImage | None = None
    used_by: tuple[str, ...] = ()
