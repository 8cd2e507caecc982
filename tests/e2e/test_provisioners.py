"""What a user who is not root provisions through OpenSSH and sudo."""

from __future__ import annotations

from driver import interrupted, wait_for
from e2e.debian_guest import Debian


def test_what_the_user_may_not_write_goes_through_sudo(debian: Debian) -> None:
    directory = debian.vmctl.directory
    (directory / "site" / "deep").mkdir(parents=True)
    (directory / "site" / "deep" / "a b").write_text("content\n")
    (directory / "own").write_text("own\n")
    debian.provision(
        '"file" { source "own"; destination "/home/founder/own" }',
        '"file" { source "own"; destination "/etc/it\'s $HOME/own"; mode "0600" }',
        '"file" { source "own"; destination "/home/founder/given"; owner "www-data:adm"; mode "4750" }',
        '"file" { source "own"; destination "/home/founder/mine"; owner "founder" }',
        '"file" { source "site"; destination "/srv/site"; owner "www-data" }',
    )
    arrived = "/home/founder/own /etc/it*/own /home/founder/given /home/founder/mine /srv/site/deep/a*"
    shown = debian.run(f"sudo sh -c 'stat -c %U:%G:%a {arrived}'")
    assert shown.split() == [
        "founder:founder:644",
        "root:root:600",
        "www-data:adm:4750",
        "founder:founder:644",
        "www-data:root:644",
    ]
    assert debian.run("sudo find / -xdev -name '.vmctl*'; ls /tmp | grep vmctl; true") == ""
    failed = debian.provision('"file" { source "own"; destination "/srv/x"; owner "nobody-of-that-name" }', status=12)
    assert failed.code == "vm_manager::provision::failed"
    assert "nobody-of-that-name" in failed.stderr.partition("= evidence: ")[2]
    assert debian.run("ls -A /srv") == "site\n"


def test_openssh_tells_signals_and_leaves_the_background_alone(debian: Debian) -> None:
    killed = debian.provision('"shell" { inline "kill -KILL $$" }', status=12)
    assert "was killed by SIGKILL" in killed.stderr
    debian.provision('"shell" { inline "sleep 3601 & echo started" }')
    assert debian.run("pgrep -c sleep").strip() != "0"
    log = (debian.vmctl.home("web") / "provision.log").read_text()
    assert "still holds the output of the step open; not waiting for it" in log
    killed = debian.provision('"shell" { inline "sleep 3602 & kill -TERM $$" }', status=12)
    assert "was killed by SIGTERM" in killed.stderr


def test_a_connection_that_ends_under_a_step_is_lost(debian: Debian) -> None:
    lost = debian.provision('"shell" { inline "kill -KILL $PPID; sleep 600" }', status=11)
    assert lost.code == "vm_manager::ssh::failed"
    assert "during provisioning step 1" in lost.stderr


def test_ctrl_c_ends_the_step_in_the_guest_too(debian: Debian) -> None:
    debian.define('"shell" { inline "while :; do sleep 3777; done; true" }')
    process = debian.vmctl.start("provision", start_new_session=True)
    wait_for(lambda: "3777" in debian.run("pgrep -af 'sleep 377[7]'; true"), "the step")
    assert interrupted(process).status == 130
    wait_for(lambda: "3777" not in debian.run("pgrep -af 'sleep 377[7]'; true"), "the end of the step")


# The last one: nobody may do anything as root after it.
def test_where_sudo_is_needed_and_refused_it_is_said(debian: Debian) -> None:
    (debian.vmctl.directory / "own").write_text("own\n")
    debian.run("sudo mv /etc/sudoers.d/90-cloud-init-users /root/")
    failed = debian.provision('"file" { source "own"; destination "/etc/own" }', status=12)
    assert failed.code == "vm_manager::provision::failed"
    assert "sudo" in failed.stderr.partition("= evidence: ")[2]
