"""VMFiles that are none"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from driver import BLANK, Result, Vmctl
from first_screen import Gallery

_PARSE, _MISSING = "vm_manager::vmfile::parse_failed", "vm_manager::vmfile::not_found"
_INVALID = "vm_manager::vmfile::validation"


@pytest.fixture
def elsewhere(blank: Vmctl) -> Vmctl:
    """A project whose VMFile is called good.kdl."""
    (blank.directory / "VMFile.kdl").rename(blank.directory / "good.kdl")
    return blank


@pytest.fixture
def key() -> tuple[str, str]:
    """The texts of a private and of its public key."""
    made = Ed25519PrivateKey.generate()
    private = made.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    return private, made.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def _never_quoted(vmctl: Vmctl, *secrets: str) -> Result:
    """What `up` says; nothing that says it in any format, or in a log, has a part of these."""
    for command in ("validate", "plan", "up"):
        for form in ("plain", "fancy", "json", "github"):
            said = vmctl("-vv", "--error-format", form, command, status=3)
            for secret in secrets:
                assert secret not in said.stdout + said.stderr, (command, form)
    return vmctl("up", status=None)


def _with(vmctl: Vmctl, body: str) -> None:
    vmctl.write(BLANK.replace('accel "tcg"', f'accel "tcg"\n    {body}'))


def test_a_directory_in_its_place(elsewhere: Vmctl, gallery: Gallery) -> None:
    """VMFile.kdl is a directory."""
    (elsewhere.directory / "VMFile.kdl").mkdir()
    gallery.shows(
        elsewhere("up", status=None),
        _PARSE,
        place=None,
        says=("VMFile.kdl is a directory, not a VMFile",),
        never=("no VMFile.kdl", "IsADirectoryError"),
    )
    gallery.by_hand("rename the directory")
    (elsewhere.directory / "VMFile.kdl").rename(elsewhere.directory / "old")
    (elsewhere.directory / "good.kdl").rename(elsewhere.directory / "VMFile.kdl")
    gallery.works(elsewhere("up"))


def test_a_merge_conflict(elsewhere: Vmctl, gallery: Gallery) -> None:
    """git has left its marks in the VMFile."""
    good = (elsewhere.directory / "good.kdl").read_text()
    (elsewhere.directory / "VMFile.kdl").write_text(f"<<<<<<< HEAD\n{good}=======\n{good}>>>>>>> feature/memory\n")
    gallery.shows(
        elsewhere("up", status=None), _PARSE, place="VMFile.kdl:1:1", says=("has an unresolved merge conflict",)
    )
    gallery.by_hand("keep one of the two sides")
    (elsewhere.directory / "VMFile.kdl").write_text(good)
    gallery.works(elsewhere("up"))


def test_typographic_quotes(blank: Vmctl, gallery: Gallery) -> None:
    """A line of the VMFile was pasted from a web page."""
    good = (blank.directory / "VMFile.kdl").read_text()
    line = 'provision "shell" { inline "sudo apt-get update" }'
    _with(blank, line.replace('"sudo apt-get update"', "“sudo apt-get update”"))
    gallery.shows(
        blank("up", status=None),
        _PARSE,
        place="VMFile.kdl",
        says=('“ is a typographic quotation mark; KDL uses "', line),
        never=("one too many",),
    )
    gallery.by_hand("write it like this")
    blank.write(good)
    gallery.works(blank("up"))


def test_a_pipe_in_its_place(elsewhere: Vmctl, gallery: Gallery) -> None:
    """VMFile.kdl is a named pipe."""
    os.mkfifo(elsewhere.directory / "VMFile.kdl")
    gallery.shows(
        elsewhere("up", status=None), _PARSE, place=None, says=("is not a regular file",), never=("no VMFile.kdl",)
    )
    gallery.by_hand("use a VMFile")
    gallery.works(elsewhere("up", "--file", "good.kdl"))


def test_a_link_that_leads_nowhere(elsewhere: Vmctl, gallery: Gallery) -> None:
    """VMFile.kdl is a link to a file that was moved."""
    link = elsewhere.directory / "VMFile.kdl"
    link.symlink_to("vms/VMFile.kdl")
    gallery.shows(
        elsewhere("up", status=None),
        _MISSING,
        place=None,
        says=("is a link to vms/VMFile.kdl, which does not exist",),
        never=("no VMFile.kdl",),
    )
    gallery.by_hand("make the link lead to another")
    link.unlink()
    link.symlink_to("good.kdl")
    gallery.works(elsewhere("up"))


@pytest.mark.parametrize("name", ["vmfile.kdl", "VMfile.kdl", "VMFile"])
def test_another_spelling(elsewhere: Vmctl, gallery: Gallery, name: str) -> None:
    """The VMFile is called by nearly the right name."""
    (elsewhere.directory / "good.kdl").rename(elsewhere.directory / name)
    gallery.shows(elsewhere("up", status=None), _MISSING, place=None, says=(f"{name} is not found by itself",))
    gallery.fix(elsewhere, "mv -n")
    gallery.works(elsewhere("up"))


def test_the_directory_of_a_vmfile(blank: Vmctl, gallery: Gallery) -> None:
    """`--file` names the directory, not the VMFile in it."""
    gallery.shows(blank("up", "--file", ".", status=None), _PARSE, place=None, says=(". is a directory, not a VMFile",))
    gallery.by_hand("use the VMFile in it: `--file VMFile.kdl`")
    gallery.works(blank("up", "--file", "VMFile.kdl"))


def test_a_misspelt_file(elsewhere: Vmctl, gallery: Gallery) -> None:
    """`--file` names a file that is not there."""
    gallery.shows(
        elsewhere("up", "--file", "god.kdl", status=None), _MISSING, place=None, says=("god.kdl does not exist",)
    )
    gallery.by_hand("did you mean `--file good.kdl`?")
    gallery.works(elsewhere("up", "--file", "good.kdl"))


def test_utf_16(blank: Vmctl, gallery: Gallery) -> None:
    """The VMFile was saved by an editor of Windows, in UTF-16."""
    (blank.directory / "VMFile.kdl").write_text(BLANK, encoding="utf-16")
    gallery.shows(
        blank("up", status=None), _PARSE, place=None, says=("is not UTF-8",), never=("codec", "UnicodeDecodeError")
    )
    gallery.fix(blank, "iconv -f UTF-16")
    gallery.works(blank("up", "--file", "VMFile.kdl.utf-8"))


def test_latin_1(blank: Vmctl, gallery: Gallery) -> None:
    """A comment of the VMFile is in an old encoding of Western Europe."""
    (blank.directory / "VMFile.kdl").write_bytes(b"// caf\xe9\n" + BLANK.encode())
    gallery.shows(blank("up", status=None), _PARSE, place=None, says=("is not UTF-8",), never=("codec",))
    gallery.fix(blank, "iconv -f WINDOWS-1252")
    gallery.works(blank("up", "--file", "VMFile.kdl.utf-8"))


def test_a_binary_file(blank: Vmctl, gallery: Gallery) -> None:
    """`--file` names the image instead of the VMFile."""
    (blank.directory / "disk.img").write_bytes(b"QFI\xfb\0\0\0\3\xff\xfe")
    gallery.shows(
        blank("up", "--file", "disk.img", status=None), _PARSE, place=None, says=("is not UTF-8", "a binary file")
    )
    gallery.by_hand("use a VMFile")
    gallery.works(blank("up", "--file", "VMFile.kdl"))


def test_a_swap_file(blank: Vmctl, gallery: Gallery) -> None:
    """`--file` names the swap file that an editor has left."""
    (blank.directory / ".VMFile.kdl.swp").write_bytes(b"b0VIM 9.0" + bytes(4000) + BLANK.encode())
    gallery.shows(blank("up", "--file", ".VMFile.kdl.swp", status=None), _PARSE, place=None, says=("is a binary file",))
    gallery.by_hand("use a VMFile")
    gallery.works(blank("up", "--file", "VMFile.kdl"))


_OTHERS = {
    "compose.yaml": ("services:\n  web:\n    image: nginx\n    ports:\n      - '80:80'\n", "YAML"),
    "vms.yaml": ("vms:\n  - vm: web\n    image: disk.qcow2\n", "YAML"),
    "vm.json": ('{"vm": {"name": "web", "image": "disk.qcow2"}}\n', "JSON"),
    "Vagrantfile": ('Vagrant.configure("2") do |config|\n  config.vm.box = "debian"\nend\n', "a Vagrantfile"),
    "main.tf": ('resource "libvirt_domain" "web" {\n  memory = 512\n}\n', "Terraform"),
    "vm.toml": ('[vm.web]\nimage = "disk.qcow2"\n', "TOML"),
    "vm.xml": ("<domain type='kvm'><name>web</name></domain>\n", "XML"),
    "README.md": ('# VMs\n\nIt has a vm:\n\n```kdl\nvm "web" { image "disk.qcow2" }\n```\n', "Markdown"),
}


@pytest.mark.parametrize("name", _OTHERS)
def test_a_file_of_another_tool(blank: Vmctl, gallery: Gallery, name: str) -> None:
    """`--file` names a file in another language."""
    text, language = _OTHERS[name]
    blank.write(text, name)
    said = blank("up", "--file", name, status=None)
    gallery.shows(said, _PARSE, place=None, says=(f"{name} is {language}",))
    assert said.stderr.count("error[") == 1
    gallery.by_hand("pass another file with `--file PATH`")
    gallery.works(blank("up", "--file", "VMFile.kdl"))


def test_a_file_that_is_no_kdl_at_all(blank: Vmctl, gallery: Gallery) -> None:
    """`up --file /etc/passwd`: one diagnostic, and nothing of the file."""
    said = blank("up", "--file", "/etc/passwd", status=None)
    gallery.shows(
        said, _PARSE, place=None, says=("/etc/passwd does not look like a VMFile",), never=("root:", "nologin", "/bin/")
    )
    assert said.stderr.count("error[") == 1
    gallery.by_hand("use another file with --file")
    gallery.works(blank("up", "--file", "VMFile.kdl"))


def test_a_program_with_a_vm_in_it(blank: Vmctl, gallery: Gallery) -> None:
    """`--file` names a program, in which a line begins with the word "vm"."""
    lines = [f"def step_{number}(vm, *args): return (vm[{number}] or {{}})(args)\n" for number in range(20)]
    blank.write("".join(lines) + "vm = 1\n", "tool.py")
    said = blank("up", "--file", "tool.py", status=None)
    gallery.shows(said, _PARSE, place=None, says=("tool.py is not a VMFile: most of it is not KDL",))
    assert said.stderr.count("error[") == 1
    gallery.by_hand("pass a VMFile with `--file PATH`")
    gallery.works(blank("up", "--file", "VMFile.kdl"))


def test_an_empty_vmfile(blank: Vmctl, gallery: Gallery) -> None:
    """The VMFile is empty."""
    blank.write("")
    gallery.shows(blank("up", status=None), _INVALID, place="VMFile.kdl:1:1", says=("the file defines no VM",))
    gallery.by_hand("add a block: vm ")
    blank.write(BLANK)
    gallery.works(blank("up"))


def test_the_text_of_a_private_key(blank: Vmctl, gallery: Gallery, key: tuple[str, str]) -> None:
    """`private-key` has the key itself, in one line."""
    private, _ = key
    escaped = private.replace("\n", "\\n")
    _with(blank, f'ssh {{ private-key "{escaped}"; }}')
    gallery.shows(
        _never_quoted(blank, *private.split("\n")[1:4]),
        _INVALID,
        place="VMFile.kdl:5:23",
        says=("`private-key` takes a path, not the text of a private key",),
        never=("-----",),
    )
    gallery.by_hand('save it to a file, and write its path: private-key "~/.ssh/id_ed25519"')
    (blank.directory / "key").write_text(private)
    _with(blank, 'ssh { private-key "key"; }')
    gallery.works(blank("validate"))


@pytest.mark.parametrize("quotes", ['"""\n{}\n"""', '"{}"', '#"""\n{}\n"""#'], ids=["kdl-2", "kdl-1", "raw"])
def test_the_text_of_a_private_key_for_a_public_one(
    blank: Vmctl, gallery: Gallery, key: tuple[str, str], quotes: str
) -> None:
    """`ssh-key` has the text of a private key, in several lines."""
    private, public = key
    _with(blank, f"cloud-init {{\n ssh-key {quotes.format(private.strip())}\n }}")
    gallery.shows(
        _never_quoted(blank, *private.split("\n")[1:4]),
        _INVALID,
        place="VMFile.kdl:6:10",
        says=("`ssh-key` takes a path, not the text of a private key",),
        never=("-----",),
    )
    gallery.by_hand('write its path: ssh-key "~/.ssh/id_ed25519.pub"')
    blank.write(public, "key.pub")
    _with(blank, 'cloud-init { ssh-key "key.pub"; }')
    gallery.works(blank("validate"))


def test_the_text_of_a_public_key(blank: Vmctl, gallery: Gallery, key: tuple[str, str]) -> None:
    """`ssh-key` has the line of the key, as authorized_keys has it."""
    _with(blank, f'cloud-init {{ ssh-key "{key[1]} me@home"; }}')
    gallery.shows(
        _never_quoted(blank, key[1].split()[1]),
        _INVALID,
        place="VMFile.kdl:5:26",
        says=("`ssh-key` takes a path, not the text of a public key",),
        never=("AAAA", "me@home"),
    )
    gallery.by_hand("save it to a file")
    blank.write(key[1], "key.pub")
    _with(blank, 'cloud-init { ssh-key "key.pub"; }')
    gallery.works(blank("validate"))


def test_the_text_of_user_data(blank: Vmctl, gallery: Gallery) -> None:
    """`user-data` has the YAML itself."""
    _with(blank, 'cloud-init {\n user-data """\n #cloud-config\n password: hunter2\n """\n }')
    gallery.shows(
        _never_quoted(blank, "hunter2"),
        _INVALID,
        place="VMFile.kdl:6:12",
        says=("`user-data` takes a path, not the text of user-data",),
        never=("#cloud-config", "hunter2"),
    )
    gallery.by_hand('save it to a file, and write its path: user-data "user-data.yaml"')
    blank.write("#cloud-config\npassword: hunter2\n", "user-data.yaml")
    _with(blank, 'cloud-init { user-data "user-data.yaml"; }')
    gallery.works(blank("validate"))


def test_the_text_of_a_script(blank: Vmctl, gallery: Gallery) -> None:
    """`script` has the commands themselves."""
    _with(blank, 'provision "shell" { script "#!/bin/sh\\ncurl -u me:hunter2 example.org"; }')
    gallery.shows(
        _never_quoted(blank, "hunter2"),
        _INVALID,
        place="VMFile.kdl:5:32",
        says=("`script` takes a path, not the text of a script",),
        never=("hunter2", "curl"),
    )
    gallery.by_hand('write its path: script "setup.sh"')
    blank.write("#!/bin/sh\ntrue\n", "setup.sh")
    _with(blank, 'provision "shell" { script "setup.sh"; }')
    gallery.works(blank("validate"))


def test_the_source_is_a_url(blank: Vmctl, gallery: Gallery) -> None:
    """The `source` of a file provisioner is a URL."""
    _with(blank, 'provision "file" { source "https://example.org/a"; destination "/a"; }')
    gallery.shows(
        blank("up", status=None), _INVALID, place="VMFile.kdl:5:31", says=("`source` takes a path, not a URL",)
    )
    gallery.by_hand("download it, and write its path")
    blank.write("a", "a")
    _with(blank, 'provision "file" { source "a"; destination "/a"; }')
    gallery.works(blank("validate"))


@pytest.mark.parametrize("option", ["--ssh-key", "--cloud-init"])
def test_the_text_of_a_key_as_an_option(
    blank: Vmctl, gallery: Gallery, key: tuple[str, str], option: str, tmp_path: Path
) -> None:
    """`vmctl create` with `"$(cat key)"` where a path belongs."""
    new = ("create", "--name", "a", "--image", "blank.qcow2", "--accel", "tcg")
    private, public = key
    gallery.shows(
        blank(*new, option, private, status=None),
        "vmctl::usage",
        place=None,
        says=(f"`{option}` takes a path, not the text of a private key",),
        never=("-----", *private.split("\n")[1:4]),
    )
    gallery.by_hand("save it to a file")
    blank.write({"--ssh-key": public, "--cloud-init": "#cloud-config\n{}\n"}[option], "file")
    gallery.works(blank(*new, option, "file"))


def test_a_provisioner_without_a_kind(blank: Vmctl, gallery: Gallery) -> None:
    """`provision { source … }`: without a kind it is a shell provisioner, as in vm-manager."""
    blank.write("a", "a")
    _with(blank, 'provision { source "a"; destination "/a"; inline "true"; }')
    gallery.shows(
        blank("validate", status=None),
        _INVALID,
        place="VMFile.kdl:5:17",
        says=('`source` is not allowed with provision "shell"', 'only allowed with provision "file"'),
    )
    gallery.by_hand('provision "file"')
    _with(blank, 'network\n    provision { inline "true"; }\n    provision "file" { source "a"; destination "/a"; }')
    gallery.works(blank("validate"))


def test_memory_in_gib(blank: Vmctl, gallery: Gallery) -> None:
    """`memory 32`, for 32 GiB."""
    good = (blank.directory / "VMFile.kdl").read_text()
    blank.write(good.replace("memory 64", "memory 32"))
    gallery.shows(
        blank("validate"),
        None,
        place="VMFile.kdl:3",
        says=("without a unit, `memory` counts MiB: this is 32 MiB", 'if you mean 32 GiB, write memory "32GiB"'),
    )
    gallery.by_hand('if not, write memory "32MiB"')
    blank.write(good.replace("memory 64", 'memory "32MiB"'))
    assert blank("validate").stderr == ""
    gallery.works(blank("up"))


@pytest.mark.parametrize("size", ['"64m"', "64m", '"64"'], ids=["short", "bare", "text"])
def test_a_size_of_another_tool(blank: Vmctl, gallery: Gallery, size: str) -> None:
    """A size as docker and QEMU have it."""
    good = (blank.directory / "VMFile.kdl").read_text()
    blank.write(good.replace("memory 64", f"memory {size}"))
    gallery.shows(
        blank("up", status=None), _PARSE if size == "64m" else _INVALID, place="VMFile.kdl:3:12", says=('"64MiB"',)
    )
    gallery.by_hand('"64MiB"')
    blank.write(good.replace("memory 64", 'memory "64MiB"'))
    gallery.works(blank("up"))


@pytest.mark.parametrize(
    "line", ['ports "8080:80"', 'network { forward "8080:80"; }'], ids=["in_the_vm", "in_the_network"]
)
def test_a_forward_as_in_docker(blank: Vmctl, gallery: Gallery, line: str) -> None:
    """A port as docker has it."""
    _with(blank, line)
    gallery.shows(blank("up", status=None), _INVALID, place="VMFile.kdl", says=("forward host=8080 guest=80",))
    gallery.by_hand("write it like this")
    _with(blank, 'network { forward host="auto" guest=80; }')
    gallery.works(blank("up"))


def test_a_variable_as_in_docker(blank: Vmctl, gallery: Gallery) -> None:
    """`env "NAME=value"` in a step."""
    _with(blank, 'provision { inline "true"; env "TOKEN=s3cret"; }')
    gallery.shows(
        blank("up", status=None),
        _INVALID,
        place="VMFile.kdl",
        says=('env "TOKEN" "…"',),
        never=("s3cret", "2 problems"),
    )
    gallery.by_hand("write it like this")
    _with(blank, 'provision { inline "true"; env "TOKEN" "s3cret"; }')
    gallery.works(blank("validate"))


def test_a_directory_as_in_docker(blank: Vmctl, gallery: Gallery) -> None:
    """`volumes`, for a directory of the host."""
    (blank.directory / "data").mkdir()
    _with(blank, 'volumes "./data:/data"')
    gallery.shows(blank("up", status=None), _INVALID, place="VMFile.kdl", says=('mount "./data" "/data"',))
    gallery.by_hand("write it like this")
    _with(blank, 'mount "./data" "/data"')
    gallery.works(blank("validate"))


def test_a_step_in_one_line(blank: Vmctl, gallery: Gallery) -> None:
    """`provision` with a command, but no block."""
    _with(blank, 'provision "apt-get update"')
    gallery.shows(
        blank("up", status=None), _INVALID, place="VMFile.kdl", says=('provision { inline "apt-get update" }',)
    )
    gallery.by_hand("write it like this")
    _with(blank, 'provision { inline "apt-get update" }')
    gallery.works(blank("validate"))


def test_a_restart_policy(blank: Vmctl, gallery: Gallery) -> None:
    """`restart`, as docker compose has it."""
    good = (blank.directory / "VMFile.kdl").read_text()
    _with(blank, 'restart "always"')
    gallery.shows(
        blank("up", status=None), _INVALID, place="VMFile.kdl", says=("unknown `restart`",), never=("write one of",)
    )
    gallery.by_hand("leave it out")
    blank.write(good)
    gallery.works(blank("up"))


def test_a_box_of_vagrant(blank: Vmctl, gallery: Gallery) -> None:
    """`box`, as Vagrant has it."""
    good = (blank.directory / "VMFile.kdl").read_text()
    blank.write(good.replace('image "blank.qcow2"', 'box "debian/bookworm64"'))
    gallery.shows(blank("up", status=None), _INVALID, place="VMFile.kdl", says=("vmctl has no catalog",))
    gallery.by_hand('or image "disk.qcow2"')
    blank.write(good)
    gallery.works(blank("up"))


def test_the_name_of_an_image(blank: Vmctl, gallery: Gallery) -> None:
    """`image "debian:12"`, as docker has it."""
    good = (blank.directory / "VMFile.kdl").read_text()
    blank.write(good.replace('image "blank.qcow2"', 'image "debian:12"'))
    gallery.shows(
        blank("up", status=None), _INVALID, place="VMFile.kdl", says=("the image does not exist", "no catalog")
    )
    gallery.by_hand("or check the path")
    blank.write(good)
    gallery.works(blank("up"))
