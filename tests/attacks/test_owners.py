"""Other users of this host, and what they leave lying about: links, pipes, VMFiles, whole data directories."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from inspect import getmembers
from pathlib import Path

import pytest

from driver import Vmctl, as_user
from proofs import prove
from vm_manager.app.log import Log
from vm_manager.app.manager import Manager
from vm_manager.backends.qemu import verdicts
from vm_manager.backends.qemu.files import QemuFiles
from vm_manager.backends.qemu.sockets import SOCKETS
from vm_manager.diagnostics.errors import StateForeign, StateUntrusted, VmError
from vm_manager.domain.deadline import CancelToken
from vm_manager.domain.outcome import Outcome
from vm_manager.domain.owners import others_may_write
from vm_manager.images.cache import ImageCache
from vm_manager.state.files import private, write_atomically
from vm_manager.state.layout import DataDir, ImageFiles
from vm_manager.state.lock import if_unlocked, locked, wait_locked
from vm_manager.state.store import InstanceStore

_OTHER = 65534
_LIMIT_S = 20
_VMFILE = 'vm "web" { image "disk.img"; cloud-init { ssh-key "id.pub"; }; }\n'

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")


@pytest.fixture
def noop(vmctl: Vmctl) -> Vmctl:
    """A project whose VM needs no QEMU."""
    vmctl.env["VMCTL_BACKEND"] = "noop"
    (vmctl.directory / "disk.img").write_bytes(b"\0" * 512)
    (vmctl.directory / "id.pub").write_text(
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA a\n"
    )
    vmctl.write(_VMFILE)
    return vmctl


@pytest.fixture
def shared(noop: Vmctl) -> Path:
    """A directory that everybody may write, as /tmp is, above the one in which commands are run."""
    shared = noop.directory.parent / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    for name in ("disk.img", "id.pub"):
        (noop.directory / name).rename(shared / name)
    (noop.directory / "VMFile.kdl").rename(shared / "VMFile.kdl")
    noop.directory = shared / "mine"
    noop.directory.mkdir()
    return shared


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The data directory of a VM that has run."""
    (tmp_path / "disk.img").write_bytes(b"\0" * 512)
    (tmp_path / "VMFile.kdl").write_text('vm "web" { image "disk.img"; }\n')
    vms = Manager(tmp_path / "vmctl", backend="noop")
    vms.up(vms.load(tmp_path / "VMFile.kdl"))
    vms.stop(["web"])
    return tmp_path / "vmctl"


@contextmanager
def _in_time() -> Iterator[None]:
    """Whoever waits for a pipe, waits no longer than this."""

    def give_up(number: int, frame: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(_LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _obey(stderr: str, before: str) -> None:
    """Run the command that a help text gives."""
    subprocess.run(shlex.split(stderr.partition(before)[2].partition("`")[0]), check=True)


# VMFiles


def test_a_vmfile_of_another_user_found_above_is_not_obeyed_unless_it_is_named(noop: Vmctl, shared: Path) -> None:
    path = shared / "VMFile.kdl"
    os.chown(path, _OTHER, _OTHER)
    result = noop("up", status=3)
    prove(result, "vm_manager::vmfile::untrusted")
    assert f"`--file {shlex.quote(str(path))}`" in result.stderr
    assert not noop.data.exists()
    noop("up", "--file", str(path))
    assert noop.record("web")["origin"] == str(path)


def test_a_link_that_another_user_planted_is_not_followed_to_a_vmfile_of_mine(noop: Vmctl, shared: Path) -> None:
    (shared / "VMFile.kdl").rename(noop.directory.parent / "disk.img.kdl")
    (shared / "VMFile.kdl").symlink_to("disk.img.kdl")
    noop("validate")
    os.lchown(shared / "VMFile.kdl", _OTHER, _OTHER)
    assert noop("validate", status=3).code == "vm_manager::vmfile::untrusted"


def _let_a_group_in(shared: Path) -> None:
    os.chown(shared, 0, 5)
    shared.chmod(0o775)


@pytest.mark.parametrize(
    "let_in",
    [
        lambda shared: shared.chmod(0o777),
        lambda shared: (shared / "VMFile.kdl").chmod(0o666),
        lambda shared: os.chown(shared, _OTHER, _OTHER),
        _let_a_group_in,
    ],
    ids=["all may write its directory", "all may write it", "its directory is another's", "a group may write there"],
)
def test_a_vmfile_that_others_may_write_or_replace_is_not_obeyed(
    noop: Vmctl, shared: Path, let_in: Callable[[Path], object]
) -> None:
    noop("validate")
    let_in(shared)
    result = noop("validate", status=3)
    assert result.code == "vm_manager::vmfile::untrusted"
    noop("validate", "--file", str(shared / "VMFile.kdl"))
    if "chmod" in result.stderr:
        _obey(result.stderr, "remove write access for others: `")
        noop("validate")


def test_the_search_ends_at_a_directory_of_another_user(noop: Vmctl, shared: Path) -> None:
    theirs = shared / "theirs"
    (theirs / "below").mkdir(parents=True)
    os.chown(theirs, _OTHER, _OTHER)
    noop.directory = theirs / "below"
    result = noop("validate", status=3)
    assert result.code == "vm_manager::vmfile::not_found"
    assert f"the search ended at {theirs}" in result.stderr


def test_behind_sudo_the_vmfile_of_whoever_typed_it_is_obeyed(noop: Vmctl, shared: Path) -> None:
    shared.chmod(0o755)
    os.chown(shared, _OTHER, _OTHER)
    os.chown(shared / "VMFile.kdl", _OTHER, _OTHER)
    noop("validate", status=3)
    noop("validate", env={"SUDO_UID": str(_OTHER)})
    noop("validate", status=3, env={"SUDO_UID": "1"})


def test_who_works_under_umask_002_is_not_annoyed(noop: Vmctl, shared: Path) -> None:
    shared.chmod(0o775)
    (shared / "VMFile.kdl").chmod(0o664)
    noop("validate")


def test_a_pipe_is_no_vmfile(noop: Vmctl, shared: Path) -> None:
    (shared / "VMFile.kdl").unlink()
    os.mkfifo(shared / "VMFile.kdl")
    with _in_time():
        refused = noop("validate", status=3)
    assert refused.code == "vm_manager::vmfile::parse_failed"
    assert "VMFile.kdl is not a regular file" in refused.stderr


# Data directories


@pytest.mark.parametrize("place", ["", "vms", "locks", "images", "crashes"])
@pytest.mark.parametrize("theirs", [True, False], ids=["belongs to another user", "all may write"])
def test_a_data_directory_that_is_not_ours_alone_is_neither_read_nor_written(
    made: Path, place: str, theirs: bool
) -> None:
    (made / place).mkdir(exist_ok=True, mode=0o700)
    if theirs:
        os.chown(made / place, _OTHER, _OTHER)
    else:
        (made / place).chmod(0o777)
    before = sorted(made.rglob("*"))
    for command in (
        lambda vms: vms.names(),
        lambda vms: vms.status("web"),
        lambda vms: vms.start(["web"]),
        lambda vms: vms.destroy(["web"]),
        lambda vms: vms.images(),
        lambda vms: list(vms.log("web", (*Log, "qemu"))),
    ):
        with pytest.raises(StateUntrusted):
            command(Manager(made))
    assert sorted(made.rglob("*")) == before


@pytest.mark.parametrize("place", ["", "..", "link"])
@pytest.mark.parametrize("theirs", [True, False], ids=["belongs to another user", "all may write"])
def test_a_data_directory_in_a_place_of_others_is_neither_read_nor_written(
    tmp_path: Path, place: str, theirs: bool
) -> None:
    home = tmp_path / "a" / "b"
    home.mkdir(parents=True)
    (tmp_path / "link").symlink_to(home)
    changed = home if place == "link" else home / place
    used = tmp_path / "link" if place == "link" else home
    if theirs:
        os.chown(changed, _OTHER, _OTHER)
    else:
        changed.chmod(0o777)
    for command in (Manager.names, Manager.images):
        with pytest.raises(StateUntrusted) as caught:
            command(Manager(used / "vmctl"))
        assert caught.value.diagnostic.help
    assert list(home.iterdir()) == []
    # What is sticky belongs to all, and yet nobody can take away what is there.
    os.chown(changed, 0, 0)
    changed.chmod(0o1777)
    assert Manager(used / "vmctl").names() == ()


def test_a_home_below_anothers_directory_is_where_the_caller_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in containers whose HOME is mounted from outside. Whoever controls it has the caller's shell and keys anyway.
    home = tmp_path / "github" / "home"
    home.mkdir(parents=True)
    for theirs in (home.parent, home):
        os.chown(theirs, _OTHER, _OTHER)
    monkeypatch.setenv("HOME", str(home))
    made = home / "share"
    made.mkdir(mode=0o700)
    assert Manager(made / "vmctl").names() == ()
    made.chmod(0o777)
    with pytest.raises(StateUntrusted) as caught:
        Manager(made / "vmctl").names()
    assert caught.value.diagnostic.help[0] == f"keep others out: `chmod go-w {made}`"
    os.chown(made, _OTHER, _OTHER)
    with pytest.raises(StateUntrusted):
        Manager(made / "vmctl").names()


def test_nobody_is_told_to_change_the_rights_of_a_directory_that_is_not_theirs(noop: Vmctl, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "data")
    (tmp_path / "elsewhere" / "data").mkdir(parents=True)
    (tmp_path / "elsewhere").chmod(0o777)
    refused = noop("list", status=14, env={"XDG_DATA_HOME": str(tmp_path / "link")})
    assert refused.code == "vm_manager::state::untrusted"
    assert "elsewhere, and could replace" in refused.stderr


def test_an_owner_whom_a_user_namespace_does_not_name_is_no_other_user(noop: Vmctl, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir(mode=0o755)
    os.chown(place, _OTHER, _OTHER)
    environment = {"XDG_DATA_HOME": str(place / "data")}
    (place / "data").mkdir(mode=0o700)
    assert noop("list", status=14, env=environment).code == "vm_manager::state::untrusted"
    noop.prefix = ("unshare", "-Ur")
    assert noop("list", env=environment).status == 0
    place.chmod(0o777)
    assert noop("list", status=14, env=environment).code == "vm_manager::state::untrusted"


def test_a_link_of_another_user_to_a_directory_of_mine_is_not_followed(tmp_path: Path) -> None:
    home, link = tmp_path / "home", tmp_path / "link"
    home.mkdir()
    link.symlink_to(home)
    assert Manager(link / "vmctl").names() == ()
    os.chown(link, _OTHER, _OTHER, follow_symlinks=False)
    with pytest.raises(StateUntrusted):
        Manager(link / "vmctl").names()


def test_who_may_write_where_the_data_directory_is_and_how_to_end_that_is_told(noop: Vmctl) -> None:
    noop.data.mkdir(exist_ok=True)
    noop.data.chmod(0o777)
    result = noop("up", status=14)
    prove(result, "vm_manager::state::untrusted")
    assert list(noop.data.iterdir()) == []
    _obey(result.stderr, "keep others out: `")
    noop("up")


def test_who_is_refused_a_data_directory_is_told_the_way_out(noop: Vmctl) -> None:
    root = noop.data / "vmctl"
    root.mkdir(parents=True)
    os.chown(root, _OTHER, _OTHER)
    result = noop("list", status=14)
    prove(result, "vm_manager::state::untrusted")
    assert "`sudo env XDG_DATA_HOME=/root/.local/share vmctl list`" in result.stderr
    os.chown(root, 0, 0)
    root.chmod(0o777)
    _obey(noop("list", status=14).stderr, "keep others out: `")
    noop("list")


def test_a_vms_directory_of_another_user_concerns_that_vm_alone(noop: Vmctl) -> None:
    noop("up")
    noop("create", "--name", "box", "--image", "disk.img")
    os.chown(noop.home("web"), _OTHER, _OTHER)
    for command in ("status", "destroy"):
        assert noop(command, "web", status=14).code == "vm_manager::state::untrusted"
    listed = noop("list", "--json")
    assert [vm["name"] for vm in listed.json["vms"]] == ["box"]
    assert [found["code"] for found in listed.json["diagnostics"]] == ["vm_manager::state::untrusted"]
    os.chown(noop.home("web"), 0, 0)


def test_another_user_is_told_whose_directory_it_is_and_where_to_go(noop: Vmctl, tmp_path_factory: object) -> None:
    noop("up")
    base = noop.directory.parent
    while base != Path("/tmp") and base != base.parent:
        base.chmod(base.stat().st_mode | 0o055)
        base = base.parent
    noop.directory.chmod(0o755)
    noop.data.chmod(0o755)
    (noop.data / "vmctl").chmod(0o755)
    noop.prefix = as_user(_OTHER)
    result = noop("list", status=14)
    noop.prefix = ()
    assert result.code == "vm_manager::state::untrusted"
    assert "belongs to root, and vmctl runs as nobody" in result.stderr
    assert f"sudo chown -R {_OTHER}: " in result.stderr


def test_a_verdict_in_a_cache_of_another_user_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    verdicts.remember("this host", verdicts.Verdict(True))
    assert verdicts.recall("this host")
    kept = tmp_path / "vmctl" / "accelerator.json"
    os.chown(tmp_path / "vmctl", _OTHER, _OTHER)
    before = kept.read_bytes()
    assert verdicts.recall("this host") is None
    verdicts.remember("this host", verdicts.Verdict(False))
    assert kept.read_bytes() == before
    os.chown(tmp_path / "vmctl", 0, 0)
    assert verdicts.recall("this host")
    tmp_path.chmod(0o777)
    assert verdicts.recall("this host") is None


# What stands in the place of vmctl's files


def _link(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def _dangling(path: Path, victim: Path) -> None:
    path.symlink_to(victim.with_name("not-there"))


def _pipe(path: Path, victim: Path) -> None:
    os.mkfifo(path)


def _second_name(path: Path, victim: Path) -> None:
    path.hardlink_to(victim)


def _of_another(path: Path, victim: Path) -> None:
    path.touch()
    os.chown(path, _OTHER, _OTHER)


_TRAPS = [_link, _dangling, _pipe, _second_name, _of_another]


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Path]:
    """A file of the user's that must stay as it is."""
    path = tmp_path / "precious"
    path.write_bytes(b"precious")
    path.chmod(0o644)
    yield path
    assert path.read_bytes() == b"precious"
    assert path.stat().st_mode & 0o777 == 0o644
    assert not path.with_name("not-there").exists()


@pytest.mark.parametrize("trap", _TRAPS)
def test_no_lock_is_opened_through_what_stands_in_its_place(
    tmp_path: Path, victim: Path, trap: Callable[[Path, Path], None]
) -> None:
    path = tmp_path / "web.lock"
    trap(path, victim)
    cancel = CancelToken()
    for hold in (
        lambda: locked(tmp_path, "web", "vmctl up"),
        lambda: wait_locked(path, cancel),
        lambda: wait_locked(path, cancel, shared=True),
        lambda: if_unlocked(path),
    ):
        with _in_time(), pytest.raises(StateUntrusted) as caught, hold():
            pass
        assert str(path) in str(caught.value)
    path.unlink()


@pytest.mark.parametrize("trap", [_link, _pipe, _second_name])
def test_no_command_takes_a_lock_that_was_planted_and_the_advice_mends_that(
    noop: Vmctl, victim: Path, trap: Callable[[Path, Path], None]
) -> None:
    noop("create", "--name", "box", "--image", "disk.img")
    path = noop.data / "vmctl" / "locks" / "box.lock"
    path.unlink()
    trap(path, victim)
    result = noop("destroy", "box", status=14)
    assert result.code == "vm_manager::state::untrusted"
    _obey(result.stderr, "move it away: `")
    noop("destroy", "box")
    path.with_name("box.lock.foreign").unlink()


@pytest.mark.parametrize("trap", _TRAPS)
@pytest.mark.parametrize(
    "flags", [os.O_WRONLY, os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_TRUNC, os.O_WRONLY | os.O_APPEND]
)
def test_nothing_is_written_or_emptied_through_what_is_not_ours(
    tmp_path: Path, victim: Path, trap: Callable[[Path, Path], None], flags: int
) -> None:
    trap(tmp_path / "file", victim)
    with _in_time(), pytest.raises(StateUntrusted):
        private(str(tmp_path / "file"), flags)


@pytest.mark.parametrize("trap", _TRAPS)
def test_a_temporary_name_that_was_taken_is_taken_back(
    tmp_path: Path, victim: Path, trap: Callable[[Path, Path], None]
) -> None:
    (tmp_path / "home").mkdir()
    trap(tmp_path / "home" / f".vm.json.{os.getpid()}.tmp", victim)
    with _in_time():
        write_atomically(tmp_path / "home" / "vm.json", b"new")
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["vm.json"]


def _names() -> list[str]:
    """Every name that a file of a VM may have."""
    files = QemuFiles(Path("."))
    found = [getattr(files, name) for name, _ in getmembers(QemuFiles, lambda member: isinstance(member, property))]
    names = {path.name for value in found for path in (value if isinstance(value, tuple) else (value,))}
    return sorted({*names, *SOCKETS, "id_ed25519_generated.pub", "machine", ".vm.json.1.tmp", "console.log.1"})


@pytest.mark.parametrize("trap", [_link, _dangling, _pipe])
def test_what_was_planted_in_a_vms_directory_stops_every_command_but_destroy(
    made: Path, victim: Path, trap: Callable[[Path, Path], None]
) -> None:
    home, vms = made / "vms" / "web", Manager(made)
    commands: list[Callable[[], object]] = [
        lambda: vms.status("web"),
        lambda: vms.start(["web"]),
        lambda: vms.stop(["web"]),
        lambda: list(vms.log("web", (*Log, "qemu"))),
        lambda: vms.snapshots("web"),
    ]
    for name in _names():
        path, aside = home / name, made / "aside"
        if path.exists():
            path.rename(aside)
        trap(path, victim)
        for command in commands:
            with _in_time():
                refused = _refusal(command)
            # Temporary files of killed commands are cleared away first, and so is what pretends to be one.
            assert refused == StateUntrusted.code or (name.startswith(".") and refused is None), name
            if not os.path.lexists(path):
                trap(path, victim)  # what a killed command leaves is cleared away
        path.unlink()
        if aside.exists():
            aside.rename(path)
    trap(home / "life-line", victim)
    with _in_time():
        vms.destroy(["web"])
    assert not home.exists()


def _refusal(command: Callable[[], object]) -> str | None:
    try:
        result = command()
    except VmError as error:
        return error.code
    outcomes = result if isinstance(result, tuple) else ()
    return next((outcome.error.code for outcome in outcomes if isinstance(outcome, Outcome) and outcome.error), None)


@pytest.mark.parametrize("trap", _TRAPS)
def test_metadata_of_the_image_cache_that_is_not_ours_does_not_count(
    noop: Vmctl, victim: Path, trap: Callable[[Path, Path], None]
) -> None:
    noop("image", "pull", "disk.img")
    root = noop.data / "vmctl" / "images"
    (meta,) = ImageFiles(root).by_url.glob("*/meta.json")
    meta.unlink()
    trap(meta, victim)
    with _in_time():
        assert [origin for image in ImageCache(root).images() for origin in image.origins] == []


# Directories of other programs


@pytest.fixture
def original(noop: Vmctl) -> Path:
    """A data directory in which the Rust project vm-manager keeps a VM, and vmctl another."""
    noop("create", "--name", "box", "--image", "disk.img")
    root = noop.data / "vmctl"
    (root / "vms.json").write_text('{"old": {"name": "old", "backend": "qemu"}}')
    (root / "vms" / "old").mkdir()
    (root / "vms" / "old" / "overlay.qcow2").write_bytes(b"a disk")
    return root


def test_a_vm_of_the_original_is_named_once_and_never_touched(noop: Vmctl, original: Path) -> None:
    listed = noop("list")
    assert listed.stdout.splitlines()[1:] == [line for line in listed.stdout.splitlines() if line.startswith("box ")]
    assert listed.stderr.count("warning[") == 1
    assert "warning[vm_manager::state::foreign]: no VM of vmctl's: old in " in listed.stderr
    assert "the Rust project vm-manager" in listed.stderr
    assert [vm["name"] for vm in noop("list", "--json").json["vms"]] == ["box"]
    result = noop("destroy", "old", status=14)
    prove(result, "vm_manager::state::foreign")
    assert "destroy" not in result.stderr
    vms = Manager(original, backend="noop")
    project = vms.load(noop.write(_VMFILE.replace('"web"', '"old"')))
    for command in (
        lambda: vms.status("old"),
        lambda: vms.start(["old"]),
        lambda: vms.stop(["old"]),
        lambda: list(vms.log("old", (*Log, "qemu"))),
        lambda: vms.up(project),
        lambda: vms.down(project, destroy=True),
        lambda: vms.reload(project),
        lambda: vms.snapshots("old"),
        lambda: vms.login_command("old"),
    ):
        with pytest.raises(StateForeign):
            command()
    assert (original / "vms" / "old" / "overlay.qcow2").read_bytes() == b"a disk"
    assert [path.name for path in (original / "vms" / "old").iterdir()] == ["overlay.qcow2"]


def test_an_empty_directory_is_not_replaced(noop: Vmctl) -> None:
    (noop.data / "vmctl" / "vms" / "web").mkdir(parents=True, mode=0o700)
    assert noop("up", status=14).code == "vm_manager::state::foreign"


def test_a_foreign_directory_is_no_vm(tmp_path: Path) -> None:
    store = InstanceStore(DataDir(tmp_path))
    (tmp_path / "vms" / "old").mkdir(parents=True)
    assert (store.names(), store.foreign()) == ((), ("old",))
    for use in (store.exists, store.require, store.read, lambda name: store.lock(name, "test")):
        with pytest.raises(StateForeign):
            use("old")


def test_a_group_with_members_is_others_and_ones_own_is_not(tmp_path: Path) -> None:
    tmp_path.chmod(0o770)
    assert not others_may_write(tmp_path.stat())
    with suppress(KeyError):
        os.chown(tmp_path, 0, 5)  # tty, in which root is not alone
        assert others_may_write(tmp_path.stat())
