"""What provisioning runs in a guest, run here: by every shell that this host has."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vm_manager.guest.remote_scripts import (
    RUN,
    SAVE,
    Placement,
    directory_of,
    file_script,
    inline_script,
    place_directory,
    place_file,
    remove,
    run_content,
    run_in,
)
from vm_manager.guest.sources import directory_chunks, file_chunks, source_of

_LOGIN_SHELLS = [shell for shell in ("dash", "bash", "zsh", "fish", "busybox") if shutil.which(shell)]
_ODD = 'it\'s a "b" $(touch pwned) `touch pwned` $HOME \\ \n ! * ; & é'


@pytest.fixture(params=_LOGIN_SHELLS)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A login shell; where it is busybox's, so is every `sh` and every other program."""
    found = shutil.which(request.param)
    assert found
    tools = tmp_path / "tools"
    tools.mkdir()
    if request.param == "busybox":
        for applet in subprocess.run([found, "--list"], capture_output=True, text=True, check=True).stdout.split():
            (tools / applet).symlink_to(found)
        found = str(tools / "sh")
    return Path(found)


def _run(
    shell: Path, command: str, content: bytes = b"", cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """As sshd does it: the user's shell with -c, and SHELL naming it."""
    tools = shell.parent if shell.parent.name == "tools" else None
    path = str(tools) if tools else os.environ["PATH"]
    return subprocess.run(
        [str(shell), "-c", command],
        input=content,
        capture_output=True,
        cwd=cwd,
        env={"PATH": path, "SHELL": str(shell), "HOME": str(cwd or "/"), "LC_ALL": "C.UTF-8"},
        timeout=60,
        check=False,
    )


def _save(shell: Path, content: bytes) -> str:
    directory = directory_of(_run(shell, SAVE, content).stdout.decode())
    assert directory
    return directory


def test_a_command_line_runs_in_the_users_shell_with_its_variables_and_nothing_to_read(
    shell: Path, tmp_path: Path
) -> None:
    env = (("ODD", _ODD), ("EMPTY", ""), ("SHELL", "/nowhere"), ("PATH_OF_D", "d"))
    done = _run(shell, RUN, inline_script('printf "%s|%s|" "$ODD" "$EMPTY"; cat', env).encode(), tmp_path)
    assert done.stdout.decode() == f"{_ODD}||", done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "tools"]


def test_a_long_command_line_arrives_whole(shell: Path) -> None:
    words = "x" * 100_000
    done = _run(shell, RUN, inline_script(f"printf %s {words} $A | wc -c", (("A", "y" * 100_000),)).encode())
    assert int(done.stdout) == 200_000


def test_the_status_of_a_command_line_is_handed_on_and_nothing_of_it_is_left(shell: Path) -> None:
    done = _run(shell, RUN, inline_script('ls -d /tmp/vmctl.* | grep -c "$PPID.never"; exit 7', ()).encode())
    assert done.returncode == 7
    seen = _run(shell, RUN, inline_script('cat /proc/$$/cmdline | tr "\\0" " "', (("A", "secret"),)).encode())
    assert b"secret" not in seen.stdout


def test_a_signal_ends_the_program_itself_not_a_shell_around_it(shell: Path) -> None:
    # fish says 128 and more all the same: it does not hand over to the last command.
    done = _run(shell, RUN, inline_script("kill -9 $$" if shell.name != "fish" else "kill -9 $fish_pid", ()).encode())
    assert done.returncode in (-9, 137)


@pytest.mark.parametrize("name", ["set up.sh", "-rf", "it's.sh", "a\nb", "$(touch pwned)", "content", "step", "é.sh"])
def test_a_script_keeps_its_name_and_is_gone_afterwards(shell: Path, name: str, tmp_path: Path) -> None:
    directory = _save(shell, b'#!/bin/sh\nprintf "%s|%s|" "$0" "$A"; cat; exit 3\n')
    assert os.stat(directory).st_mode & 0o777 == 0o700
    done = _run(shell, run_in(directory), file_script(name, (("A", _ODD),)).encode(), tmp_path)
    assert done.stdout.decode() == f"{directory}/{name}|{_ODD}|", done.stderr
    assert done.returncode == 3
    assert os.listdir(directory) == [name]
    _run(shell, remove(directory))
    assert not os.path.exists(directory)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("content", "printed"),
    [
        (b'#!/bin/sh -e\nprintf "%s|%s|" "${0##*/}" "$A"; cat; exit 3\n', f"a b.sh|{_ODD}|"),
        (b'#! /bin/sh\nprintf "%s|" "$-"; exit 3\n', "|"),
        (b"echo no interpreter is named; exit 3\n", "no interpreter is named\n"),
    ],
)
def test_a_script_runs_where_nothing_may_be_executed(shell: Path, content: bytes, printed: str, tmp_path: Path) -> None:
    directory = tmp_path / "noexec"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec", "tmpfs", str(directory)], check=True)
    try:
        (directory / "content").write_bytes(content)
        done = _run(shell, run_in(str(directory)), file_script("a b.sh", (("A", _ODD),)).encode(), tmp_path)
        assert done.stdout.decode().endswith(printed), done.stderr
        assert (done.returncode, done.stderr) == (3, b"")
        (directory / "content").write_bytes(Path("/bin/true").read_bytes())
        program = _run(shell, run_in(str(directory)), file_script("program", ()).encode(), tmp_path)
        assert program.returncode == 126
        assert b"mounted with noexec" in program.stderr
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def test_the_directory_is_found_among_what_a_login_prints() -> None:
    assert directory_of("Welcome!\nvmctl:/tmp/vmctl.abcDEF1234\n") == "/tmp/vmctl.abcDEF1234"
    for printed in ("", "vmctl:/tmp/x\n", "vmctl:/tmp/vmctl.$(id)x\n", "vmctl:/tmp/vmctl.abcdef; id\n", " vmctl:/tmp"):
        assert directory_of(printed) is None


def _put_file(shell: Path, content: bytes, placement: Placement, mode: int = 0o640, size: int | None = None) -> str:
    directory = _save(shell, place_file(placement, len(content) if size is None else size, mode).encode())
    done = _run(shell, run_content(directory), content)
    assert not os.path.exists(directory)
    return done.stderr.decode() if done.returncode else ""


@pytest.mark.parametrize("name", ["plain", "a b", "-rf", "it's $(touch pwned)", "new\nline", "é"])
def test_a_file_is_put_into_place_with_its_mode(shell: Path, name: str, tmp_path: Path) -> None:
    destination = tmp_path / "deep er" / name / name
    content = bytes(range(256)) * 500
    assert _put_file(shell, content, Placement(destination=str(destination))) == ""
    assert destination.read_bytes() == content
    assert destination.stat().st_mode & 0o7777 == 0o640
    assert os.listdir(destination.parent) == [name]


def test_a_file_of_which_only_a_part_comes_leaves_the_old_one(shell: Path, tmp_path: Path) -> None:
    destination = tmp_path / "file"
    destination.write_text("old")
    said = _put_file(shell, b"new cont", Placement(destination=str(destination)), size=100)
    assert "not received completely" in said
    assert destination.read_text() == "old"
    assert sorted(os.listdir(tmp_path)) == ["file", "tools"]


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_a_connection_that_is_lost_in_the_middle_leaves_nothing(shell: Path, kind: str, tmp_path: Path) -> None:
    placement = Placement(destination=str(tmp_path / "place"))
    script = place_file(placement, 100, 0o644) if kind == "file" else place_directory(placement, 0)
    directory = _save(shell, script.encode())
    environment = {"PATH": str(shell.parent) if shell.parent.name == "tools" else os.environ["PATH"]}
    process = subprocess.Popen(
        [str(shell), "-c", run_content(directory)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write(b"part")
    process.stdin.flush()
    while not any(name.startswith(".vmctl") for name in os.listdir(tmp_path)):
        assert process.poll() is None
    for stream in (process.stdout, process.stderr, process.stdin):
        stream.close()
    assert process.wait(60) != 0
    assert os.listdir(tmp_path) in ([], ["tools"])


def test_a_directory_is_not_replaced_by_a_file(shell: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    said = _put_file(shell, b"x", Placement(destination=str(tmp_path / "there")))
    assert "is a directory" in said
    assert os.listdir(tmp_path / "there") == []


def test_a_link_in_the_destinations_directory_is_not_written_through(shell: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("untouched")
    (tmp_path / "file").symlink_to("victim")
    assert _put_file(shell, b"new", Placement(destination=str(tmp_path / "file"))) == ""
    assert (tmp_path / "victim").read_text() == "untouched"
    assert (tmp_path / "file").read_text() == "new"


def test_an_owner_is_given_before_the_mode_which_chown_would_weaken(shell: Path, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("giving files away needs root")
    destination = tmp_path / "file"
    assert _put_file(shell, b"x", Placement(destination=str(destination), owner="1234:4321"), mode=0o4755) == ""
    status = destination.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (1234, 4321, 0o4755)


def _tree(root: Path) -> dict[str, tuple[int, bytes | str]]:
    found: dict[str, tuple[int, bytes | str]] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = (0, os.readlink(path))
        else:
            found[name] = (path.stat().st_mode & 0o777, b"" if path.is_dir() else path.read_bytes())
    return found


def _make_tree(root: Path) -> None:
    (root / "sub dir" / "empty").mkdir(parents=True)
    (root / "a\nb").write_bytes(b"newline")
    (root / "-rf").write_bytes(b"dash")
    (root / "sub dir" / "it's $(touch pwned)").write_bytes(bytes(range(256)) * 100)
    (root / "sub dir" / ("long" * 40)).write_bytes(b"long")
    (root / "sub dir" / "program").write_bytes(b"#!/bin/sh\n")
    (root / "sub dir" / "program").chmod(0o755)
    (root / "link").symlink_to("sub dir/program")
    (root / "dangling").symlink_to("/nowhere")
    (root / ".hidden").write_bytes(b"")
    (root / ".hidden").chmod(0o600)


def _put_directory(shell: Path, chunks: bytes, destination: Path) -> str:
    directory = _save(shell, place_directory(Placement(destination=str(destination)), 0).encode())
    done = _run(shell, run_content(directory), chunks)
    assert not os.path.exists(directory)
    return done.stderr.decode() if done.returncode else ""


def test_a_directory_arrives_with_all_that_is_in_it(shell: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    _make_tree(source)
    destination = tmp_path / "new" / "des tination"
    assert _put_directory(shell, b"".join(directory_chunks(source, None)), destination) == ""
    assert _tree(destination) == _tree(source)
    assert os.listdir(destination.parent) == ["des tination"]


def test_a_directory_that_is_there_keeps_what_is_not_replaced(shell: Path, tmp_path: Path) -> None:
    source, destination = tmp_path / "source", tmp_path / "destination"
    _make_tree(source)
    (destination / "sub dir").mkdir(parents=True)
    (destination / "sub dir" / "program").write_bytes(b"old")
    (destination / "sub dir" / "other").write_bytes(b"kept")
    assert _put_directory(shell, b"".join(directory_chunks(source, None)), destination) == ""
    merged = _tree(destination)
    assert merged.pop("sub dir/other")[1] == b"kept"
    assert merged == _tree(source)
    assert sorted(os.listdir(tmp_path)) == ["destination", "source", "tools"]


@pytest.mark.parametrize("kept", [700, 512 * 3, -2 * 512, -3 * 512, -1])
def test_a_directory_of_which_only_a_part_comes_changes_nothing(shell: Path, kept: int, tmp_path: Path) -> None:
    source, destination = tmp_path / "source", tmp_path / "destination"
    _make_tree(source)
    destination.mkdir()
    archive = b"".join(directory_chunks(source, None))
    said = _put_directory(shell, archive[:kept], destination)
    if kept not in (-1, -2 * 512):  # of the end of the archive itself not all need come
        assert said != ""
        assert _tree(destination) == {}
    assert sorted(os.listdir(tmp_path)) == ["destination", "source", "tools"]


def test_what_stands_in_the_way_of_a_file_is_named(shell: Path, tmp_path: Path) -> None:
    source, destination = tmp_path / "source", tmp_path / "destination"
    source.mkdir()
    (source / "name").write_text("file")
    (destination / "name").mkdir(parents=True)
    assert "name is a directory" in _put_directory(shell, b"".join(directory_chunks(source, None)), destination)
    (tmp_path / "file").write_text("")
    assert "is not a directory" in _put_directory(shell, b"".join(directory_chunks(source, None)), tmp_path / "file")


def test_a_mode_goes_for_the_files_and_lets_into_the_directories(tmp_path: Path) -> None:
    source, destination = tmp_path / "source", tmp_path / "destination"
    _make_tree(source)
    destination.mkdir()
    subprocess.run(
        ["tar", "-xpf", "-", "-C", str(destination)], input=b"".join(directory_chunks(source, 0o640)), check=True
    )
    tree = _tree(destination)
    assert tree["sub dir/program"][0] == tree[".hidden"][0] == 0o640
    assert tree["sub dir"][0] == 0o750


def test_a_file_that_changes_while_it_is_sent_is_not_sent_to_its_end(tmp_path: Path) -> None:
    from vm_manager.diagnostics.errors import ProvisionFailed

    path = tmp_path / "file"
    path.write_bytes(bytes(1024**2))
    chunks = file_chunks(path, source_of(path).size_bytes)
    sent = len(next(chunks))
    path.write_bytes(bytes(2 * 1024**2))
    rest: list[bytes] = []
    with pytest.raises(ProvisionFailed, match="changed while it was being sent"):
        rest.extend(chunks)
    assert sent + sum(map(len, rest)) < 1024**2


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    from vm_manager.diagnostics.errors import ProvisionFailed

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ProvisionFailed, match="neither a file nor a directory"):
        source_of(tmp_path / "pipe")
    with pytest.raises(ProvisionFailed, match="neither a file nor a directory"):
        list(directory_chunks(tmp_path, None))


_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=_TEXT, argument=_TEXT)
def test_no_text_is_read_by_a_shell(value: str, argument: str) -> None:
    command = 'printf "%s" "$VALUE"'
    done = _run(Path("/bin/sh"), RUN, inline_script(command, (("VALUE", value),)).encode())
    assert done.stdout.decode() == value
    placement = Placement(destination=f"/nonexistent/{argument}")
    text = place_file(placement, 0, 0o644)
    shown = text.replace("exec $run sh -c", "printf %s").split("run=\n")[0] + 'printf "%s" "$destination"\n'
    kept = re.sub(r"^rm -rf .*\n", "", shown)
    done = subprocess.run(["/bin/sh"], input=kept.encode(), capture_output=True, timeout=60, check=True)
    assert done.stdout.decode() == placement.destination
