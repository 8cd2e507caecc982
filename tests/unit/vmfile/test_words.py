"""What may stand once, with what it goes, and other names that people use: word by word, written down a second time."""

from __future__ import annotations

from pathlib import Path

import pytest

from unit.vmfile.vmfiles import IMAGE, loaded, problem, problems

_SHELL, _FILE = 'provision "shell" {{ inline "a"; {} }}', 'provision "file" {{ source "id"; destination "/a"; {} }}'
_FORWARD = 'network "user" {{ forward host=1 guest=2 {} }}'
_URL = 'vm "a" {{ image-url "https://example.org/a" {} }}'
_DIGITS = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("around", "words"),
    [
        ("{}", ['arch "x86_64"', "vcpus 2", "memory 64", "disk 5", 'firmware "bios"', 'accel "tcg"', 'cpu "max"']),
        ("{}", ["boot-timeout 5", "cloud-init {}", "ssh {}", IMAGE]),
        ("cloud-init {{ {} }}", ['hostname "a"', 'ssh-key "id.pub"', 'user-data "user-data.yaml"', 'on-error "fail"']),
        ("cloud-init {{ {} }}", ['network-config "user-data.yaml"']),
        ("ssh {{ {} }}", ['user "a"', 'private-key "id"', "port 22"]),
        ('provision "shell" {{ {} }}', ['inline "a"', 'script "setup.sh"']),
        (_SHELL, ['run "always"']),
        ('provision "file" {{ destination "/a"; {} }}', ['source "id"']),
        ('provision "file" {{ source "id"; {} }}', ['destination "/a"']),
        (_FILE, ['mode "644"', 'owner "root"']),
        ('network "user" {{ {} }}', ['mac "52:54:00:00:00:01"']),
        ('network "tap" {{ {} }}', ['bridge "br0"']),
        ('network "vnic" {{ {} }}', ['name "v0"']),
        ('network "user" {{ forward guest=1 {} }}', ["host=2"]),
        ('network "user" {{ forward host=1 {} }}', ["guest=2"]),
        (_FORWARD, ['protocol="tcp"', 'address="0.0.0.0"']),
        ('mount "." "/a" {}', ["read-only=#true"]),
    ],
)
def test_a_word_that_may_stand_once_may_not_stand_twice(tmp_path: Path, around: str, words: list[str]) -> None:
    for word in words:
        once = "" if word == IMAGE else word
        twice = f"{word} {word}" if "=" in word else f"{once}\n{word}"
        found = problem(tmp_path, around.format(twice))
        assert found.message.endswith("is given twice"), word


@pytest.mark.parametrize(
    ("word", "field"),
    [
        (f'sha256="{_DIGITS}"', "sha256"),
        (f'sha512="{_DIGITS}{_DIGITS}"', "sha512"),
        ('checksum-url="https://example.org/s"', "checksum_url"),
    ],
)
def test_an_image_has_each_checksum_once(tmp_path: Path, word: str, field: str) -> None:
    (found,) = problems(tmp_path, _URL.format(f"{word} {word}"))
    assert found.message.endswith("is given twice")
    image = loaded(tmp_path, _URL.format(word)).specs[0].image
    assert f'{field.replace("_", "-")}="{getattr(image, field)}"' == word


def test_an_image_url_stands_once(tmp_path: Path) -> None:
    url = 'image-url "https://example.org/a"'
    found = problems(tmp_path, f'vm "a" {{ {url}; {url} }}')
    assert [one.message for one in found] == ["`image-url` is given twice"]


@pytest.mark.parametrize(
    ("around", "word", "meant"),
    [
        ("{}", "ram", "memory"), ("{}", "mem", "memory"), ("{}", "cores", "vcpus"), ("{}", "url", "image-url"),
        ("{}", "accelerator", "accel"), ("{}", "needs", "depends-on"), ("{}", "nic", "network"), ("{}", "volume", "drive"),
        ("{}", "share", "mount"), ("{}", "cloudinit", "cloud-init"), ("{}", "provisioner", "provision"),
        ('network "user" {{ {} }}', "publish", "forward"), ("cloud-init {{ {} }}", "authorized-key", "ssh-key"),
        ("ssh {{ {} }}", "login", "user"), ("ssh {{ {} }}", "identity", "private-key"),
        ('provision "shell" {{ {} }}', "command", "inline"), ('provision "shell" {{ {} }}', "path", "script"),
        ('provision "file" {{ destination "/a"; {} }}', "src", "source"),
        ('provision "file" {{ source "id"; {} }}', "target", "destination"),
    ],
)  # fmt: skip
def test_other_names_are_understood_as_what_they_mean(tmp_path: Path, around: str, word: str, meant: str) -> None:
    body = around.format(f'{word} "a"')
    found = problems(tmp_path, f'vm "a" {{ {"" if meant == "image-url" else IMAGE}\n{body}\n}}')
    assert [one.help for one in found] == [(f"did you mean `{meant}`?",)]


@pytest.mark.parametrize(
    ("body", "marked"),
    [
        ('network "user" bridge="br0"', "bridge"),
        ('network "none" mac="52:54:00:00:00:01"', "mac"),
        (_FILE.format('inline "a"'), "inline"),
        (_FILE.format('script "setup.sh"'), "script"),
        (_FILE.format('run "always"'), "run"),
        (_SHELL.format('mode "644"'), "mode"),
        (_SHELL.format('owner "root"'), "owner"),
        ('network "user" { forward guest=80 }', "forward"),
        ('network "vnic"', 'network "vnic"'),
        ('network "vnic" name="a b"', '"a b"'),
        ('mount "." "srv"', '"srv"'),
        ('arch "riscv"', '"riscv"'),
    ],
)
def test_a_word_stands_with_what_it_goes_with(tmp_path: Path, body: str, marked: str) -> None:
    assert problem(tmp_path, body).marked[0] == marked


def test_other_names_of_a_vm_and_of_a_checksum_are_understood(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, f'machine "a" {{ {IMAGE} }}')
    assert found.help == ("did you mean `vm`?",)
    (found,) = problems(tmp_path, _URL.format('checksum="00"'))
    assert found.help == ("did you mean `sha256`?",)
