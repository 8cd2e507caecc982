"""What is wrong with a VMFile: each rule with the place it marks and the help it gives."""

from __future__ import annotations

import re
import subprocess
import time
from pathlib import Path

import pytest

from unit.vmfile.vmfiles import IMAGE, problem, problems, write
from vm_manager.domain.network import Network
from vm_manager.domain.private_keys import without_passphrase
from vm_manager.domain.spec import ProvisionerKind
from vm_manager.vmfile.key_files import check_private_key
from vm_manager.vmfile.load import load

_VALIDATION = "vm_manager::vmfile::validation"


@pytest.mark.parametrize(
    ("body", "message", "marked", "help_text"),
    [
        # Names
        ("memroy 2", "unknown `memroy` in a vm block", ["memroy"], "did you mean `memory`?"),
        ("IMAGE-URL 2", "unknown `IMAGE-URL` in a vm block", ["IMAGE-URL"], "did you mean `image-url`?"),
        ('ssh { usr "x" }', "unknown `usr` in an ssh block", ["usr"], "did you mean `user`?"),
        (
            'ssh { password "x" }',
            "unknown `password` in an ssh block",
            ["password"],
            "write one of: user, private-key, port",
        ),
        (
            "cloud-init { host 1 }",
            "unknown `host` in a cloud-init block",
            ["host"],
            "write one of: hostname, ssh-key, user-data, network-config, on-error",
        ),
        (
            'provision "shell" { inline "x"; source "y" }',
            '`source` is not allowed with provision "shell"',
            ["source", '"shell"'],
            'remove it; it is only allowed with provision "file"',
        ),
        # Values
        ('accel "kmv"', "`accel` cannot be 'kmv'", ['"kmv"'], "did you mean `kvm`?"),
        ('network "bridge"', "`network` cannot be 'bridge'", ['"bridge"'], "did you mean `tap`?"),
        ('provision "shel" {}', "`provision` cannot be 'shel'", ['"shel"'], "did you mean `shell`?"),
        ('vcpus "four"', "`vcpus` is a whole number", ['"four"'], "write digits: vcpus 2"),
        ("vcpus 1.5", "`vcpus` is a whole number", ["1.5"], "write digits: vcpus 2"),
        ("vcpus #true", "`vcpus` is a whole number", ["#true"], "write digits: vcpus 2"),
        ("vcpus 0", "`vcpus` is too small", ["0"], "write at least 1"),
        ("vcpus -1", "`vcpus` is too small", ["-1"], "write at least 1"),
        ("vcpus 4096", "`vcpus` is too large", ["4096"], "write at most 512"),
        (f"vcpus {10**30}", "`vcpus` is too large", [str(10**30)], "write at most 512"),
        (
            "memory 1",
            "`memory` is too small",
            ["1"],
            'write at least 16 MiB: without a unit it counts MiB, so 1 GiB is memory "1GiB"',
        ),
        ('memory "1KiB"', "`memory` is too small", ['"1KiB"'], "write at least 16 MiB"),
        ('memory "2gib"', "`memory` is a size", ['"2gib"'], 'write it with its unit: memory "2GiB"'),
        ('memory "512m"', "`memory` is a size", ['"512m"'], 'write it with its unit: memory "512MiB"'),
        ('disk "20G"', "`disk` is a size", ['"20G"'], 'write it with its unit: disk "20GiB"'),
        ('hostname "x"', "unknown `hostname` in a vm block", ["hostname"], 'write it like this: cloud-init { hostname "…" }'),
        ('ports "8080:80"', "unknown `ports` in a vm block", ["ports"],
         "write it like this: network { forward host=8080 guest=80 }"),
        ("port 22", "unknown `port` in a vm block", ["port"],
         "write it like this: network { forward host=… guest=… } or ssh { port … }"),
        ('source "x"', "unknown `source` in a vm block", ["source"], 'write it like this: provision "file" { source "…" }'),
        ('sha256 "x"', "unknown `sha256` in a vm block", ["sha256"], 'write it like this: image-url "…" sha256="…"'),
        ('synced_folder "x"', "unknown `synced_folder` in a vm block", ["synced_folder"], "did you mean `mount`?"),
        ("ssh { memory 2 }", "unknown `memory` in an ssh block", ["memory"], "move it to the vm block: memory …"),
        ('memory "-2GiB"', "`memory` is a size", ['"-2GiB"'], 'write a number, or a string such as memory "2GiB"'),
        ("memory 1.5", "`memory` is a size", ["1.5"], 'write it with its unit: memory "1536MiB"'),
        ('disk "20 apples"', "`disk` is a size", ['"20 apples"'], 'write a number, or a string such as disk "2GiB"'),
        ("disk 0", "`disk` is too small", ["0"], "write at least 1 MiB"),
        ("disk 99999999", "`disk` is too large", ["99999999"], "write at most 65536 GiB"),
        ("boot-timeout 0", "`boot-timeout` is too small", ["0"], "write at least 1"),
        ("ssh { port 65536 }", "`port` is too large", ["65536"], "write at most 65535"),
        ("cpu 5", "`cpu` is a string", ["5"], 'put it in quotes: cpu "5"'),
        ('cpu ""', "`cpu` needs a value", ['""'], 'write it: cpu "…"'),
        # Shapes
        ("vcpus", "`vcpus` without a value", ["vcpus"], "write it after the name: vcpus …"),
        ("cpu", "`cpu` without a value", ["cpu"], 'write it after the name: cpu "…"'),
        ("vcpus 2 4", "`vcpus` takes one value", ["4"], "remove it"),
        ("vcpus 2 threads=4", "`vcpus` has no property `threads`", ["threads=4"], "remove it"),
        ("vcpus 2 {}", "`vcpus` takes no block", ["vcpus"], "remove the braces"),
        ('ssh "debian"', "`ssh` takes no value", ['"debian"'], "write ssh { … }"),
        ('cloud-init "x" {}', "`cloud-init` takes no value", ['"x"'], "write cloud-init { … }"),
        ("vcpus 2\nvcpus 4", "`vcpus` is given twice", ["vcpus", "vcpus"], "remove one of the two"),
        ("ssh {}\nssh {}", "`ssh` is given twice", ["ssh", "ssh"], "remove one of the two"),
        # Provisioners
        (
            'provision "shell" {}',
            "a shell provisioner without anything to run",
            ['provision "shell"'],
            'add a line: inline "command", or: script "setup.sh"',
        ),
        (
            'provision "shell" { script "setup.sh"; inline "x" }',
            "a shell provisioner with both inline and script",
            ["inline", "script"],
            "split it into two provision blocks",
        ),
        (
            'provision "file" { destination "/a" }',
            '`provision "file"` without `source`',
            ['provision "file"'],
            'add a line: source "…"',
        ),
        (
            'provision "file" { source "nginx.conf" }',
            '`provision "file"` without `destination`',
            ['provision "file"'],
            'add a line: destination "…"',
        ),
        (
            'provision "file" { source "nginx.conf"; destination "etc/a" }',
            "a destination that is not absolute",
            ['"etc/a"'],
            "write the full path in the guest, such as /srv/…",
        ),
        (
            'network "none"\nprovision "shell" { inline "x" }',
            "a VM without network cannot be provisioned",
            ['provision "shell"', '"none"'],
            'remove the block, or write: network "user"',
        ),
        # Images
        (
            'image-url "https://example.org/x"',
            "a VM with both image and image-url",
            ["image-url", "image"],
            "remove one of the two",
        ),
    ],
)  # fmt: skip
def test_a_mistake_is_marked_and_gets_its_own_help(
    tmp_path: Path, body: str, message: str, marked: list[str], help_text: str
) -> None:
    found = problem(tmp_path, body)
    assert (found.code, found.message) == (_VALIDATION, message)
    assert found.marked == marked
    assert found.help == (help_text,)


@pytest.mark.parametrize(
    ("body", "marked"),
    [
        pytest.param("", "size", id="vm"),
        pytest.param('ssh user="debian"', "user", id="ssh"),
        pytest.param('cloud-init hostname="shop"', "hostname", id="cloud-init"),
        pytest.param('provision "shell" run="once" { inline "x" }', "run", id="provision"),
    ],
)
def test_a_property_of_a_block_is_not_silently_ignored(tmp_path: Path, body: str, marked: str) -> None:
    found = problem(tmp_path, body, head='vm "web" size=4' if not body else 'vm "web"')
    assert marked in found.marked[0]


@pytest.mark.parametrize(
    ("text", "message", "marked"),
    [
        ("", "the file defines no VM", [""]),
        ("// only a comment\n", "the file defines no VM", [""]),
        ("vms {}", "unknown `vms` at the top of a VMFile", ["vms"]),
        (f"vm {{ {IMAGE} }}", "`vm` without a value", ["vm"]),
        (f"vm 5 {{ {IMAGE} }}", "`vm` is a string", ["5"]),
        ('vm "web"', "a vm without a block", ['vm "web"']),
        ('vm "web" {}', "a VM without an image", ['vm "web"']),
        (f'vm "web" "db" {{ {IMAGE} }}', "`vm` takes one value", ['"db"']),
        (
            f'vm "web" {{ {IMAGE} }}\nvm "web" {{ {IMAGE} }}',
            "the VM 'web' is defined twice",
            ['"web"', '"web"'],
        ),
        ('vm "web" { image-url "ftp://x/y" }', "an image-url with the scheme 'ftp'", ['"ftp://x/y"']),
        ('vm "web" { image-url "https:///y" }', "`image-url` is not a complete URL", ['"https:///y"']),
        ('vm "web" { image-url "http://[::1" }', "`image-url` is not a complete URL", ['"http://[::1"']),
        ('vm "web" { image-url "disk.img" }', "`image-url` is not a complete URL", ['"disk.img"']),
    ],
)
def test_a_file_without_a_usable_vm_is_refused(tmp_path: Path, text: str, message: str, marked: list[str]) -> None:
    (found,) = problems(tmp_path, text)
    assert (found.code, found.message, found.marked) == (_VALIDATION, message, marked)
    assert found.help != ("",)


@pytest.mark.parametrize("name", ["../x", "a/b", "a" * 64, "-a", "a.b", "a b", "é"])
def test_a_name_that_cannot_be_a_directory_and_a_host_name_is_refused(tmp_path: Path, name: str) -> None:
    found = problem(tmp_path, "", head=f'vm "{name}"')
    assert found.message == f"'{name}' cannot be the name of a VM"
    assert found.marked == [f'"{name}"']


_PATHS = "check the path; relative paths start at "


@pytest.mark.parametrize(
    ("body", "message", "help_text"),
    [
        ('ssh { private-key "missing" }', "the private key does not exist", _PATHS),
        ('ssh { private-key "." }', "the private key is a directory", _PATHS),
        ('ssh { private-key "id.pub" }', "`private-key` names a public key", "use the file next to it, without .pub"),
        ('ssh { private-key "nginx.conf" }', "the private key is not in", "use a file created by `ssh-keygen`"),
        (
            'cloud-init { ssh-key "id" }',
            "`ssh-key` names a private key",
            "use the .pub file next to it; a private key must stay on the host",
        ),
        ('cloud-init { ssh-key "setup.sh" }', "the public key is not in", "use a file with a single line"),
        ('cloud-init { ssh-key "cut.pub" }', "the public key is not in", "use a file with a single line"),
        ('cloud-init { ssh-key "two.pub" }', "the public key has several lines", "use a file with a single line"),
        ('provision "shell" { script "missing.sh" }', "the script does not exist", _PATHS),
        ('provision "file" { source "missing"; destination "/a" }', "the source does not exist", _PATHS),
        ('cloud-init { user-data "missing" }', "the user-data does not exist", _PATHS),
        ('cloud-init { user-data "list.yaml" }', "the user-data is not a mapping", "write keys and values"),
        (
            'cloud-init { user-data "bad.yaml" }',
            "the user-data is not valid YAML at line 3, column 5: ",
            "fix that line",
        ),
        ('cloud-init { network-config "bad.yaml" }', "the network configuration is not valid YAML", "fix that line"),
        ('cloud-init { network-config "missing" }', "the network configuration does not exist", _PATHS),
        ('mount "missing" "/a"', "the directory to mount does not exist", _PATHS),
        ('mount "setup.sh" "/a"', "the directory to mount is not a directory", _PATHS),
    ],
)
def test_a_file_that_cannot_serve_is_marked_with_where_it_was_looked_for(
    tmp_path: Path, body: str, message: str, help_text: str
) -> None:
    (tmp_path / "list.yaml").write_bytes(b"#cloud-config\n- a\n")
    (tmp_path / "bad.yaml").write_bytes(b"#cloud-config\na: 1\nb: c: d\n")
    (tmp_path / "cut.pub").write_bytes(b"ssh-ed25519 AAAAC3NzaC1lZDI1 me@here\n")
    (tmp_path / "two.pub").write_bytes(b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 a\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5 b\n")
    found = problem(tmp_path, body)
    assert found.message.startswith(message)
    assert found.marked[0].startswith('"')
    assert found.labels[0].startswith(f"→ {tmp_path}")
    assert found.help[0].startswith(help_text)


def test_a_missing_image_is_marked_where_it_is_named(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, 'vm "web" { image "images/debian.qcow2" }')
    assert found.message == "the image does not exist"
    assert (found.marked, found.labels) == (['"images/debian.qcow2"'], [f"→ {tmp_path}/images/debian.qcow2"])


def test_all_problems_are_said_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """vm "web" {
    image "missing.qcow2"
    vcpu 2
    memory "much"
    provision "file" { source "nginx.conf" }
}
vm "web" { image "disk.qcow2"; network "tab" }
disk 5
"""
    assert [(found.message.split(" does ")[0], found.marked[0]) for found in problems(tmp_path, text)] == [
        ("the image", '"missing.qcow2"'),
        ("unknown `vcpu` in a vm block", "vcpu"),
        ("`memory` is a size", '"much"'),
        ('`provision "file"` without `destination`', 'provision "file"'),
        ("the VM 'web' is defined twice", '"web"'),
        ("`network` cannot be 'tab'", '"tab"'),
        ("unknown `disk` at the top of a VMFile", "disk"),
    ]


def test_a_second_label_shows_the_other_place(tmp_path: Path) -> None:
    found = problem(tmp_path, "vcpus 2\nvcpus 4")
    assert found.labels == ["again here", "first here"]
    assert [label.source.position(label.span.start)[0] for label in found.diagnostic.labels] == [4, 3]
    assert [label.primary for label in found.diagnostic.labels] == [True, False]


# Known to be wrong


@pytest.mark.parametrize("value", ["5", '""', "#null"])
def test_a_wrong_image_is_one_problem_and_not_two(tmp_path: Path, value: str) -> None:
    assert len(problems(tmp_path, f'vm "web" {{ image {value} }}')) == 1


def test_an_integer_is_not_called_a_integer(tmp_path: Path) -> None:
    assert problem(tmp_path, "cpu 5").labels == ["this is an integer"]


@pytest.mark.parametrize("value", ["#true", "#null"])
def test_the_suggestion_is_written_in_kdl(tmp_path: Path, value: str) -> None:
    (advice,) = problem(tmp_path, f"cpu {value}").help
    assert "True" not in advice
    assert "None" not in advice


def test_the_home_of_nobody_is_a_problem(tmp_path: Path) -> None:
    assert problem(tmp_path, 'ssh { private-key "~no-such-user-here/id" }').marked == ['"~no-such-user-here/id"']


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("released: 2024-13-45", id="an impossible date"),
        pytest.param("mask: 0b_", id="a number without digits"),
        pytest.param("[" * 1000, id="1000 brackets"),
    ],
)
def test_user_data_that_yaml_chokes_on_is_a_problem(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.yaml").write_text(f"#cloud-config\n{text}\n")
    assert problem(tmp_path, 'cloud-init { user-data "odd.yaml" }').marked[0] == '"odd.yaml"'


@pytest.mark.parametrize("name", ["two words", "a_b", "x" * 300, "line\\nbreak"])
def test_a_host_name_that_is_none_is_a_problem(tmp_path: Path, name: str) -> None:
    assert problem(tmp_path, f'cloud-init {{ hostname "{name}" }}').marked == [f'"{name}"']


def test_what_is_quoted_is_one_line_of_reasonable_length(tmp_path: Path) -> None:
    for body in ('accel "a\\nb"', f'accel "{"x" * 5000}"', f"cpu {'9' * 4000}", f'ssh {{ user "{"x y" * 900}" }}'):
        found = problem(tmp_path, body)
        assert "\n" not in found.message + found.help[0]
        assert len(found.message) < 200
        assert len(found.help[0]) < 200


def test_a_word_of_half_a_megabyte_is_refused_in_good_time(tmp_path: Path) -> None:
    started = time.process_time()
    problem(tmp_path, f"{'x' * 500_000} 5")
    assert time.process_time() - started < 2


def test_a_hundred_problems_are_told_and_how_many_more_there_are(tmp_path: Path) -> None:
    body = "\n".join(f"zzz{number} 1" for number in range(150))
    found = problems(tmp_path, f'vm "web" {{\n{IMAGE}\n{body}\n}}\n')
    assert len(found) == 101
    assert found[-1].message == "50 more problems are not shown"


def test_what_the_kernel_makes_up_is_no_user_data(tmp_path: Path) -> None:
    found = problem(tmp_path, 'cloud-init { user-data "/proc/self/environ" }')
    assert found.message == "the user-data is in /proc, /sys or /dev, which vmctl does not read"


def test_a_text_that_is_too_long_for_a_path_is_not_quoted(tmp_path: Path) -> None:
    found = problem(tmp_path, f'ssh {{ private-key "{"x" * 300}" }}')
    assert found.message == "`private-key` takes a path, not a long text"
    assert "xxx" not in found.marked[0]


@pytest.mark.parametrize("body", ["network", "network isolated=#true", 'provision { inline "true"; }'])
def test_a_kind_that_is_left_out_is_the_usual_one(tmp_path: Path, body: str) -> None:
    (tmp_path / "disk.img").touch()
    path = tmp_path / "VMFile.kdl"
    path.write_text(f'vm "a" {{\nimage "disk.img"\n{body}\n}}\n')
    (spec,) = load(path).specs
    assert spec.networks == (Network(),)
    assert all(step.kind is ProvisionerKind.SHELL for step in spec.provisioners)


@pytest.mark.parametrize(
    "form", [("-t", "ed25519"), ("-t", "rsa", "-m", "PEM"), ("-t", "ecdsa", "-m", "PKCS8")], ids=str
)
@pytest.mark.parametrize("passphrase", ["", "secret"])
def test_a_private_key_needs_no_passphrase(tmp_path: Path, form: tuple[str, ...], passphrase: str) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", *form, "-N", passphrase, "-f", str(key)], check=True)
    content = key.read_bytes()
    found = [flaw.problem for flaw in check_private_key(content, "key")]
    assert found == (["has a passphrase, which vmctl cannot ask for"] if passphrase else [])


def test_how_a_key_gets_rid_of_its_passphrase_can_be_pasted(tmp_path: Path) -> None:
    key = tmp_path / "my key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(key)], check=True)
    (command,) = re.findall("`([^`]+)`", without_passphrase("my key"))
    ready = command.replace("ssh-keygen -p", "ssh-keygen -q -p -P secret")
    subprocess.run(ready, shell=True, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)  # noqa: S602 - as a person pastes it
    assert check_private_key((tmp_path / "my key-vmctl").read_bytes(), "key") == []
    assert without_passphrase("~/.ssh/id") == (
        "a copy without it: `cp ~/.ssh/id ~/.ssh/id-vmctl && ssh-keygen -p -N '' -f ~/.ssh/id-vmctl`"
    )


def test_a_private_key_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    write(tmp_path, "")
    (tmp_path / "loose").write_bytes((tmp_path / "id").read_bytes())
    (tmp_path / "loose").chmod(0o640)
    (tmp_path / "VMFile.kdl").write_text(f'vm "web" {{ {IMAGE}; ssh {{ private-key "loose" }} }}')
    (warning,) = load(tmp_path / "VMFile.kdl").warnings
    assert warning.message == "the private key can be read by others (mode 0640), so that `vmctl ssh` cannot use it"
    assert warning.help == (f"make it private: `chmod 600 {tmp_path}/loose`",)
