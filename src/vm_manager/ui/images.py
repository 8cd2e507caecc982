"""Images for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

from vm_manager.domain.image import CachedImage, ImageReport

_COLUMNS = ("NAME", "FORMAT", "SIZE", "VIRTUAL", "FETCHED", "DIGEST", "VMS")
_NUMBERS = ("SIZE", "VIRTUAL")
_DIGEST_DIGITS = 12


def image_list_lines(images: Sequence[CachedImage]) -> list[str]:
    """The table of `vmctl image list`."""
    rows = [_COLUMNS, *(_row(image) for image in images)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return ["  ".join(_cell(*cell) for cell in zip(_COLUMNS, row, widths, strict=True)).rstrip() for row in rows]


def report_lines(report: ImageReport) -> list[str]:
    """Everything known of an image, a line each."""
    cached = report.cached
    facts = [
        ("Path", report.path),
        ("Format", report.format),
        ("Virtual size", f"{size(report.virtual_size_bytes)} ({report.virtual_size_bytes} bytes)"),
        ("Size on disk", size(report.size_bytes)),
        *(("Backing file", path) for path in report.chain),
        ("Digest", (cached.digest if cached else None) or "-"),
        *(
            ("Source", f"{origin.url} as {origin.name}{f', {origin.fetched_at}' if origin.fetched_at else ''}")
            for origin in (cached.origins if cached else ())
        ),
        ("VMs", ", ".join(report.used_by) or "-"),
    ]
    return [f"{f'{name}:':<13} {value}" for name, value in facts]


def image_item(image: CachedImage) -> dict[str, object]:
    """An image in `vmctl image list --json`."""
    return {
        "name": image.name,
        "path": image.path,
        "digest": image.digest,
        "format": image.format,
        "size_bytes": image.size_bytes,
        "virtual_size_bytes": image.virtual_size_bytes,
        "sources": [vars(origin) for origin in image.origins],
        "used_by": list(image.used_by),
    }


def report_item(report: ImageReport) -> dict[str, object]:
    """An image in `vmctl image inspect --json`: the same and more."""
    cached = report.cached
    return {
        "name": cached.name if cached else None,
        "path": report.path,
        "digest": cached.digest if cached else None,
        "format": report.format,
        "size_bytes": report.size_bytes,
        "virtual_size_bytes": report.virtual_size_bytes,
        "backing_chain": list(report.chain),
        "sources": [vars(origin) for origin in cached.origins] if cached else [],
        "used_by": list(report.used_by),
    }


def size(size_bytes: int) -> str:
    """A size in the largest unit that leaves a number above one: "160.0 MiB"."""
    amount, unit = float(size_bytes), "bytes"
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):  # noqa: B007
        if amount < 1024:
            break
        amount /= 1024
    return f"{size_bytes} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"


def _cell(column: str, text: str, width: int) -> str:
    return f"{text:>{width}}" if column in _NUMBERS else f"{text:<{width}}"


def _row(image: CachedImage) -> tuple[str, ...]:
    algorithm, _, digits = (image.digest or "-").partition(":")
    return (
        image.name,
        image.format,
        size(image.size_bytes),
        size(image.virtual_size_bytes),
        (image.origins[0].fetched_at[:10] if image.origins else "") or "-",
        f"{algorithm}:{digits[:_DIGEST_DIGITS]}" if digits else algorithm,
        ", ".join(image.used_by) or "-",
    )
