"""A reader of KDL 2 that knows nothing of VMs: text to nodes with spans, and every syntax error at once."""

from vm_manager.vmfile.kdl2.reader import MAX_DEPTH, read

__all__ = ["MAX_DEPTH", "read"]
