"""What must hold between the parts of a VMFile, beyond what the description of the language says of each."""

from __future__ import annotations

from collections.abc import Sequence

from vm_manager.vmfile.blocks import Block
from vm_manager.vmfile.rules.depends import DEPENDS_RULES
from vm_manager.vmfile.rules.files import FILE_RULES
from vm_manager.vmfile.rules.guest import GUEST_RULES
from vm_manager.vmfile.rules.image import IMAGE_RULES
from vm_manager.vmfile.rules.mounts import MOUNT_RULES
from vm_manager.vmfile.rules.names import NAME_RULES
from vm_manager.vmfile.rules.network import NETWORK_RULES, PORT_RULES
from vm_manager.vmfile.rules.platform import PLATFORM_RULES
from vm_manager.vmfile.rules.private import PRIVATE_RULES, PRIVATE_VM_RULES
from vm_manager.vmfile.rules.setting import Setting

#: Rules about one VM, and rules about all of them together.
VM_RULES = (*FILE_RULES, *MOUNT_RULES, *IMAGE_RULES, *GUEST_RULES, *NETWORK_RULES, *PRIVATE_VM_RULES)
ALL_RULES = (*NAME_RULES, *DEPENDS_RULES, *PORT_RULES, *PRIVATE_RULES)


def check(vms: Sequence[Block], setting: Setting) -> None:
    """Hold vm blocks to all rules; what is wrong goes to the setting's problems."""
    for vm in vms:
        for rule in VM_RULES:
            rule(vm, setting)
        if setting.platform:
            for platform_rule in PLATFORM_RULES:
                platform_rule(vm, setting.platform, setting.problems)
    for whole_rule in ALL_RULES:
        whole_rule(vms, setting.problems)
