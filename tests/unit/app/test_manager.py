"""What the library takes: paths as texts, whole numbers, one name or several."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from vm_manager import Accelerator, Log, Manager, NewVm, Outcome, Project, Silence
from vm_manager.diagnostics.errors import (
    CreateInvalidMemory,
    CreateInvalidVcpus,
    NoKey,
    Usage,
    VmError,
    VmFileNotFound,
    VmNotFound,
)

_MIB = 1024**2
_GIB = 1024**3


@pytest.fixture(autouse=True)
def _in_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory has an image and a VMFile."""
    monkeypatch.chdir(tmp_path)
    Path("disk.img").write_bytes(b"\0" * 512)
    Path("VMFile.kdl").write_text('vm "web" { image "disk.img" }\nvm "db" { image "disk.img" }\n')


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    return Manager(str(tmp_path / "data"), backend="noop")


@pytest.fixture
def project(manager: Manager) -> Project:
    project = manager.load("VMFile.kdl")
    manager.up(project)
    return project


def _worked_on(outcomes: tuple[Outcome, ...]) -> list[str]:
    assert [outcome.error for outcome in outcomes] == [None] * len(outcomes)
    return [outcome.vm for outcome in outcomes]


# Open and closed


def test_a_manager_may_be_closed_and_goes_on_when_it_is_asked_again(project: Project, tmp_path: Path) -> None:
    with Manager(tmp_path / "data", backend="noop") as vms:
        assert _worked_on(vms.suspend("web")) == ["web"]
    vms.close()
    assert _worked_on(vms.resume("web")) == ["web"]


def test_a_thread_that_is_just_importing_asyncio_disturbs_no_other(
    manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its module is in sys.modules before anything is in it.
    monkeypatch.setitem(sys.modules, "asyncio", ModuleType("asyncio"))
    with pytest.raises(VmNotFound):
        manager.status("web")
    assert isinstance(manager.last_error(), VmNotFound)


# Paths


def test_a_data_directory_may_be_a_text(manager: Manager, tmp_path: Path, project: Project) -> None:
    assert (tmp_path / "data" / "vms" / "web" / "vm.json").exists()
    assert Manager(tmp_path / "data").names() == manager.names() == ("db", "web")


def test_a_vmfile_may_be_a_text(manager: Manager) -> None:
    assert manager.load("VMFile.kdl") == manager.load(Path("VMFile.kdl"))
    with pytest.raises(VmFileNotFound):
        manager.load("missing.kdl")


def test_a_data_directory_that_is_relative_stays_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manager = Manager("data", backend="noop")
    manager.create(NewVm(name="web", image="disk.img"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert manager.names() == ("web",)
    with pytest.raises(VmNotFound) as caught:
        manager.status("nope")
    assert caught.value.diagnostic.subject.connection == str(tmp_path / "data")


def test_the_files_of_a_new_vm_may_be_texts(manager: Manager, tmp_path: Path) -> None:
    Path("user-data").write_text("#cloud-config\n{}\n")
    _worked_on(manager.create(NewVm(name="box", image="disk.img", user_data="user-data")))
    spec = manager.status("box").record.spec
    assert spec.image.path == str(tmp_path / "disk.img")
    assert spec.cloud_init is not None
    assert spec.cloud_init.user_data == str(tmp_path / "user-data")


def test_the_key_of_a_login_may_be_a_text(manager: Manager, project: Project) -> None:
    for key in ("no-key", Path("no-key")):
        with pytest.raises(NoKey, match="the private key no-key does not exist"):
            manager.login_command("web", key=key)


def test_images_may_be_named_by_paths_and_by_texts(manager: Manager, tmp_path: Path) -> None:
    for image in ("disk.img", Path("disk.img")):
        assert manager.inspect_image(image).path == str(tmp_path / "disk.img")
        assert manager.pull_image(image, name="disk").image.origins[0].name == "disk"
    assert [image.origins[0].name for image in manager.remove_images("disk")] == ["disk"]
    targets: tuple[str | Path, ...] = ("copy0.qcow2", Path("copy1.qcow2"))
    for number, target in enumerate(targets):
        assert manager.convert_image("disk.img", target).path == str(tmp_path / f"copy{number}.qcow2")


def test_the_place_to_move_to_may_be_a_path_or_a_text(manager: Manager, project: Project, tmp_path: Path) -> None:
    for place in (tmp_path / "data", str(tmp_path / "data")):
        with pytest.raises(Usage, match="already"):
            manager.migrate("web", place)


# Numbers


def test_the_sizes_of_a_new_vm_may_be_whole_numbers(manager: Manager) -> None:
    manager.create(NewVm(name="box", image="disk.img", vcpus=2, memory=2048, disk=3))
    spec = manager.status("box").record.spec
    assert (spec.vcpus, spec.memory_mib, spec.disk_bytes) == (2, 2048, 3 * _GIB)
    manager.create(NewVm(name="same", image="disk.img", vcpus="2", memory="2GiB", disk="3GiB"))
    same = manager.status("same").record.spec
    assert (same.vcpus, same.memory_mib, same.disk_bytes) == (2, 2048, 3 * _GIB)


@pytest.mark.parametrize(
    ("new", "error"),
    [
        (NewVm(name="box", image="disk.img", vcpus=0), CreateInvalidVcpus),
        (NewVm(name="box", image="disk.img", vcpus=-1), CreateInvalidVcpus),
        (NewVm(name="box", image="disk.img", vcpus=True), CreateInvalidVcpus),
        (NewVm(name="box", image="disk.img", memory=1), CreateInvalidMemory),
        (NewVm(name="box", image="disk.img", disk=-3), Usage),
    ],
    ids=lambda value: "" if isinstance(value, NewVm) else value.__name__,
)
def test_a_number_that_cannot_be_is_refused_as_its_text_is(manager: Manager, new: NewVm, error: type[VmError]) -> None:
    with pytest.raises(error):
        manager.create(new)
    assert manager.names() == ()


def test_an_accelerator_may_be_its_word(tmp_path: Path) -> None:
    manager = Manager("data", backend="noop", accelerator="tcg")
    manager.create(NewVm(name="box", image="disk.img", accelerator="kvm"))
    assert manager.status("box").record.spec.accelerator is Accelerator.KVM
    with pytest.raises(ValueError, match="warp"):
        Manager("data", accelerator="warp")


# Names

_ON_NAMES: dict[str, Callable[[Manager, Project, str], tuple[Outcome, ...]]] = {
    "up": lambda manager, project, name: manager.up(project, name),
    "reload": lambda manager, project, name: manager.reload(project, name),
    "down": lambda manager, project, name: manager.down(project, name),
    "start": lambda manager, project, name: manager.start(name),
    "stop": lambda manager, project, name: manager.stop(name),
    "restart": lambda manager, project, name: manager.restart(name),
    "suspend": lambda manager, project, name: manager.suspend(name),
    "destroy": lambda manager, project, name: manager.destroy(name),
}


@pytest.mark.parametrize("work", _ON_NAMES.values(), ids=_ON_NAMES)
def test_one_name_is_a_vm_and_not_its_letters(
    manager: Manager, project: Project, work: Callable[[Manager, Project, str], tuple[Outcome, ...]]
) -> None:
    assert _worked_on(work(manager, project, "web")) == ["web"]
    with pytest.raises(VmNotFound) as caught:
        work(manager, project, "xyz")
    assert caught.value.diagnostic.args["name"] == "xyz"


def test_names_may_come_one_after_the_other(manager: Manager, project: Project) -> None:
    def names() -> Iterator[str]:
        yield "web"
        yield "db"

    assert _worked_on(manager.stop(names())) == ["web", "db"]
    assert _worked_on(manager.up(project, names())) == ["web", "db"]
    assert {operation.vm for operation in manager.plan(project, "web").operations} == {"web"}


def test_one_log_need_not_be_in_a_list(manager: Manager, project: Project) -> None:
    assert list(manager.log("web", Log.CONSOLE)) == [Silence(Log.CONSOLE)]
    assert list(manager.log("web", ("provision", Log.CONSOLE))) == [Silence("provision"), Silence("console")]
