"""VMFiles, and files that they name, made to have vmctl show what it must not, or to keep it busy."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import Iterator

import pytest

from driver import Vmctl

_SECRET = "hunter2x"
_FORMATS = ("fancy", "plain", "json", "github")
_CPU_S, _MEMORY_BYTES = 10, 300 * 1024**2


@pytest.fixture
def project(vmctl: Vmctl) -> Vmctl:
    """A project with an image."""
    (vmctl.directory / "disk.qcow2").write_bytes(b"disk")
    return vmctl


@pytest.fixture
def bounded(project: Vmctl) -> Vmctl:
    """The same; no vmctl can take more than a bounded time and memory: it would be killed, or say that it failed."""
    project.prefix = ("prlimit", f"--cpu={_CPU_S}", f"--as={_MEMORY_BYTES}")
    return project


def _said(vmctl: Vmctl, *args: str, status: int | None = None) -> str:
    """All that `validate` says, in each form."""
    results = [vmctl("--error-format", form, "validate", *args, status=status) for form in _FORMATS]
    results.append(vmctl("validate", "--json", *args, status=status))
    assert {result.status for result in results} <= {0, 3}
    return "".join(f"{result.stdout}\n{result.stderr}\n" for result in results)


def _vm(body: str) -> str:
    return f'vm "web" {{\n    image "disk.qcow2"\n{body}\n}}\n'


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# Secrets


@pytest.mark.parametrize(
    "step",
    [
        f'env "TOKEN" "{_SECRET}"; bogus 1',
        f'evn "TOKEN" "{_SECRET}"',
        f'environment "TOKEN" "{_SECRET}"',
        f'env "TOKEN={_SECRET}"',
        f'env TOKEN="{_SECRET}"',
        f'env {{ TOKEN "{_SECRET}" }}',
        f'environment {{\n"A" "b"; "TOKEN={_SECRET}"\n}}',
        f'env "TOKEN" "{_SECRET}',
        f'env "TOKEN" {_SECRET}/x',
        f'env "TOKEN" 1{_SECRET}',
        f'env "TOKEN" "\\w{_SECRET}"',
        f'env "TOKEN" "a" "{_SECRET}"',
        f'env "TOKEN" #"{_SECRET}"#; env 2x',
        f'env "TOKEN" """\n  {_SECRET}',
        f'TOKEN "{_SECRET}"',
        f"TOKEN={_SECRET}",
        f'/- env "TOKEN" "{_SECRET}"; bogus 1',
        f'bogus 1 // env "TOKEN" "{_SECRET}"',
        f'env "TOKEN" ({_SECRET})"b"',
        f'inline "unclosed\nenv "TOKEN" "{_SECRET}"; bogus',
        f'env TOKEN \\ /* a /* b */ */\n "{_SECRET}"; bogus 1',
        f"env TOKEN a;{_SECRET}",
        f'"TOKEN={_SECRET}"',
    ],
)
@pytest.mark.parametrize("marker", ["", "/- kdl-version 1\n"])
def test_no_form_shows_the_value_of_a_variable(project: Vmctl, step: str, marker: str) -> None:
    project.write(marker + _vm(f'provision "shell" {{ inline "true"; {step}\n}}'))
    said = _said(project)
    assert "error" in said
    assert _SECRET not in said


def test_no_form_shows_the_password_in_a_url_or_what_is_called_one(project: Vmctl) -> None:
    url = f"https://me:{_SECRET}@localhost/x?token={_SECRET}"
    project.write(_vm(f'image-url "{url}" sha256="zz"; ssh {{ password "{_SECRET}" }}'))
    assert _SECRET not in _said(project, status=3)


@pytest.mark.parametrize(
    "url",
    [
        f'"https://me:p@{_SECRET}@localhost/x"',
        f'"https://me:a/{_SECRET}@localhost/x"',
        f'"https://localhost/x?{_SECRET}"',
        f'"https://localhost/x#{_SECRET}"',
        f'"https:\\/\\/me:{_SECRET}@localhost/x"',
        f"https://me:{_SECRET}@localhost/x",
    ],
)
def test_no_form_shows_what_is_secret_in_a_url_however_it_is_written(project: Vmctl, url: str) -> None:
    for line in (f"image-url {url} sha256=1", f"bogus {url}", f"{url} 1", f"// {url}\nbogus"):
        project.write(_vm(line))
        assert _SECRET not in _said(project, status=3), line


@pytest.mark.parametrize(
    "content",
    [
        f"-----BEGIN OPENSSH PRIVATE KEY-----\n{_SECRET}\n-----END OPENSSH PRIVATE KEY-----\n",
        f"root:{_SECRET}:19000:0:99999:7:::\n",
        f"PASSWORD={_SECRET}\n",
        f"//registry.example.org/:_authToken={_SECRET}\n",
        f"machine example.org login me password {_SECRET}\n",
        f'{{"auths": {{"example.org": {{"auth": "{_SECRET}"}}}}}}\n',
        f"[default]\naws_secret_access_key = {_SECRET}\n",
        f"#!/bin/sh\ncurl -u me:{_SECRET} example.org\n",
    ],
)
def test_a_file_that_is_no_vmfile_is_not_shown(project: Vmctl, content: str) -> None:
    path = project.write(content, "secret")
    assert _SECRET not in _said(project, "--file", str(path), status=3)


@pytest.mark.parametrize("word", ["user-data", "network-config", "ssh-key"])
@pytest.mark.parametrize(
    "content",
    [
        f"{_SECRET}\n",
        f"{_SECRET}: [\n",
        f"#cloud-config\npassword: {_SECRET}: {_SECRET}\n",
        f"#cloud-config\npassword: *{_SECRET}\n",
        f"#cloud-config\npassword: !{_SECRET} x\n",
        f"#cloud-config\npasswrod: {_SECRET}\n",
        f"#cloud-config\n{{passwrod: {_SECRET}, b: {_SECRET}\n",
        f'#cloud-config\npassword: "\\q{_SECRET}"\n',
        f"#cloud-config\nusers:\n  - passwd: {_SECRET}\n passwd: x\n",
    ],
)
def test_no_form_shows_what_is_in_a_file_that_is_named(project: Vmctl, word: str, content: str) -> None:
    project.write(content, "named")
    project.write(_vm(f'cloud-init {{ {word} "named" }}'))
    assert _SECRET not in _said(project)


@pytest.mark.parametrize(
    "path", ["/proc/self/environ", "/proc/self/cmdline", "/sys/kernel/notes", "/dev/zero", "link", "pipe"]
)
@pytest.mark.parametrize(
    "line",
    [
        'cloud-init {{ user-data "{}" }}',
        'cloud-init {{ network-config "{}" }}',
        'cloud-init {{ ssh-key "{}" }}',
        'ssh {{ private-key "{}" }}',
        'provision "shell" {{ script "{}" }}',
        'provision "file" {{ source "{}"; destination "/a" }}',
    ],
)
def test_what_the_kernel_makes_up_and_pipes_are_no_input(bounded: Vmctl, line: str, path: str) -> None:
    (bounded.directory / "link").symlink_to("/proc/self/environ")
    os.mkfifo(bounded.directory / "pipe")
    bounded.write(_vm(line.format(path)))
    refused = bounded("validate", status=3, env={"SECRET": _SECRET})
    assert _SECRET not in refused.stdout + refused.stderr
    assert "vmctl does not read" in refused.stderr or "not a regular file" in refused.stderr


@pytest.mark.parametrize("path", ["/proc/self/environ", "/dev/zero", "pipe"])
def test_they_are_no_vmfiles_either(bounded: Vmctl, path: str) -> None:
    os.mkfifo(bounded.directory / "pipe")
    refused = bounded("validate", "--file", path, status=3, env={"SECRET": _SECRET})
    assert refused.code == "vm_manager::vmfile::parse_failed"
    assert _SECRET not in refused.stdout + refused.stderr


@pytest.fixture
def second_proc(bounded: Vmctl) -> Iterator[None]:
    """Another /proc, as containers have that of their host."""
    (bounded.directory / "p").mkdir()
    subprocess.run(["mount", "-t", "proc", "proc", str(bounded.directory / "p")], check=True)
    yield
    subprocess.run(["umount", str(bounded.directory / "p")], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
@pytest.mark.usefixtures("second_proc")
@pytest.mark.parametrize("path", ["p/self/environ", "link", "p/version"])
def test_what_the_kernel_makes_up_is_no_input_wherever_it_is_mounted(bounded: Vmctl, path: str) -> None:
    (bounded.directory / "link").symlink_to(bounded.directory / "p" / "self" / "environ")
    for line in (
        f'cloud-init {{ user-data "{path}" }}',
        f'provision "shell" {{ script "{path}" }}',
        f'provision "file" {{ source "{path}"; destination "/a" }}',
        'provision "file" { source "p/self"; destination "/a" }',
    ):
        bounded.write(_vm(line))
        assert "vmctl does not read" in bounded("validate", status=3).stderr, line
    assert "vmctl does not read" in bounded("validate", "--file", path, status=3).stderr
    assert bounded("image", "pull", path, status=8).code == "vm_manager::image::refused"


# YAML

_MERGES = "a0: &a0 {k: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 40))
_LAUGHS = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40))
_WIDE = f"a: &a {{{', '.join(f'k{i}: 1' for i in range(4000))}}}\nb: {{<<: [{', '.join(['*a'] * 9000)}]}}\n"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(_MERGES, id="merges"),
        pytest.param(_WIDE, id="many merges of a large one"),
        pytest.param("a: &a {<<: *a}\n", id="merged into itself"),
        pytest.param(_LAUGHS, id="aliases"),
        pytest.param("ssh_keys: &a\n  a_public: *a\n", id="an alias to itself"),
        pytest.param("[" * 900_000, id="brackets"),
        pytest.param("- " * 450_000, id="dashes"),
        pytest.param("a: 1" + ":10" * 300_000, id="a number of base 60"),
        pytest.param("a: " + "9" * 900_000, id="a number"),
        pytest.param("- a\n" * 250_000, id="items"),
        pytest.param(f"{_LAUGHS}ssh_keys: {{a_public: *a39}}\n", id="aliases as a key"),
        pytest.param('a: !!int ""\n', id="an empty number"),
        pytest.param('a: !!int "+"\n', id="a sign"),
        pytest.param('a: !!bool "x"\n', id="no truth"),
        pytest.param("a: !!timestamp x\n", id="no time"),
        pytest.param('"\\UFFFFFFFF": 1\n', id="no character"),
        pytest.param("a: 1" + ":1" * 400 + ".0\n", id="a float of base 60"),
        pytest.param("".join(f"{i * (2**61 - 1)}: 1\n" for i in range(9000)), id="keys of one hash"),
    ],
)
@pytest.mark.parametrize("word", ["user-data", "network-config"])
def test_yaml_that_unfolds_or_nests_takes_no_long_time(bounded: Vmctl, text: str, word: str) -> None:
    bounded.write(f"#cloud-config\n{text}", "bomb.yaml")
    bounded.write(_vm(f'cloud-init {{ {word} "bomb.yaml" }}'))
    before = _children_s()
    for words in (("validate",), ("--backend", "noop", "up")):
        # Not killed at the limits either, nor out of memory.
        result = bounded(*words, status=None)
        assert (result.status, result.code) in ((0, None), (3, "vm_manager::vmfile::validation")), result.stderr
    assert _children_s() - before < _CPU_S


def test_however_many_files_are_named_they_are_read_for_a_limited_time(bounded: Vmctl) -> None:
    keys = "".join(f"wrong{number}: 1\n" for number in range(20))
    (bounded.directory / "d").symlink_to(".")
    vms = []
    for number in range(40):
        bounded.write(f"#cloud-config\n{keys}" + f"#{number}\n" * 100_000, f"{number}.yaml")
        vms += [
            f'vm "{kind}{number}" {{ image "disk.qcow2"; cloud-init {{ user-data "{name}" }} }}\n'
            for kind, name in (("a", f"{number}.yaml"), ("b", f"d/{'d/' * number}0.yaml"))
        ]
    bounded.write("".join(vms))
    before = _children_s()
    refused = bounded("validate", status=3)
    assert _children_s() - before < _CPU_S
    assert "the limit is 2 MiB for all files together" in refused.stderr


def test_user_data_is_no_larger_than_can_be_meant(bounded: Vmctl) -> None:
    bounded.write("#cloud-config\n" + "#\n" * 600_000, "large.yaml")
    bounded.write(_vm('cloud-init { user-data "large.yaml" }'))
    assert "is larger than 1 MiB" in bounded("validate", status=3).stderr
    assert (
        bounded("create", "x", "--image", "disk.qcow2", "--user-data", "large.yaml", status=None).code == "vmctl::usage"
    )


# KDL

_LENGTH = 1024**2
_ABOVE = 'vm "web" { image "disk.qcow2" }\n'


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        ("", "a\n"),
        ("vm ", "a=1 "),
        ('vm "a" { network "user" ', "mac=1 "),
        ('vm "a" { vcpus ', "1 "),
        ("", "/-"),
        ("", '"'),
        ("", "}"),
        ("", "vm {"),
        ("", "/*"),
        ("vm ", "9"),
        ("vm #", "#"),
        ('vm "', "\\n"),
        ("/- kdl-version 1\n", "a\n"),
        ("/- kdl-version 1\n", "vm {"),
        # Marks of a word processor, each of which might end anywhere in the line.
        ("vm ", "‘a "),
        ("vm ", "“a "),
        ("vm ", '"“'),
        ("vm ", "\u200b"),
    ],
)
def test_a_megabyte_of_anything_is_refused_soon_and_in_few_words(bounded: Vmctl, head: str, piece: str) -> None:
    text = f"{head}{_ABOVE if head.startswith('/-') or not head else ''}"
    whole = (text + piece * (_LENGTH // len(piece))).encode()[: _LENGTH - 1]
    bounded.write(whole.decode(errors="ignore"))
    before = _children_s()
    refused = bounded("--error-format", "json", "validate", status=3)
    assert _children_s() - before < _CPU_S
    assert len(refused.stderr) < 500_000
    assert json.loads(refused.stderr.splitlines()[0])["code"].startswith("vm_manager::vmfile::")


def test_eight_thousand_properties_are_told_as_a_hundred_and_how_many_more(bounded: Vmctl) -> None:
    bounded.write(f'vm "web" {{ image "disk.qcow2"; network "user" {" ".join(f"k{i}=1" for i in range(8000))} }}')
    refused = bounded("validate", status=3).stderr
    assert refused.count("error[") == 101
    assert "7900 more problems are not shown" in refused


def test_names_that_are_all_alike_are_not_compared_for_ever(bounded: Vmctl) -> None:
    there, wanted = "ab" * 28, "ba" * 28
    line = 'vm "{0}{2:06}" {{ image "disk.qcow2"; depends-on "{1}{2:06}" }}\n'
    bounded.write("".join(line.format(there, wanted, number) for number in range(6000)))
    before = _children_s()
    assert "refers to an unknown VM" in bounded("validate", status=3).stderr
    assert _children_s() - before < _CPU_S
