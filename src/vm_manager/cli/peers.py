"""What people type who know other tools, and how vmctl says it: docker compose, Vagrant, Multipass, Lima, Incus, virsh."""

from __future__ import annotations

#: Commands that mean the same; of each, vmctl and its groups have one.
SAME = (
    {"list", "ps", "ls"},
    {"destroy", "rm", "delete", "remove", "undefine", "purge"},
    {"stop", "halt", "kill", "shutdown", "poweroff"},
    {"restart", "reboot", "reset"},
    {"suspend", "pause", "save"},
    {"resume", "unpause", "unsuspend"},
    {"ssh", "shell", "sh", "connect"},
    {"log", "logs", "events"},
    {"status", "inspect", "info", "show", "dominfo"},
    {"port", "ports"},
    {"forward", "port-forward", "tunnel", "expose", "publish"},
    {"create", "launch", "define", "take", "new"},
    {"validate", "config", "check", "lint"},
    {"plan", "diff", "preview"},
    {"console", "attach", "tty", "serial"},
    {"restore", "apply", "revert", "goto"},
    {"pull", "download", "fetch", "add"},
    {"migrate", "move"},
)

#: Commands that vmctl has under another name, or says with more than a name: what to write.
ADVICE = {
    "exec": "to run a command in a VM: `vmctl ssh NAME -- CMD`",
    "run": "to start the VMs in the VMFile: `vmctl up`; to run a command in one: `vmctl ssh NAME -- CMD`",
    **dict.fromkeys(("cp", "scp", "copy", "copy-files", "transfer", "push", "upload", "sync", "rsync"),
        'to copy files into a VM, add a `provision "file"` block to the VMFile and run `vmctl provision`'),
    "init": 'write a VMFile.kdl by hand: vm "web" { image "disk.qcow2" } is enough to begin with',
    **dict.fromkeys(("build", "rebuild", "recreate"), "to replace VMs with new ones: `vmctl reload`"),
    **dict.fromkeys(("box", "images", "catalog"), "images are managed with `vmctl image list`, `vmctl image pull` and so on"),
    "pull": "to download an image into the cache: `vmctl image pull IMAGE`",
    "rmi": "to remove an image from the cache: `vmctl image rm IMAGE`",
    "prune": "to remove unused images: `vmctl image prune`",
    "version": "to see the version: `vmctl --version`",
    "help": "to see what a command does: `vmctl --help`, and for each one `vmctl up --help`",
    "ssh-config": "to see the command line that reaches a VM: `vmctl -v ssh NAME`",
    "top": "to see which VMs run: `vmctl list`",
    "edit": "change the VMFile; `vmctl plan` shows what `vmctl up` or `vmctl reload` would do then",
}  # fmt: skip

#: Arguments without which a command does nothing, and often one that does it for all VMs, as others do without a name.
MISSING = {
    "NAME...": {
        "start": "to start all VMs in the VMFile: `vmctl up`",
        "stop": "to stop all VMs in the VMFile: `vmctl down`",
        "destroy": "to remove all VMs in the VMFile, with their disks: `vmctl down --destroy`",
    },
    "[HOST:]GUEST...": {"forward": "the VM's name comes first: `vmctl forward NAME 8080:80`"},
    "--name": {"create": "name it with an option: `vmctl create --name NAME --image PATH`"},
}
#: The same of all other commands.
SHOW_NAMES = "to see the names of the VMs: `vmctl list`"

_LEAVE_OUT = "leave out `{option}`: "
_STOP_NOW = "to stop it without waiting: `--timeout 0`"
_TIMEOUT = dict.fromkeys(("-t", "--time"), "did you mean `--timeout`?")
_NEVER_ASKS = _LEAVE_OUT + "vmctl does not ask"

#: Options by command; those of "" are for every command that has no entry of its own.
OPTIONS = {
    "up": {
        **dict.fromkeys(("-d", "--detach", "--detached"), _LEAVE_OUT + "VMs keep running after `vmctl up`"),
        **dict.fromkeys(("--build", "--force-recreate"), "to replace VMs with new ones: `vmctl reload`"),
        "--provision": "to run the provisioners again: `vmctl provision`",
        "--scale": "write a `vm` block for each VM in the VMFile",
        "--provider": "the backend is chosen with `--backend`",
    },
    "destroy": {
        **dict.fromkeys(("-f", "--force", "-y", "--yes"), _NEVER_ASKS),
        **dict.fromkeys(("-a", "--all"), MISSING["NAME..."]["destroy"]),
    },
    "start": dict.fromkeys(("-a", "--all"), MISSING["NAME..."]["start"]),
    "down": {
        **dict.fromkeys(("--volumes", "--rmi", "--purge"), "to remove the VMs and their disks: `vmctl down --destroy`"),
        "--remove-orphans": "did you mean `--orphans`?",
        **dict.fromkeys(("--force", "-y"), _STOP_NOW),
        **_TIMEOUT,
    },
    "stop": {
        **dict.fromkeys(("-f", "--force"), _STOP_NOW),
        **dict.fromkeys(("-a", "--all"), MISSING["NAME..."]["stop"]),
        **_TIMEOUT,
    },
    "restart": {"--force": _STOP_NOW, **_TIMEOUT},
    "ssh": {
        **dict.fromkeys(("-l", "-u"), "did you mean `--user`?"),
        "-i": "did you mean `--key`?",
        **dict.fromkeys(("-c", "--command", "-e"), "write the command after `--`: `vmctl ssh NAME -- CMD`"),
        **dict.fromkeys(("-p", "--port"), _LEAVE_OUT + "vmctl knows the port; `vmctl port NAME` shows it"),
        "-L": "to forward a port of this host into a VM: `vmctl forward NAME 8080:80`",
        **dict.fromkeys(("-R", "-D", "-N", "-J", "-A", "-W", "-X", "-Y", "-F"),
            "vmctl passes no options to OpenSSH: `vmctl -v ssh NAME` shows the command line"),
        **dict.fromkeys(("-t", "-it", "-tt"), _LEAVE_OUT + "without a command there is a terminal"),
    },
    "list": dict.fromkeys(("-a", "--all"), _LEAVE_OUT + "`vmctl list` shows all VMs"),
    "create": {"-n": "did you mean `--name`?", "-m": "did you mean `--memory`?", "-c": "did you mean `--vcpus`?",
               **dict.fromkeys(("--cpus", "--cpu"), "did you mean `--vcpus`?"),
               **dict.fromkeys(("--ram", "--mem"), "did you mean `--memory`?")},
    "": {"-f": "did you mean `--file`?", "--yes": _NEVER_ASKS, "-y": _NEVER_ASKS, "--output": "did you mean `--json`?",
         "--format": "did you mean `--json`?", "-o": "did you mean `--json`?"},
}  # fmt: skip
