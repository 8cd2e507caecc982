"""A guest that means no good: whatever it says, and however long it takes, vmctl stays small and comes to an end."""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import paramiko
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hostile_qemu import Behaviour, behind, endless, monitor
from hostile_sshd import Sshd, hostile_sshd, listening
from vm_manager.backends.qemu.agent import correct_clock
from vm_manager.backends.qemu.jobs import jobs
from vm_manager.backends.qemu.monitor import Monitor
from vm_manager.backends.qemu.picture import picture
from vm_manager.backends.qemu.query import ask, registers
from vm_manager.backends.qemu.sockets import AGENT_SOCKET, QMP_SOCKET, QUERY_SOCKET
from vm_manager.diagnostics.errors import CloudInitFailed, QemuError, SshFailed, VmError
from vm_manager.domain.bounded_json import Unreadable, parse
from vm_manager.domain.deadline import Deadline
from vm_manager.domain.events import Stream
from vm_manager.domain.spec import OnError
from vm_manager.guest.cloud_init_report import Outcome, read_report
from vm_manager.guest.cloud_init_watch import CloudInitWatch, await_cloud_init
from vm_manager.guest.ssh import SshSession, offered_host_key
from vm_manager.ui.serial_console import End, attach
from within import quickly, within

_MIB = 1024**2
_DOCUMENTS = int(os.environ.get("VMCTL_FUZZ_DOCUMENTS", "2000"))
_WATCH = CloudInitWatch(OnError.FAIL, lambda keys, said: ())


def _connect(sshd: Sshd, limit_s: float = 30) -> SshSession:
    return SshSession.connect(
        sshd.endpoint,
        alias="web",
        credentials=sshd.credentials,
        known_hosts=sshd.known_hosts,
        deadline=Deadline(limit_s),
    )


def _flood(channel: paramiko.Channel) -> None:
    while True:
        channel.sendall(b"x" * 32_768)


def _dribble(channel: paramiko.Channel) -> None:
    while True:
        channel.sendall(b"x")
        time.sleep(0.05)


def test_the_output_of_a_command_is_cut_where_nobody_wants_more_of_it(tmp_path: Path) -> None:
    with hostile_sshd(tmp_path, _flood) as sshd, within(20), _connect(sshd) as session:
        said = session.capture("true", Deadline(60))
    assert said.cut
    assert said.status is None
    assert len(said.stdout) <= 2 * _MIB


def test_errors_without_end_are_cut_as_well(tmp_path: Path) -> None:
    def flood(channel: paramiko.Channel) -> None:
        while True:
            channel.sendall_stderr(b"x" * 32_768)

    with hostile_sshd(tmp_path, flood) as sshd, within(20), _connect(sshd) as session:
        said = session.capture("true", Deadline(60), most_chars=1000)
    assert (said.cut, len(said.stderr)) == (True, 1000)


def test_a_connection_survives_commands_that_are_ended_in_the_middle_of_what_they_say(tmp_path: Path) -> None:
    with hostile_sshd(tmp_path, _flood) as sshd, within(60), _connect(sshd) as session:
        assert all(session.capture("true", Deadline(60), most_chars=1000).cut for _ in range(60))


def test_a_command_that_never_ends_is_ended_at_the_deadline(tmp_path: Path) -> None:
    with hostile_sshd(tmp_path, _dribble) as sshd, within(12), _connect(sshd) as session, pytest.raises(TimeoutError):
        session.capture("true", Deadline(1))


def test_what_cloud_init_says_without_end_is_a_failure_of_cloud_init(tmp_path: Path) -> None:
    with (
        hostile_sshd(tmp_path, _flood) as sshd,
        within(40),
        _connect(sshd) as session,
        pytest.raises(CloudInitFailed, match="truncated"),
    ):
        await_cloud_init(session, _WATCH, Deadline(60), lambda: None, lambda finding: None)


def test_a_stream_comes_through_to_the_last_byte_and_takes_no_memory(tmp_path: Path) -> None:
    def stream(channel: paramiko.Channel) -> None:
        for _ in range(800):
            channel.sendall(b"y" * 65_536)
        channel.send_exit_status(0)

    heard = 0

    def count(stream: Stream, text: str) -> None:
        nonlocal heard
        heard += len(text)

    with hostile_sshd(tmp_path, stream) as sshd, within(60, mebibytes=60), _connect(sshd) as session:
        session.run("cat", count, Deadline(60))
    assert heard == 800 * 65_536


def test_a_server_that_sends_more_than_it_was_asked_for_is_left(tmp_path: Path) -> None:
    def flood(channel: paramiko.Channel) -> None:
        channel.out_window_size = 2**40
        _flood(channel)

    with (
        hostile_sshd(tmp_path, flood) as sshd,
        within(30),
        _connect(sshd) as session,
        pytest.raises(SshFailed, match="bytes too many"),
    ):
        session.run("cat", lambda stream, text: time.sleep(2), Deadline(20))


def _endless_line(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"x" * 65_536)


def _endless_lines(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"x" * 1000 + b"\r\n")


def _slow_banner(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


def _packet_of_4_gib(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-x\r\n\xff\xff\xff\xf0\x04")
    _endless_line(connection)


def _packets_of_nothing(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-x\r\n")
    while True:  # SSH_MSG_IGNORE, without a key exchange ever
        connection.sendall(b"\x00\x00\x00\x0c\x0a\x02" + b"\0" * 10)


def _silent(connection: socket.socket) -> None:
    time.sleep(30)


@pytest.mark.parametrize(
    "answer", [_endless_line, _endless_lines, _slow_banner, _packet_of_4_gib, _packets_of_nothing, _silent]
)
def test_a_server_that_never_comes_to_the_point_is_given_up(
    answer: Callable[[socket.socket], None], tmp_path: Path
) -> None:
    with hostile_sshd(tmp_path, _flood) as sshd, listening(answer) as endpoint:
        hostile = Sshd(endpoint, sshd.credentials, sshd.known_hosts)
        with within(12), pytest.raises(SshFailed):
            _connect(hostile, limit_s=2)
        with within(12), pytest.raises(SshFailed):
            offered_host_key(endpoint, Deadline(2))


def test_a_server_that_never_decides_about_a_key_is_given_up(tmp_path: Path) -> None:
    with hostile_sshd(tmp_path, _flood, lets_in=False) as sshd, within(12), pytest.raises(VmError):
        _connect(sshd, limit_s=2)


# What makes a terminal type by itself, or type otherwise, by the numbers of xterm's ctlseqs.
_MODES = (1, 9, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 2004)


def test_a_console_leaves_no_terminal_that_reports_mouse_or_focus_to_the_shell() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    master, terminal = os.openpty()
    theirs.sendall(b"".join(b"\x1b[?%dh" % mode for mode in _MODES))
    theirs.close()
    assert attach(lambda: ours, terminal, terminal).end is End.CLOSED
    os.set_blocking(master, False)
    said = b""
    with suppress(BlockingIOError):
        while True:
            said += os.read(master, 65_536)
    os.close(master)
    os.close(terminal)
    on: set[bytes] = set()
    for modes, how in re.findall(rb"\x1b\[\?([\d;]+)([hl])", said):
        on = on | set(modes.split(b";")) if how == b"h" else on - set(modes.split(b";"))
    assert (b"?1004h" in said, on) == (True, {b"25"})  # the cursor


def _slow_agent(connection: socket.socket) -> None:
    while True:
        connection.sendall(b" ")
        time.sleep(0.05)


def _says(answer: bytes) -> Behaviour:
    def behave(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(b"\xff" + answer + b"\n")
        connection.recv(4096)

    return behave


@pytest.mark.parametrize(
    "agent",
    [
        _slow_agent,
        endless(b"x"),
        endless(b"\xff"),
        _says(b"[" * 60_000),
        _says(b'{"return":' * 5_000),
        _says(b'{"return": ' + b"1" * 60_000),
        _says(b"\xff\xfe\x00"),
        _says(b"[]"),
        _says(b'{"error": ' + b'{"a":' * 30 + b"1" + b"}" * 31),
    ],
    ids=["slow", "endless", "endless marks", "nested", "nested objects", "a number", "bytes", "a list", "an error"],
)
def test_an_agent_that_means_no_good_only_leaves_the_clock_as_it_is(agent: Behaviour, tmp_path: Path) -> None:
    with (
        behind(tmp_path / QMP_SOCKET, monitor(lambda command: None)),
        behind(tmp_path / AGENT_SOCKET, agent),
        within(15),
        Monitor(tmp_path) as qmp,
    ):
        correct_clock(tmp_path, qmp)


_NESTED = b'{"return": ' + b"[" * 100_000
_LINES = {
    "endless": b"x" * (8 * _MIB),
    "nested": _NESTED,
    "bytes": b"\xff\xfe",
    "no object": b"[]",
    "nothing": b"",
    "a number": b'{"return": ' + b"1" * 100_000 + b"}",
    "a long event": b'{"event": "RESET", "data": "' + b"x" * 100_000 + b'"}',
}


@pytest.mark.parametrize("line", _LINES.values(), ids=_LINES)
def test_a_monitor_that_means_no_good_is_a_failed_command(line: bytes, tmp_path: Path) -> None:
    peer = monitor(lambda command: line if command == "query-status" else None)
    with behind(tmp_path / QMP_SOCKET, peer), within(40), Monitor(tmp_path) as qmp, pytest.raises(QemuError):
        qmp.execute("query-status")


def test_events_without_number_are_not_kept(tmp_path: Path) -> None:
    flood = b'{"event": "RESET", "data": {}, "timestamp": {"seconds": 1, "microseconds": 1}}\r\n' * 100_000
    peer = monitor(lambda command: flood if command == "query-status" else None)
    with (
        behind(tmp_path / QMP_SOCKET, peer),
        within(40),
        Monitor(tmp_path) as qmp,
        qmp.listening("RESET") as next_event,
    ):
        with pytest.raises(QemuError):
            qmp.execute("query-status")
        assert next_event(1) is not None


def test_an_event_before_the_answer_that_ends_the_negotiation_is_no_answer(tmp_path: Path) -> None:
    event = b'{"event": "JOB_STATUS_CHANGE", "data": {}, "timestamp": {"seconds": 1, "microseconds": 1}}\r\n'
    first = event * 3 + b'{"return": {}}'
    peer = monitor(lambda command: first if command == "qmp_capabilities" else None)
    with behind(tmp_path / QMP_SOCKET, peer), within(40), Monitor(tmp_path) as qmp:
        assert qmp.execute("query-status") == {}


@pytest.mark.parametrize("said", [[1], [{}], {"id": "vmctl"}, [{"id": ["vmctl"]}], 5])
def test_jobs_that_are_none_are_not_taken_for_one(said: object, tmp_path: Path) -> None:
    peer = monitor(lambda command: said if command == "query-jobs" else None)
    with behind(tmp_path / QMP_SOCKET, peer), within(40), Monitor(tmp_path) as qmp:
        assert all("id" in job for job in jobs(qmp))


@pytest.mark.parametrize("line", _LINES.values(), ids=_LINES)
def test_a_quick_question_is_not_answered_by_a_monitor_that_means_no_good(line: bytes, tmp_path: Path) -> None:
    peer = monitor(lambda command: line if command == "query-status" else None)
    with behind(tmp_path / QUERY_SOCKET, peer), within(10):
        assert ask(tmp_path) is None


@pytest.mark.parametrize(
    "peer", [_slow_agent, endless(b"x"), endless(b'{"event": 1}\n')], ids=["slow", "line", "lines"]
)
def test_a_quick_question_stays_quick(peer: Behaviour, tmp_path: Path) -> None:
    with behind(tmp_path / QUERY_SOCKET, peer), within(10):
        assert ask(tmp_path) is None
        assert registers(tmp_path) is None


@pytest.mark.parametrize(
    "peer",
    [
        _slow_agent,
        endless(b"x"),
        endless(b'{"event": 1}\n'),
        monitor(lambda command: {"fdset-id": 1} if command == "add-fd" else None),  # and no picture
        monitor(lambda command: {"fdset-id": "../x"} if command == "add-fd" else None),
        monitor(
            lambda command: json.dumps({"error": {"desc": "x" * 60_000}}).encode() if command == "add-fd" else None
        ),
        monitor(lambda command: b"[" * 60_000 if command == "add-fd" else None),
    ],
    ids=["slow", "line", "lines", "no picture", "no number", "long", "deep"],
)
def test_a_picture_is_taken_in_time_or_not_at_all(peer: Behaviour, tmp_path: Path) -> None:
    with behind(tmp_path / QUERY_SOCKET, peer), within(40), pytest.raises(QemuError) as caught:
        picture("web", tmp_path)
    assert len("".join(line for it in caught.value.diagnostic.evidence for line in it.lines)) <= 500


_WORDS = st.sampled_from(
    [
        *'{}[]",:0- \n\r\xff\\',
        '"return"',
        '"error"',
        "{}",
        "null",
        "true",
        "1e999",
        "NaN",
        "[" * 50,
        '{"a":' * 50,
        "1" * 5000,
    ]
)


@settings(max_examples=_DOCUMENTS, deadline=None, database=None)
@given(words=st.lists(_WORDS, max_size=30), cut=st.integers(0, 40))
def test_any_answer_of_an_agent_is_read_or_refused(words: list[str], cut: int) -> None:
    text = f'{{"return": {"".join(words)}}}'[cut:]
    with suppress(Unreadable):
        quickly(lambda: parse(text.encode("latin-1"), most_bytes=64 * 1024))


_PARTS = st.sampled_from(
    [
        "vmctl:result\n", "vmctl:status\n", "vmctl:units\n", "vmctl:log\n", "vmctl:disabled\n", '{"v1": ', '{"errors": ', '["a"]',
        '{"recoverable_errors": {"WARNING": ["x"]}}', '"init": ', '"datasource": "DataSourceNone"', ",", "}", "}}", "[", "null",
        "('locale', RuntimeError('Runparts: 1 failures (x)", "2024-01-01 00:00:00,000 - util.py[WARNING]: ", "--\n", "\n", "\0é",
        "Failed loading yaml blob. ", "Unhandled non-multipart ", "    a: secret\n", "cloud-init.service loaded failed\n",
    ]
)  # fmt: skip


@settings(max_examples=_DOCUMENTS, deadline=None, database=None)
@given(parts=st.lists(_PARTS, max_size=40))
def test_any_report_of_cloud_init_is_read(parts: list[str]) -> None:
    assert quickly(lambda: read_report("".join(parts))).outcome in Outcome
