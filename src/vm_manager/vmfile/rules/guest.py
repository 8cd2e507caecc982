"""Logging in and provisioning: whether what is written can work together."""

from __future__ import annotations

from vm_manager.domain.network import NetworkMode
from vm_manager.vmfile.blocks import Block
from vm_manager.vmfile.rules.setting import Setting


def _key_is_injected(vm: Block, setting: Setting) -> None:
    cloud_init = vm.first("cloud-init")
    key = cloud_init.first("ssh-key") if cloud_init else None
    raw = cloud_init.first("user-data") if cloud_init else None
    if key and raw:
        setting.problems.warn(
            key.span, "`ssh-key` together with `user-data`", "is not injected",
            "write the key into the user-data, under ssh_authorized_keys, and remove ssh-key",
            related=((raw.span, "passed through untouched"),),
        )  # fmt: skip


def _provisioners_can_log_in(vm: Block, setting: Setting) -> None:
    cloud_init, ssh, step = vm.first("cloud-init"), vm.first("ssh"), vm.first("provision")
    raw = cloud_init.first("user-data") if cloud_init else None
    if step and raw and not (ssh and "private-key" in ssh.written):
        setting.problems.warn(
            step.span, "provisioners with raw user-data and no key to log in with", "may be unable to log in",
            'authorize a key in the user-data, and set its private half: ssh { user "…"; private-key "…" }',
            related=((raw.span, "vmctl adds no key to it"),),
        )  # fmt: skip


def _provisioners_have_a_network(vm: Block, setting: Setting) -> None:
    networks = list(vm.all("network"))
    closed = [network for network in networks if network.text in (NetworkMode.NONE, NetworkMode.PRIVATE)]
    if closed and len(closed) == len(networks) and closed[0].values[0]:
        none = closed[0].text == NetworkMode.NONE
        who, what = ("without network", "no network") if none else ("on private networks only", "among VMs only")
        for step in vm.all("provision"):
            setting.problems.add(
                step.span, f"a VM {who} cannot be provisioned", "needs SSH",
                f'remove the block, or {"write" if none else "add"}: network "user"', related=((closed[0].values[0].span, what),),
            )  # fmt: skip


def _variables_stand_once(vm: Block, setting: Setting) -> None:
    for step in vm.all("provision"):
        first: dict[str, Block] = {}
        for variable in step.all("env"):
            if variable.text and first.setdefault(variable.text, variable) is not variable:
                setting.problems.add(
                    variable.name_span, f"the variable {variable.text} is given twice", "again here",
                    "remove one of the two", related=((first[variable.text].name_span, "first here"),),
                )  # fmt: skip


GUEST_RULES = (_key_is_injected, _provisioners_can_log_in, _provisioners_have_a_network, _variables_stand_once)
