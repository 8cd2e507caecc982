"""Lines as people who know other tools write them: the line that the help shows is taken, and means what was meant."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from unit.vmfile.vmfiles import IMAGE, problem, problems, vm_of, write
from vm_manager.diagnostics.model import Diagnostic
from vm_manager.domain.network import Forward, Transport
from vm_manager.domain.spec import VmSpec
from vm_manager.vmfile.language import VM
from vm_manager.vmfile.load import load
from vm_manager.vmfile.peers import ADVICE

_MIB, _GIB = 1024**2, 1024**3


@pytest.mark.parametrize(
    ("written", "bytes_meant"),
    [
        ('memory "2g"', 2 * _GIB), ('memory "2G"', 2 * _GIB), ('memory "2gb"', 2 * _GIB), ('memory "2Gb"', 2 * _GIB),
        ('memory "2048M"', 2 * _GIB), ('memory "2048"', 2 * _GIB), ('memory "2"', 2 * _GIB), ('memory "1.5G"', 1536 * _MIB),
        ('memory "1,5 GiB"', 1536 * _MIB), ("memory 1.5", 1536 * _MIB), ('memory "2097152k"', 2 * _GIB),
        ('memory "2097152"', 2 * _GIB), ('disk "20gb"', 20 * _GIB), ('disk "20"', 20 * _GIB), ('disk "20480"', 20 * _GIB),
        ('disk "1t"', 1024 * _GIB),
    ],
)  # fmt: skip
def test_a_size_as_other_tools_have_it(tmp_path: Path, written: str, bytes_meant: int) -> None:
    (help,) = problem(tmp_path, written).help
    shown = help.removeprefix("write it with its unit: ")
    assert _size_of(vm_of(tmp_path, shown), written) == bytes_meant


@pytest.mark.parametrize(("written", "meant"), [('"20g"', '"20GiB"'), ('"20480"', '"20480MiB"'), ("2.5", '"2560MiB"')])
def test_a_size_that_is_a_property(tmp_path: Path, written: str, meant: str) -> None:
    for equals in ("=", " = "):
        (help,) = problem(tmp_path, f'drive "data" size{equals}{written}').help
        assert help == f"write it with its unit: size={meant}"


@pytest.mark.parametrize("written", ['"lots"', '"2 gigs"', '"1024b"', '"0.3m"', '"9999t"', '"-2g"', '""', "1e400"])
def test_what_is_no_size_in_any_tool(tmp_path: Path, written: str) -> None:
    assert problem(tmp_path, f"memory {written}").help == ('write a number, or a string such as memory "2GiB"',)


def test_a_size_without_quotes(tmp_path: Path) -> None:
    for written, shown in (("2g", '"2GiB"'), ("512mb", '"512MiB"'), ("512Mi", '"512MiB"'), ("2GB", '"2GB"')):
        (help,) = problem(tmp_path, f"memory {written}").help
        assert help.endswith(f": {shown}")


@pytest.mark.parametrize(
    ("written", "other", "same"),
    [
        ("memory 32", 32 * _GIB, 32 * _MIB),
        ("memory 4194304", 4 * _GIB, 4096 * _GIB),
        ("disk 20480", 20 * _GIB, 20480 * _GIB),
    ],
)
def test_a_number_that_was_probably_meant_in_another_unit(tmp_path: Path, written: str, other: int, same: int) -> None:
    (warning,) = _warnings(tmp_path, written)
    assert "without a unit" in warning.message
    shown = re.findall(r'write (\w+ "\w+")', warning.help[0])
    assert [_size_of(vm_of(tmp_path, line), line) for line in shown] == [other, same]
    assert [_warnings(tmp_path, line) for line in shown] == [(), ()]


@pytest.mark.parametrize(
    "written", ["memory 64", "memory 1048576", 'memory "32MiB"', "disk 1", "disk 4096", 'disk "20480GiB"']
)
def test_a_usual_number(tmp_path: Path, written: str) -> None:
    assert _warnings(tmp_path, written) == ()


_FORWARD = Forward(host=8080, guest=80)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('"8080:80"', (_FORWARD,)),
        ("8080 80", (_FORWARD,)),
        ('"8080" "80"', (_FORWARD,)),
        ('"127.0.0.1:8080:80/tcp"', (_FORWARD,)),
        ('"0.0.0.0:53:5353/udp"', (Forward(host=53, guest=5353, transport=Transport.UDP, address="0.0.0.0"),)),
        ('"8080:80" "8443:443"', (_FORWARD, Forward(host=8443, guest=443))),
    ],
)
def test_a_forward_as_docker_has_it(tmp_path: Path, written: str, meant: tuple[Forward, ...]) -> None:
    for around, name in (
        ('network "user" {{ {} }}', "forward"), ("network {{ {} }}", "port"), ("network {{ {} }}", "forwrad"),
        *(() if written in ("8080 80", '"8080" "80"') else (("{}", "ports"), ("{}", "forward"))),
    ):  # fmt: skip
        (help,) = problem(tmp_path, around.format(f"{name} {written}")).help
        shown = help.removeprefix("write it like this: ")
        assert vm_of(tmp_path, around.format(shown)).forwards == meant


def test_a_forward_to_a_port_alone(tmp_path: Path) -> None:
    for written in ('"80"', "80"):
        (help,) = problem(tmp_path, f"network {{ forward {written} }}").help
        assert help == 'write it like this: forward host="auto" guest=80'


@pytest.mark.parametrize("written", ['"a:b"', '"99999:80"', '"8080:80" host=8080', '"1:1" "2:2" "3:3" "4:4" "5:5"'])
def test_what_is_a_forward_nowhere(tmp_path: Path, written: str) -> None:
    (first, *_) = problems(tmp_path, f'vm "web" {{\n{IMAGE}\nnetwork {{ forward {written} }}\n}}\n')
    assert "write it like this" not in first.help[0]


@pytest.mark.parametrize(
    "written",
    ['env "FOO=s3cret"', 'env FOO="s3cret"', 'env { FOO "s3cret" }', 'environment "FOO=s3cret"', 'env "FOO=s3cret=="'],
)
def test_a_variable_as_docker_has_it(tmp_path: Path, written: str) -> None:
    found = problem(tmp_path, f'provision "shell" {{ inline "a"; {written} }}')
    assert found.help == ('write it like this: env "FOO" "…"',)
    assert "s3cret" not in str(found.diagnostic)
    (step,) = vm_of(tmp_path, 'provision "shell" { inline "a"; env "FOO" "s3cret" }').provisioners
    assert step.env == (("FOO", "s3cret"),)


def test_only_names_that_may_be_quoted_are_shown(tmp_path: Path) -> None:
    found = problem(tmp_path, 'provision "shell" { inline "a"; env "FOO=a" "s3cret=b" }')
    assert found.help == ('write it like this: env "FOO" "…"; env "…" "…"',)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('volumes "./data:/data"', 'mount "./data" "/data"'),
        ('mount "./data:/data"', 'mount "./data" "/data"'),
        ('mount "./data:/data:z,ro"', 'mount "./data" "/data" read-only=#true'),
        ('drive "~/data:/data:rw"', 'mount "~/data" "/data"'),
    ],
)
def test_a_directory_as_docker_has_it(tmp_path: Path, written: str, meant: str) -> None:
    assert problem(tmp_path, written).help == (f"write it like this: {meant}",)


def test_a_named_volume_is_a_drive(tmp_path: Path) -> None:
    assert problem(tmp_path, 'volumes "data:/var/lib/data"').help == ("did you mean `drive`?",)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('provision "apt-get update"', 'provision { inline "apt-get update" }'),
        ('provision inline="apt-get update"', 'provision { inline "apt-get update" }'),
        ('provision "shell" inline="apt-get update"', 'provision { inline "apt-get update" }'),
        ('provision "shell" "apt-get update"', 'provision { inline "…" }'),
        ('provision "setup.sh"', 'provision { script "setup.sh" }'),
        ('provision script="setup.sh"', 'provision { script "setup.sh" }'),
        ('provision "echo \\"a\\" b"', 'provision { inline "…" }'),
    ],
)
def test_a_step_in_one_line(tmp_path: Path, written: str, meant: str) -> None:
    assert problem(tmp_path, written).help == (f"write it like this: {meant}",)
    assert len(vm_of(tmp_path, meant).provisioners) == 1


def test_what_is_no_step_in_one_line(tmp_path: Path) -> None:
    for written in ('provision "ansible"', 'provision "file" "a"', 'provision "shell"', 'provision run="once"'):
        (first, *_) = problems(tmp_path, f'vm "web" {{\n{IMAGE}\n{written}\n}}\n')
        assert "write it like this" not in first.help[0]


@pytest.mark.parametrize(
    ("written", "meant"), [("bridged", "tap"), ("public_network", "tap"), ("NAT", "user"), ("hostonly", "private")]
)
def test_a_network_as_other_tools_call_it(tmp_path: Path, written: str, meant: str) -> None:
    assert problem(tmp_path, f'network "{written}"').help == (f"did you mean `{meant}`?",)


@pytest.mark.parametrize("name", ["debian:12", "ubuntu", "debian/bookworm64"])
def test_the_name_of_an_image_in_a_catalog(tmp_path: Path, name: str) -> None:
    (found,) = problems(tmp_path, f'vm "web" {{ image "{name}" }}\n')
    assert found.help[0].startswith('vmctl has no catalog of images: write image-url "https://…"')
    for path in ("disk.raw", "images/disk.raw", "./debian", "~/debian"):
        (found,) = problems(tmp_path, f'vm "web" {{ image "{path}" }}\n')
        assert found.help[0].startswith("check the path")


@pytest.mark.parametrize("word", sorted(ADVICE))
def test_a_word_of_another_tool_is_answered_with_what_a_vmfile_has(tmp_path: Path, word: str) -> None:
    head = f'vm "web" {{\n{"" if word == "box" else IMAGE}\n'
    (found,) = problems(tmp_path, f'{head}{word.replace("-", "_")} "x"\n}}\n')
    assert found.help == (ADVICE[word],)
    assert not VM.find(word)


def test_what_the_advice_says_is_right(tmp_path: Path) -> None:
    vm_of(tmp_path, 'network "private" name="lan" address="10.5.0.2/24"')
    vm_of(tmp_path, 'provision { inline "sudo apt-get install -y nginx" }')


def _warnings(directory: Path, body: str) -> tuple[Diagnostic, ...]:
    return load(write(directory, f'vm "web" {{\n{IMAGE}\n{body}\n}}\n'), directory=directory).warnings


def _size_of(spec: VmSpec, line: str) -> int | None:
    return spec.memory_mib * _MIB if line.startswith("memory") else spec.disk_bytes
