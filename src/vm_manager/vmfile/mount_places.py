"""Where a directory of the host may be in a guest."""

from __future__ import annotations

from dataclasses import dataclass

# What a guest does not run without.
_OF_GUEST = (
    *("/proc", "/sys", "/dev", "/run", "/boot", "/etc", "/usr", "/bin", "/sbin", "/lib", "/lib64", "/var", "/tmp"),
)
_MADE_UP = ("/proc/", "/sys/", "/dev/")


@dataclass(frozen=True)
class UnfitPlace:
    """Why a place is none for a mount: a message, what the place is, and what to do."""

    message: str
    what: str
    help: str


def unfit_place(place: str, user: str) -> UnfitPlace | None:
    """What is wrong with a place in the guest, or None. place: in its shortest form. user: who logs in."""
    home = "/root" if user == "root" else f"/home/{user}"
    if place == "/":
        return UnfitPlace(
            "a directory cannot be mounted on / of the guest",
            "the guest's own root directory",
            "mount it further down, such as on /srv",
        )
    if place in (home, f"{home}/.ssh") or home.startswith(f"{place}/"):
        return UnfitPlace(
            f"a directory on {place} hides the keys of user '{user}'",
            f"{home}/.ssh is what vmctl logs in by",
            f"mount it below, such as on {home}/src" if place == home else "mount it elsewhere, such as on /srv",
        )
    if place in _OF_GUEST or place.startswith(_MADE_UP):
        return UnfitPlace(
            f"a directory cannot be mounted on {place} of the guest",
            "the guest does not run without it",
            "mount it elsewhere, such as on /srv",
        )
    return None
