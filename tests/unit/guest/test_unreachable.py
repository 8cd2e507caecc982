"""Guests whose boot is over, and what their consoles say of why nobody gets in."""

from __future__ import annotations

import pytest

from vm_manager.guest.unreachable import boot_is_over, cloud_init_has_finished, sshd_has_started, unreachable

# As a Debian 12 says it.
_KERNEL = "[    0.000000] Linux version 6.1.0-57-cloud-amd64 (debian-kernel@lists.debian.org)\r\n"
_TABLE = """\
[   78.854507] cloud-init[289]: ci-info: ++++++++++++++++++++++Net device info++++++++++++++++++++++\r
[   78.859307] cloud-init[289]: ci-info: | Device |  Up  |     Address     |      Mask     | Scope  |     Hw-Address    |\r
{rows}[   78.870654] cloud-init[289]: ci-info: |   lo   | True |    127.0.0.1    |   255.0.0.0   |  host  |         .         |\r
[   78.871804] cloud-init[289]: ci-info: +--------+------+-----------------+---------------+--------+-------------------+\r
[   78.890000] cloud-init[289]: ci-info: |   0   |   0.0.0.0   | 10.0.2.2 |     0.0.0.0     |    ens3   |   UG  |\r
"""
_ROW = "[ 78.865] cloud-init[289]: ci-info: |  ens3  | {up} |    {address}    |       .       | global | 52:54:00:12:34:56 |\r\n"
_PROMPT = "\r\r\nDebian GNU/Linux 12 debian ttyS0\r\n\r\ndebian login: "
_RUNNING = "[  143.6] cloud-init[416]: Cloud-init v. 22.4.2 running 'modules:config' at Mon, 30 Nov 2026. Up 143.11 seconds.\r\n"
_FINISHED = (
    "[  150.1] cloud-init[420]: Cloud-init v. 22.4.2 finished at Mon, 30 Nov 2026. Datasource DataSourceNoCloud.\r\n"
)
_REBOOT = "[  160.2] reboot: Restarting system\r\n"


def _table(*addresses: str, up: str = "True") -> str:
    return _TABLE.format(rows="".join(_ROW.format(up=up, address=address) for address in addresses))


@pytest.mark.parametrize(
    ("text", "over"),
    [
        ("", False),
        (_KERNEL, False),
        (_KERNEL + _PROMPT, True),
        # cloud-init may yet install an sshd.
        (_KERNEL + _RUNNING, False),
        (_KERNEL + _RUNNING + _PROMPT, False),
        (_KERNEL + _PROMPT + _RUNNING, False),
        (_KERNEL + _RUNNING + _PROMPT + _FINISHED, True),
        # power_state: it boots again.
        (_KERNEL + _RUNNING + _FINISHED + _PROMPT + _REBOOT, False),
        (_KERNEL + _RUNNING + _FINISHED + _PROMPT + "[  OK  ] Reached target \x1b[0;1;39mreboot.target\x1b[0m", False),
        (_KERNEL + _FINISHED + _PROMPT + _REBOOT + "SeaBIOS (version 1.16.2)\r\n" + _KERNEL + "[ 1.0] x", False),
        (_KERNEL + _FINISHED + _PROMPT + _REBOOT + _KERNEL + _PROMPT, True),
        ("[ 1.0] systemd[1]: Started the last login: service\r\n", False),
    ],
)
def test_when_a_boot_is_over(text: str, over: bool) -> None:
    assert boot_is_over(text) is over


def test_cloud_init_that_finished_before_the_last_restart_has_not_finished() -> None:
    assert cloud_init_has_finished(_KERNEL + _FINISHED)
    assert not cloud_init_has_finished(_KERNEL + _FINISHED + _REBOOT + _KERNEL)


@pytest.mark.parametrize(
    ("text", "silent", "message"),
    [
        (_table("10.0.2.15") + _FINISHED, False, "the guest booted, but nothing listens on its SSH port"),
        (_table() + _FINISHED, True, "the guest booted, but it has no network card"),
        (_table(".", up="False") + _FINISHED, True, "the guest booted, but its network card ens3 has no address"),
        (_table("fe80::1/64") + _FINISHED, True, "the guest booted, but its network card ens3 has no address"),
        (
            _table("10.0.2.15", "fe80::1/64") + _FINISHED,
            True,
            "its SSH port does not answer, although it has an address",
        ),
        (_PROMPT, True, "the guest booted, but cloud-init did not run in it, and its network does not answer"),
        (_PROMPT, False, "the guest booted, but cloud-init did not run in it, and nothing listens on its SSH port"),
    ],
)
def test_what_the_console_says_of_a_closed_port(text: str, silent: bool, message: str) -> None:
    found = unreachable("web", _KERNEL + text, silent=silent, needs_cloud_init=True, port=22)
    assert message in str(found)
    assert "`vmctl console web`" in found.diagnostic.help[-1]


def test_the_evidence_is_the_card_and_the_service_that_failed_and_the_end() -> None:
    failed = (
        "[\x1b[0;1;31mFAILED\x1b[0m] Failed to start \x1b[0;1;39mssh.servic…[0m - OpenBSD Secure Shell server.\r\r\n"
    )
    found = unreachable("web", _KERNEL + failed + "x\n" * 50 + _PROMPT, silent=False, needs_cloud_init=False, port=22)
    (evidence,) = found.diagnostic.evidence
    assert "Failed to start ssh.servic" in evidence.lines[0]
    assert evidence.lines[-1] == "debian login: "
    assert "cloud-init" not in str(found)


@pytest.mark.parametrize(
    ("text", "started"),
    [
        ("[  OK  ] Started ssh.service - OpenBSD Secure Shell server.\n", True),
        ("[  OK  ] Started OpenSSH server daemon.\n", True),
        ("         Starting ssh.service - OpenBSD Secure Shell server...\n", False),
        ("[  OK  ] Started ssh.service - OpenBSD Secure Shell server.\nreboot: Restarting system\n", False),
    ],
)
def test_whether_the_console_says_that_sshd_has_started(text: str, started: bool) -> None:
    assert sshd_has_started(_KERNEL + text) is started


def test_a_port_of_the_users_own_may_be_meant_for_one_of_the_host() -> None:
    found = unreachable("web", _KERNEL + _PROMPT, silent=False, needs_cloud_init=False, port=2222)
    assert "nothing listens on its port 2222" in found.diagnostic.message
    assert "`port 2222` in the ssh block is the port of sshd in the guest" in found.diagnostic.help[0]
