# shellcheck shell=bash
# What the guest builders share; sourced by them. A builder defines `build DIRECTORY` and calls `cached NAME SUFFIX...`.

PATH=$PATH:/usr/sbin:/sbin # mke2fs, sfdisk and chroot, which the PATH that su leaves lacks

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# cached NAME SUFFIX...
#
# Prints the path of NAME-<hash>.qcow2 in the user's cache, after building it when it is not there. The hash is that of
# the recipe: the builder and this file. `build DIRECTORY` makes DIRECTORY/image.qcow2 and for each SUFFIX
# DIRECTORY/image.SUFFIX; these take their final names only when all are complete, the image last.
cached() {
    local name=$1 here recipe directory path
    shift
    here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
    if [[ ${BUILD_IN:-} ]]; then # the second half, as root
        build "$BUILD_IN"
        chown --reference="$BUILD_IN" "$BUILD_IN"/image.*
        return
    fi
    recipe=$(cat "$here/${0##*/}" "${BASH_SOURCE[0]}" | sha256sum)
    directory=${XDG_CACHE_HOME:-$HOME/.cache}/vmctl-guest
    path=$directory/$name-${recipe:0:16}
    if [[ ! -e $path.qcow2 ]]; then
        mkdir -p "$directory"
        # Two builds at once: the second waits here and then finds the image. The lock goes with the process, however
        # it ends; the lock file stays, as removing it would let a third in.
        exec 9>"$path.lock"
        flock 9
        [[ -e $path.qcow2 ]] || build_as_root "$path" "$@"
        flock -u 9
    fi
    printf '%s\n' "$path.qcow2"
}

build_as_root() {
    local path=$1 suffix started=$SECONDS
    shift
    type mmdebstrap qemu-img sfdisk mke2fs grub-mkimage >/dev/null 2>&1 || { # true only if all are there
        say 'tools are missing: run host-packages first'
        exit 1
    }
    say "building ${path##*/}"
    # Next to the result, so that a rename is all that is left to do. We hold the lock: what is there, a build that was
    # killed has left.
    rm -rf "$path".build-*
    new=$(mktemp -d "$path.build-XXXXXX")
    trap 'rm -rf "$new"' EXIT
    trap 'exit 130' INT TERM HUP
    if ((EUID == 0)); then
        (BUILD_IN=$new && cached '' >&2) 9>&-
    else
        # The result belongs to the user: root only fills the directory that the user made.
        sudo -n env BUILD_IN="$new" TMPDIR="${TMPDIR:-}" "$BASH" "$0" >&2 9>&- || {
            say 'not built: it takes root, or sudo without a password'
            exit 1
        }
    fi
    for suffix in "$@" qcow2; do mv "$new/image.$suffix" "$path.$suffix"; done
    rm -rf "$new"
    trap - EXIT
    say "built in $((SECONDS - started)) s, $(du -h "$path.qcow2" | cut -f1)"
}

# workspace
#
# Makes the directory $work for a build, removed however the process ends. Not in /tmp, often a small tmpfs, nor under
# a home directory, which apt's unprivileged user may not enter.
workspace() {
    work=$(mktemp -d "${TMPDIR:-/var/tmp}/vmctl-guest.XXXXXX")
    chmod 755 "$work"
    # --one-file-system: a file system of the host that is still mounted in there after a failure must survive.
    trap 'rm -rf --one-file-system "$work"' EXIT
    trap 'exit 130' INT TERM HUP
}

# debian_sources
#
# Prints the one-line sources of Debian 12 on the mirror that this host's apt uses. Prints nothing on a host without
# one (Ubuntu): mmdebstrap then uses its default.
debian_sources() {
    local signed='signed-by=/usr/share/keyrings/debian-archive-keyring.gpg' targets main security
    targets=$(debian_targets)
    # Container images come without apt's lists, and apt tells only what it has lists of.
    if [[ -z $targets ]] && grep -qs '^ID=debian' /etc/os-release; then
        apt-get -qq update >&2 || true
        targets=$(debian_targets)
    fi
    main=$(sed -n 's/^Debian //p' <<<"$targets" | head -n 1)
    security=$(sed -n 's/^Debian-Security //p' <<<"$targets" | head -n 1)
    [[ -z $main ]] || printf "deb [$signed] $main bookworm%s main\n" '' -updates
    [[ -z $main || -z $security ]] || printf '%s\n' "deb [$signed] $security bookworm-security main"
}
debian_targets() {
    # shellcheck disable=SC2016  # apt's own variables
    apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 2>/dev/null |
        grep -E '^[A-Za-z-]+ https?://' || true
}

# debstrap ARGUMENT...
#
# Runs mmdebstrap for Debian 12 with the host's mirror, and with the host's proxy and expiry settings, as mmdebstrap
# reads none of the host's apt configuration. They do not stay in the result.
debstrap() {
    local options=() option sources
    umask 022
    while read -r option; do options+=(--aptopt="$option"); done < <(
        apt-config dump --no-empty 2>/dev/null |
            grep -iE '^Acquire::(https?::.*Proxy|Check-Valid-Until|Check-Date|Retries)' || true)
    mapfile -t sources < <(debian_sources)
    # shellcheck disable=SC2016  # "$1" is the hook's
    mmdebstrap --quiet --mode=root --architectures=amd64 "${options[@]}" \
        --customize-hook='rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"' \
        "$@" "${sources[@]}" </dev/null >&2
}

# boot_sectors IMAGE CONFIG MODULE...
#
# Puts GRUB for BIOS into the raw disk IMAGE, whose first partition starts at 1 MiB: boot.img into sector 0 around the
# partition table, the core with CONFIG and the modules into the gap after it. grub-install would need a loop device.
boot_sectors() {
    local image=$1 config=$2
    shift 2
    grub-mkimage --format=i386-pc --prefix='(hd0)/boot/grub' --config="$config" --output="$work/core.img" "$@"
    (($(stat --format=%s "$work/core.img") <= 2047 * 512)) || { say 'the GRUB core does not fit'; return 1; }
    # boot.img expects the core at sector 1 and the core its rest at sector 2, which is what they are built with.
    # Bytes 440 to 511 of sector 0 are the partition table's.
    dd if=/usr/lib/grub/i386-pc/boot.img of="$image" bs=440 count=1 conv=notrunc status=none
    dd if="$work/core.img" of="$image" bs=512 seek=1 conv=notrunc status=none
}
