"""What cloud-init of several versions leaves in a guest, and what is made of it. The script runs here, over a scripted guest."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from vm_manager.guest.cloud_init_report import WAIT_SCRIPT, Outcome, Report, read_report

_NOCLOUD = "DataSourceNoCloud [seed=/dev/sr0][dsmode=net]"
_LOCALE = "('locale', ProcessExecutionError(\"Unexpected error while running command.\\nCommand: ['locale-gen']\"))"
_RUNCMD_20 = "('scripts-user', RuntimeError('Runparts: 1 failures in 1 attempted scripts',))"
_RUNCMD_22 = "('scripts-user', RuntimeError('Runparts: 1 failures (runcmd) in 1 attempted scripts'))"
_RUNCMD_24 = "('scripts_user', RuntimeError('Runparts: 1 failures (runcmd) in 1 attempted scripts'))"
_BLOB = 'Failed loading yaml blob. Invalid format at line 3 column 1: "while parsing a block mapping'
_SHELLS = [path for shell in ("dash", "bash", "busybox") if (path := shutil.which(shell))]


class ScriptedGuest:
    """The files of cloud-init, in a directory in place of the guest's root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("run/cloud-init", "var/log", "etc/cloud", "bin"):
            (root / name).mkdir(parents=True)
        self.systemd("echo running")

    def systemd(self, says: str, failed_units: str = "") -> None:
        """What systemctl says in it."""
        tool = self.root / "bin" / "systemctl"
        tool.write_text(f"#!/bin/sh\ncase $1 in is-system-running) {says} ;; *) printf '{failed_units}' ;; esac\n")
        tool.chmod(0o755)

    def finish(self, *, datasource: str = _NOCLOUD, recoverable: bool = True, **stages: dict[str, Any]) -> None:
        """The files at the end. recoverable: whether the version knows of recoverable errors. stages: what differs."""
        empty: dict[str, Any] = {"errors": [], "finished": 2.0, "start": 1.0}
        if recoverable:
            empty["recoverable_errors"] = {}
        names = ("init", "init-local", "modules-config", "modules-final")
        v1: dict[str, Any] = {name: {**empty, **stages.get(name.replace("-", "_"), {})} for name in names}
        errors = [text for name in names for text in v1[name]["errors"]]
        self.write("run/cloud-init/status.json", {"v1": {"datasource": datasource, "stage": None, **v1}})
        self.write("run/cloud-init/result.json", {"v1": {"datasource": datasource, "errors": errors}})

    def write(self, name: str, content: object) -> None:
        """A file; what is no text is written as JSON."""
        (self.root / name).write_text(content if isinstance(content, str) else json.dumps(content, indent=1))

    def report(self, shell: str = "sh") -> Report:
        """What vmctl's script says of it."""
        script = WAIT_SCRIPT
        for name in ("/run/cloud-init", "/var/log/cloud-init", "/etc/cloud"):
            script = script.replace(name, f"{self.root}{name}")
        argv = [shell, "sh"] if shell.endswith("busybox") else [shell]
        path = f"{self.root}/bin:/usr/bin:/bin"
        done = subprocess.run(
            argv, input=script, capture_output=True, text=True, timeout=300, check=False, env={"PATH": path}
        )
        assert done.returncode == 0, done.stderr
        return read_report(done.stdout)


@pytest.fixture
def guest(tmp_path: Path) -> ScriptedGuest:
    return ScriptedGuest(tmp_path / "guest")


@pytest.mark.parametrize("shell", _SHELLS)
def test_a_guest_in_which_all_went_well(guest: ScriptedGuest, shell: str) -> None:
    guest.finish()
    assert guest.report(shell) == Report(Outcome.DONE)


@pytest.mark.parametrize("shell", _SHELLS)
def test_the_end_is_waited_for(guest: ScriptedGuest, shell: str) -> None:
    guest.systemd("echo starting")
    guest.write("run/cloud-init/status.json", {"v1": {"stage": "modules-final", "init": {"errors": [_LOCALE]}}})
    begun = time.monotonic()
    timer = threading.Timer(3.0, lambda: guest.finish(modules_final={"errors": [_RUNCMD_22]}))
    timer.start()
    # An error of an early stage does not end the wait: later stages still run.
    assert guest.report(shell).errors == (_RUNCMD_22,)
    assert time.monotonic() - begun >= 3.0


@pytest.mark.parametrize(
    ("runcmd", "keys"),
    [(_RUNCMD_20, ("scripts_user",)), (_RUNCMD_22, ("runcmd",)), (_RUNCMD_24, ("runcmd",))],
    ids=["20.4", "22.4", "24.4"],
)
def test_failed_modules_are_named_with_what_they_were_at(
    guest: ScriptedGuest, runcmd: str, keys: tuple[str, ...]
) -> None:
    guest.finish(recoverable=False, modules_config={"errors": [_LOCALE]}, modules_final={"errors": [runcmd]})
    report = guest.report()
    assert report.errors == (_LOCALE, runcmd)
    assert report.keys == ("locale", *keys)
    assert report.warnings == ()


def test_errors_that_stand_in_several_places_are_told_once(guest: ScriptedGuest) -> None:
    # The single process of 24.3 and later keeps one list for all stages.
    guest.finish(init={"errors": [_LOCALE]}, modules_config={"errors": [_LOCALE]})
    assert guest.report().errors == (_LOCALE,)


def test_recoverable_errors_are_warnings_since_23_4(guest: ScriptedGuest) -> None:
    guest.finish(
        init={"recoverable_errors": {"WARNING": ["Invalid cloud-config provided: ", "another"], "DEPRECATED": ["old"]}}
    )
    report = guest.report()
    assert report.errors == ()
    assert report.warnings == ("WARNING: Invalid cloud-config provided: ", "WARNING: another", "DEPRECATED: old")


def test_an_error_is_not_told_again_as_a_warning(guest: ScriptedGuest) -> None:
    guest.finish(init={"recoverable_errors": {"WARNING": [f"{_BLOB}\n  in x"]}})
    guest.write("var/log/cloud-init.log", f"2026-01-02 03:04:05,678 - util.py[WARNING]: {_BLOB}\n  in x\n")
    report = guest.report()
    assert len(report.errors) == 1
    assert report.warnings == ()


def test_a_unit_that_failed_is_an_error_where_no_module_is_to_blame(guest: ScriptedGuest) -> None:
    guest.finish()
    guest.systemd("echo degraded", "cloud-final.service loaded failed failed Cloud-init: Final Stage\\n")
    assert guest.report().errors == ("the unit cloud-final.service failed",)
    guest.finish(modules_final={"errors": [_RUNCMD_24]})
    assert guest.report().errors == (_RUNCMD_24,)


def test_user_data_that_cloud_init_cannot_read_is_an_error_though_it_says_done(guest: ScriptedGuest) -> None:
    guest.finish(recoverable=False)
    line = "2026-01-02 03:04:05,678 - {}\n"
    boot = line.format(
        "util.py[DEBUG]: Cloud-init v. 22.4.2 running 'init-local' at Fri, 02 Jan 2026. Up 5.01 seconds."
    )
    blob = (
        line.format(f"util.py[WARNING]: {_BLOB}")
        + '  in "<unicode string>", line 2, column 1:\n    pw: s3cret\n    ^\nexpected <block end>"\n'
    )
    after = line.format("util.py[DEBUG]: more")
    guest.write("var/log/cloud-init.log", boot + after * 20 + blob + after * 20)
    (error,) = guest.report().errors
    assert error == f'{_BLOB}\n  in "<unicode string>", line 2, column 1:\nexpected <block end>"'
    # An earlier boot's is over.
    guest.write("var/log/cloud-init.log", boot + after * 20 + blob + after * 20 + boot + after)
    assert guest.report().errors == ()


def test_recoverable_errors_about_user_data_are_what_they_are_in_the_log(guest: ScriptedGuest) -> None:
    quoted = f'{_BLOB}\n  in "<unicode string>", line 2, column 1:\n    pw: s3cret\n    ^'
    unknown = "Unhandled non-multipart (text/x-not-multipart) userdata: 'b's3cret'...'"
    guest.finish(init={"recoverable_errors": {"WARNING": [quoted, unknown, "another"]}})
    report = guest.report()
    assert report.errors == (f'{_BLOB}\n  in "<unicode string>", line 2, column 1:',)
    assert report.warnings == ("WARNING: another", "user-data without a known header is ignored")


def test_user_data_of_no_known_type_is_a_warning_that_does_not_quote_it(guest: ScriptedGuest) -> None:
    guest.finish(recoverable=False)
    guest.write(
        "var/log/cloud-init.log",
        "2026-01-02 03:04:05,678 - __init__.py[WARNING]: "
        "Unhandled non-multipart (text/x-not-multipart) userdata: 'b's3cret'...'\n",
    )
    report = guest.report()
    assert report.errors == ()
    assert len(report.warnings) == 1
    assert "s3cret" not in str(report)


@pytest.mark.parametrize("datasource", ["DataSourceNone", "DataSourceNone [x]"])
def test_a_guest_that_did_not_find_its_seed(guest: ScriptedGuest, datasource: str) -> None:
    guest.finish(datasource=datasource, modules_final={"recoverable_errors": {"WARNING": ["Used fallback datasource"]}})
    report = guest.report()
    assert report.outcome is Outcome.NO_SEED
    assert report.warnings == ("WARNING: Used fallback datasource",)


@pytest.mark.parametrize("name", ["run/cloud-init/disabled", "etc/cloud/cloud-init.disabled"])
def test_a_guest_in_which_it_is_disabled_is_not_waited_for(guest: ScriptedGuest, name: str) -> None:
    guest.systemd("echo starting")
    guest.write(name, "disabled by file")
    assert guest.report().outcome is Outcome.DISABLED


def test_a_cloud_init_that_died_is_found_out_when_the_boot_is_over(guest: ScriptedGuest) -> None:
    guest.write("run/cloud-init/status.json", {"v1": {"stage": "init", "init": {"errors": []}}})
    guest.systemd("echo degraded", "cloud-init.service loaded failed failed x\\n")
    assert guest.report() == Report(Outcome.DIED, ("the unit cloud-init.service failed",))


@pytest.mark.parametrize("content", ["garbage", "[]", '{"v1": []}', "[" * 100_000, '{"v2": {}}', "null"], ids=range(6))
def test_a_result_that_cannot_be_read_is_no_success(guest: ScriptedGuest, content: str) -> None:
    guest.finish()
    guest.write("run/cloud-init/result.json", content)
    assert guest.report().outcome is Outcome.UNREADABLE


@pytest.mark.parametrize(
    "v1",
    [
        {"errors": "text"},
        {"errors": {"a": 1}},
        {"errors": [None, 1, {"a": []}], "datasource": ["x"]},
        {"errors": [["'locale'"]]},
    ],
)
def test_nothing_that_a_guest_writes_makes_us_stumble(guest: ScriptedGuest, v1: dict[str, Any]) -> None:
    guest.write("run/cloud-init/result.json", {"v1": v1})
    guest.write("run/cloud-init/status.json", {"v1": {"init": {"recoverable_errors": {"WARNING": 5}}, "init-local": 7}})
    report = guest.report()
    assert report.outcome is Outcome.DONE
    assert report.errors
    assert report.warnings == ("WARNING: 5",)


def test_what_is_printed_in_between_by_a_login_does_no_harm() -> None:
    printed = (
        'Welcome\nvmctl:result\n{"v1": {"datasource": "x", "errors": []}}\n\nvmctl:status\n\nvmctl:units\nvmctl:log\n'
    )
    assert read_report(printed) == Report(Outcome.DONE)
    assert read_report("").outcome is Outcome.DIED
