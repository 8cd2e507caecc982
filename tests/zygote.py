"""vmctl as the fork of a process that has all of it imported: everything but the start of the interpreter is the real thing.

A command takes 0.2 to 0.5 s of processor time to start, and the tests run thousands of them. Those that are about the start,
about signals or about another environment run the installed program; so do all with VMCTL_TEST_EXEC=1.
"""

from __future__ import annotations

import atexit
import gc
import io
import json
import logging
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import NoReturn

#: What the interpreter looks at once, when it starts.
_AT_START = ("LC_", "LANG", "PYTHON", "LD_", "TZ", "COV_", "MALLOC_")
_MESSAGE_BYTES = 1024 * 1024


class Zygote:
    """The process that forks. It ends when its client does."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self._control, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MESSAGE_BYTES)
        with theirs:
            argv = [sys.executable, __file__, str(theirs.fileno())]
            self._process = subprocess.Popen(argv, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, cwd="/")
        self._environment = _looked_at_once(os.environ)

    def can_run_in(self, env: Mapping[str, str]) -> bool:
        """Whether a fork sees of an environment what a program of its own would see."""
        return _looked_at_once(env) == self._environment

    def run(
        self, argv: Sequence[str], cwd: Path, env: Mapping[str, str], timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command line of vmctl to its end. Raises: `subprocess.TimeoutExpired`."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        outputs = [os.memfd_create(name) for name in ("stdout", "stderr")]
        try:
            with ours:
                with theirs:
                    message = json.dumps({"argv": list(argv), "cwd": str(cwd), "env": dict(env)}).encode()
                    socket.send_fds(self._control, [message], [theirs.fileno(), *outputs])
                status = self._wait(ours, argv, timeout_s)
            stdout, stderr = (_text(output) for output in outputs)
        finally:
            for output in outputs:
                os.close(output)
        return subprocess.CompletedProcess(list(argv), status, stdout, stderr)

    def _wait(self, answer: socket.socket, argv: Sequence[str], timeout_s: float) -> int:
        answer.settimeout(timeout_s)
        pid = int(answer.recv(64))
        try:
            return int(answer.recv(64))
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            raise subprocess.TimeoutExpired(list(argv), timeout_s) from None


def _looked_at_once(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(_AT_START)}


def _text(output: int) -> str:
    with open(output, "rb", closefd=False) as file:
        file.seek(0)
        return file.read().decode(errors="replace").replace("\r\n", "\n")


def _import_all() -> None:
    import vm_manager

    for module in pkgutil.walk_packages(vm_manager.__path__, "vm_manager."):
        if not module.name.endswith("__main__"):
            import_module(module.name)


def _serve(control: socket.socket) -> None:
    # Whoever is forked waits for its own child; nobody waits for it.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 3)
        if not message:
            return
        if os.fork() == 0:
            control.close()
            _attend(json.loads(message), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _attend(request: dict[str, object], answer: int, stdout: int, stderr: int) -> NoReturn:
    """Run one command in a child, and say how it has ended."""
    status = -1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        child = os.fork()
        if child == 0:
            os.close(answer)
            _become(request, stdout, stderr)
        with suppress(OSError):
            os.write(answer, str(child).encode())
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        with suppress(OSError):
            os.write(answer, str(status).encode())
        os._exit(0)


def _become(request: dict[str, object], stdout: int, stderr: int) -> NoReturn:
    """Be the vmctl of that command line."""
    status = 99
    try:
        argv, env = request["argv"], request["env"]
        assert isinstance(argv, list)
        assert isinstance(env, dict)
        for source, target in ((stdout, 1), (stderr, 2)):
            os.dup2(source, target)
            os.close(source)
        encoding = sys.stdout.encoding
        sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb"), encoding)
        sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb"), encoding, "backslashreplace", line_buffering=True)
        os.environ.clear()
        os.environ.update(env)
        os.chdir(str(request["cwd"]))
        sys.argv = ["vmctl", *argv]
        logging._startTime = time.time()  # type: ignore[attr-defined]
        from vm_manager.cli.main import main

        main()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with suppress(BaseException):
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _import_all()
    gc.collect()
    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])))
