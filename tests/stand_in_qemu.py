#!/usr/bin/env python3
"""Stands in for QEMU on a host whose KVM is of the kind _HOST["KVM_HOST"]; without `-accel kvm` it is the real one.

What it says was recorded on such hosts.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

# Written into the copy that stands in: a QEMU does not get to see the caller's environment.
_HOST: dict[str, str] = {}
# A KVM without the processor's help that met an instruction which it does not emulate.
_INTERNAL_ERROR = """\
KVM internal error. Suberror: 1
extra data[0]: 0x0000000000000001
extra data[1]: 0xc9750fc70f48f00f
emulation failure
RAX=0000000000000000 RBX=0000000000000001 RCX=0000000000000002 RDX=0000000000000000
RSI=0000000000007c44 RDI=0000000000015020 RBP=0000000000000000 RSP=0000000000007bf8
R8 =0000000000000000 R9 =0000000000000000 R10=0000000000000000 R11=0000000000000000
R12=0000000000000000 R13=0000000000000000 R14=0000000000000000 R15=0000000000000000
RIP=00000000000081e6 RFL=00000046 [---Z-P-] CPL=0 II=0 A20=1 SMM=0 HLT=0
ES =0010 0000000000000000 ffffffff 00c09300 DPL=0 DS   [-WA]
CS =0018 0000000000000000 ffffffff 00a09b00 DPL=0 CS64 [-RA]
SS =0010 0000000000000000 ffffffff 00c09300 DPL=0 DS   [-WA]
DS =0010 0000000000000000 ffffffff 00c09300 DPL=0 DS   [-WA]
FS =0000 0000000000000000 ffffffff 00809300 DPL=0 DS   [-WA]
GS =0000 0000000000000000 ffffffff 00809300 DPL=0 DS   [-WA]
LDT=0000 0000000000000000 0000ffff 00008200 DPL=0 LDT
TR =0000 0000000000000000 0000ffff 00008b00 DPL=0 TSS64-busy
GDT=     0000000000007c58 0000002f
IDT=     0000000000017000 0000020f
CR0=80000011 CR2=0000000040000000 CR3=0000000000010000 CR4=00000020
EFER=0000000000000500
Code=c0 31 d2 48 89 07 48 89 47 08 bb 01 00 00 00 b9 02 00 00 00 <f0> 48 0f c7 0f 75 c9
"""
_STATE = "runstate_set current_run_state 9 (running) new_state 2 (internal-error)"
_ABORTS = """\
qemu-system-x86_64: error: failed to set MSR 0x10a to 0x69
qemu-system-x86_64: kvm.c:3183: kvm_buf_set_msrs: Assertion `ret == cpu->kvm_msr_buf->nmsrs' failed.
"""
# cli; lidt of an empty table; int3: no handler, none for that, and none for that.
_TRIPLE_FAULTS = bytes.fromhex("fa 0f011e 107c cc f4 ebfd") + bytes(6) + bytes(6)
# jmp to itself, at the reset vector.
_HANGING_FIRMWARE = (b"\xf4" * 0xFFF0 + b"\xeb\xfe").ljust(0x10000, b"\xf4")


def main() -> None:
    """Be the QEMU of that host."""
    argv = sys.argv[1:]
    if argv[:1] == ["between"]:
        _stand_between(int(argv[1]))
        return
    if "kvm" not in argv:
        _real(argv)
    probing = any("isa-debug-exit" in word for word in argv)
    with open(f"{_HOST['KVM_HOST_FILE']}.log", "a") as log:
        log.write("probe\n" if probing else "start\n")
    kind = _HOST["KVM_HOST"]
    if kind == "aborts":
        sys.stderr.write(_ABORTS)
        sys.stderr.flush()
        signal.signal(signal.SIGABRT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGABRT)
    if kind == "hangs" and probing:
        time.sleep(3600)
    if kind == "half" and probing:
        sys.stdout.write("rbplcmf")
        sys.stdout.flush()
        sys.stderr.write(f"{_INTERNAL_ERROR}{_STATE}\n")
        sys.stderr.flush()
        time.sleep(3600)
    emulated = [{"kvm": "tcg,thread=multi", "host": "max"}.get(word, word) for word in argv]
    if probing:
        _real(emulated)
    if kind == "stumbles" and Path(log.name).read_text().count("start") == 1:
        sys.exit("qemu-system-x86_64: Could not set up host forwarding rule 'tcp:127.0.0.1:40022-:22'")
    if kind == "vanishes":
        Path(_HOST["KVM_HOST_FILE"]).unlink()
        _real(argv)
    if kind == "triple-faults":
        Path("astray.img").write_bytes((_TRIPLE_FAULTS.ljust(510, b"\0") + b"\x55\xaa").ljust(1 << 20, b"\0"))
        _real([_without_overlay(word) for word in emulated])
    if kind == "stands-still":
        Path("astray.bin").write_bytes(_HANGING_FIRMWARE)
        _real([*emulated, "-bios", "astray.bin"])
    if kind == "stops":
        _real_with_a_monitor_between(emulated)
    _real(emulated)


def _real(argv: list[str]) -> None:
    os.execv(_HOST["REAL_QEMU"], ["qemu-system-x86_64", *argv])


def _without_overlay(word: str) -> str:
    if '"qcow2"' in word and '"root"' in word:
        alone = word.replace(', "discard": "unmap"', "").replace(', "backing": "base"', "")
        return alone.replace('"qcow2"', '"raw"')
    return word.replace("overlay.qcow2", "astray.img")


def _real_with_a_monitor_between(argv: list[str]) -> None:
    """QEMU whose machine is stopped with `internal-error` when a file `stop-it` appears, or at once where _HOST says so."""
    # A process of its own, which inherits nothing of what tells that QEMU lives.
    subprocess.Popen([sys.executable, __file__, "between", str(os.getpid())], close_fds=True)
    _real([word.replace("path=query.sock", "path=real-query.sock") for word in argv])


def _stand_between(qemu: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink("query.sock")
    server = socket.socket(socket.AF_UNIX)
    server.bind("query.sock")
    server.listen()
    stopped = threading.Event()
    threading.Thread(target=_serve, args=(server, stopped), daemon=True).start()
    at_once = _HOST["KVM_STOPS"] == "at once"
    while Path(f"/proc/{qemu}").exists():
        time.sleep(0.05)
        if not stopped.is_set() and (at_once or os.path.exists("stop-it")) and os.path.exists("real-query.sock"):
            with suppress(OSError):  # and once more, where QEMU did not serve us
                _stop(qemu, stopped)


def _stop(qemu: int, stopped: threading.Event) -> None:
    # No vCPU runs any more, and QEMU says why, as it does by itself.
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect("real-query.sock")
        file = connection.makefile("rwb")
        _line(file)
        for command in (b"qmp_capabilities", b"stop"):
            file.write(b'{"execute": "%s"}\n' % command)
            file.flush()
            while b'"return"' not in _line(file):
                pass
    with open("qemu.log", "a") as log:
        log.write(_INTERNAL_ERROR)
    with open("events.log", "a") as events:
        events.write(f"{qemu}@{time.time():.6f}:{_STATE}\n")
    stopped.set()


def _line(file: Any) -> bytes:
    line: bytes = file.readline()
    if not line:
        raise ConnectionAbortedError
    return line


def _serve(server: socket.socket, stopped: threading.Event) -> None:
    while True:
        client, _ = server.accept()
        with client, socket.socket(socket.AF_UNIX) as qemu, suppress(OSError):
            qemu.connect("real-query.sock")
            threading.Thread(target=_pump, args=(client, qemu, None), daemon=True).start()
            _pump(qemu, client, stopped)


def _pump(source: socket.socket, target: socket.socket, stopped: threading.Event | None) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            if stopped is not None and stopped.is_set():
                data = re.sub(rb'"status": "paused"', b'"status": "internal-error"', data)
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


main()
