"""The seed as a CD-ROM image: label `cidata`, with Joliet and Rock Ridge names. Source: cloud-init, "NoCloud"."""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import pycdlib
from pycdlib.pycdlibexception import PyCdlibException

from vm_manager.diagnostics.errors import SeedIsoFailed
from vm_manager.diagnostics.os_errors import diagnosed
from vm_manager.state.files import private


def write_seed(path: Path, files: Mapping[str, bytes]) -> None:
    """Write the seed image, mode 0600: it holds a private host key.

    files: name → content, at the image's root.
    Raises: `cloudinit::iso_failed`; its cause tells a full disk from a forbidden directory.
    """
    try:
        content = _image(files)
        with open(path, "xb", opener=private) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except PyCdlibException as error:
        raise SeedIsoFailed("could not create the seed image") from error
    except OSError as error:
        refusal = diagnosed(error, path)
        refusal.__cause__ = error
        raise SeedIsoFailed(
            "could not write the seed image {path}", {"path": str(path)}, help=refusal.diagnostic.help
        ) from refusal


def _image(files: Mapping[str, bytes]) -> bytes:
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, vol_ident="cidata", joliet=3, rock_ridge="1.09")
    for number, (name, content) in enumerate(files.items()):
        # The plain ISO 9660 name is never read; Joliet's and Rock Ridge's are.
        iso.add_fp(BytesIO(content), len(content), f"/FILE{number}.;1", rr_name=name, joliet_path=f"/{name}")
    image = BytesIO()
    iso.write_fp(image)
    iso.close()
    return image.getvalue()
