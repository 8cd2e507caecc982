"""How large the disks of drives are, read from their headers."""

from __future__ import annotations

from contextlib import suppress

from vm_manager.diagnostics.errors import VmError
from vm_manager.host.image_header import read_header
from vm_manager.state.layout import InstanceFiles


def drive_sizes(files: InstanceFiles) -> dict[str, int]:
    """See `Machine.drives`."""
    sizes: dict[str, int] = {}
    with suppress(OSError):
        for path in files.drives.glob("*.qcow2"):
            with suppress(VmError):
                if (size := read_header(path).virtual_size_bytes) is not None:
                    sizes[path.stem] = size
    return sizes
