#!/bin/sh
# Runs in the guest, as the user demo.
set -eu
echo "$(id -un) on $(. /etc/os-release && echo "$PRETTY_NAME"), $(nproc) CPUs"
sudo install -d -m 1777 /srv/demo/out
date -u +%FT%TZ >/srv/demo/out/provisioned-at
