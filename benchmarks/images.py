"""How fast images are fetched, as ratios to curl and what one would pipe it through: median of pairs run in turn."""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from oci_registry import digest_of, running_registry
from servers import nginx

PAIRS = 3
MIB = 1024 * 1024
VMCTL = str(Path(sys.executable).with_name("vmctl"))


def main() -> None:
    """Print a line per way to fetch an image: its median ratio, and what it is to stay below."""
    missing = [tool for tool in ("nginx", "docker-registry", "curl", "zstd") if shutil.which(tool) is None]
    if missing:
        print(f"images: not measured, without {', '.join(missing)}")  # noqa: T201
        return
    with (
        tempfile.TemporaryDirectory() as directory,
        served(Path(directory)) as (base, url, digest),
        pushed(base / "www" / "large.raw", base / "registry") as (reference, blob),
    ):
        rows = [
            (
                "image pull, 1 GiB, sha512 / curl | tee | sha512sum",
                f"{VMCTL} -q image pull {url}/large.raw --sha512 {digest}",
                f"curl -s {url}/large.raw | tee out | sha512sum",
                1.2,
            ),
            (
                "image pull, 1 GiB as .zst / curl | zstd -d",
                f"{VMCTL} -q image pull {url}/large.raw.zst",
                f"curl -s {url}/large.raw.zst | zstd -q -d -o out",
                1.3,
            ),
            (
                "image pull from a registry / curl | tee | sha256sum",
                f"{VMCTL} -q image pull {reference}",
                f"curl -s {blob} | tee out | sha256sum",
                1.2,
            ),
        ]
        for title, left, right, budget in rows:
            pairs = [(seconds(left, base), seconds(right, base)) for _ in range(PAIRS)]
            ratios = [ours / theirs for ours, theirs in pairs]
            print(f"{title:<52} {statistics.median(ratios):5.2f}  (budget {budget})")  # noqa: T201
        peaks = [peak_kib(f"{url}/{name}.raw", base) for name in ("large", "small")]
        print(f"{'peak memory of image pull, 1 GiB / 100 MiB':<52} {peaks[0] / peaks[1]:5.2f}  (budget 1.1)")  # noqa: T201


@contextmanager
def served(base: Path) -> Iterator[tuple[Path, str, str]]:
    """Disks of 1 GiB and of 100 MiB, and the first compressed; yields where, their server's URL, the first one's SHA-512."""
    root = base / "www"
    root.mkdir()
    base.chmod(0o755)
    hashed = hashlib.sha512()
    with (root / "large.raw").open("wb") as file:
        for number in range(1024):
            # Half as much information as bytes, as in a disk image.
            block = os.urandom(MIB // 2).hex().encode()
            if number == 0:
                block = block[:510] + b"\x55\xaa" + block[512:]
            hashed.update(block)
            file.write(block)
    subprocess.run(["zstd", "-q", "-1", "large.raw", "-o", "large.raw.zst"], cwd=root, check=True)
    with (root / "small.raw").open("wb") as file:
        file.write((root / "large.raw").open("rb").read(100 * MIB))
    with nginx(root, base / "nginx") as url:
        yield base, url, hashed.hexdigest()


@contextmanager
def pushed(disk: Path, home: Path) -> Iterator[tuple[str, str]]:
    """A registry with the disk; yields its reference, and the URL of the layer."""
    content = disk.read_bytes()
    with running_registry(home) as registry:
        registry.push("disk", "1", content)
        yield f"{registry.reference}/disk:1", f"http://{registry.host}/v2/disk/blobs/{digest_of(content)}"


def seconds(command: str, base: Path) -> float:
    """The wall time of a command in an empty directory. vmctl's includes that the image is safe on the disk, curl's does not."""
    with tempfile.TemporaryDirectory(dir=base) as work:
        os.sync()
        started = time.perf_counter()
        script = f"set -o pipefail; {command}"
        environment = {**os.environ, "XDG_DATA_HOME": work}
        subprocess.run(["bash", "-c", script], cwd=work, env=environment, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - started


def peak_kib(url: str, base: Path) -> int:
    """The peak resident memory of a pull."""
    with tempfile.TemporaryDirectory(dir=base) as work:
        process = subprocess.Popen(
            [VMCTL, "-q", "image", "pull", url], env={**os.environ, "XDG_DATA_HOME": work}, stdout=subprocess.DEVNULL
        )
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
        return usage.ru_maxrss


if __name__ == "__main__":
    main()
