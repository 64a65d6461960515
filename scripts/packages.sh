#!/bin/sh
# Make sure that the system has what a purpose needs: build, demo, test, bench, conformance, arm64, engines, shim, fresh (a
# new machine), guest (any), guest-uml or guest-qemu. apt-get installs what is missing if it can; otherwise this script
# names the Debian packages.
set -eu

PYTHON=${PYTHON:-python3}

# What each purpose needs: a command that succeeds if the thing is there, and the Debian package that has it.
needs() {
    if [ "$1" = fresh ]; then
        printf '%s\n' 'command -v git|git' 'command -v mmdebstrap|mmdebstrap'
        return
    fi
    if [ "$1" = emulated ]; then
        needs fresh
        echo 'command -v qemu-aarch64-static|qemu-user-static'
        return
    fi
    cat <<END
command -v gcc|gcc
echo '#include <stdlib.h>' | gcc -E -|libc6-dev
command -v musl-gcc|musl-tools
echo '#include <linux/openat2.h>' | gcc -E -|linux-libc-dev
echo '#include <sys/capability.h>' | gcc -E -|libcap-dev
echo '#include <seccomp.h>' | gcc -E -|libseccomp-dev
$PYTHON -c 'import venv, ensurepip'|python3-venv
$PYTHON -c 'import sysconfig, os; os.stat(sysconfig.get_path("include") + "/Python.h")'|python3-dev
END
    [ "$1" = build ] || echo "busybox --list-full && ! ldd /bin/busybox|busybox-static"
    [ "$1" != bench ] || printf '%s\n' 'command -v runc|runc' 'command -v crun|crun' 'command -v patchelf|patchelf'
    [ "$1" != engines ] || echo 'command -v mmdebstrap|mmdebstrap'
    [ "$1" != shim ] || printf '%s\n' 'command -v containerd|containerd' 'command -v ip|iproute2' 'command -v ps|procps'
    [ "$1" != conformance ] || echo 'command -v runc|runc'
    [ "$1" != test ] || printf '%s\n' 'command -v git|git' 'command -v ip|iproute2' 'command -v newuidmap|uidmap'
    [ "$1" != arm64 ] || printf '%s\n' 'command -v qemu-aarch64-static|qemu-user-static' \
        'command -v aarch64-linux-gnu-gcc|gcc-aarch64-linux-gnu' 'test -e /usr/aarch64-linux-gnu/include/stdio.h|libc6-dev-arm64-cross'
    case $1 in
        demo | test) echo 'command -v ps|procps' ;;
    esac
    case $1 in
        guest*) guest_needs "$1" ;;
    esac
}

guest_needs() {
    printf '%s\n' 'command -v git|git' 'command -v mmdebstrap|mmdebstrap' 'command -v mke2fs|e2fsprogs'
    case $1 in
        guest-uml) echo 'command -v linux.uml|user-mode-linux' ;;
        guest-qemu)
            printf '%s\n' 'command -v qemu-system-x86_64|qemu-system-x86' 'command -v depmod|kmod'
            ;;
    esac
}

# Optional packages: without one of them some tests are skipped.
wants() {
    [ "$1" != test ] || cat <<END
command -v runc|runc
command -v strace|strace
command -v clang|clang
command -v zsh|zsh
command -v fish|fish
command -v groff|groff-base
can_fuzz|libclang-rt-dev
END
}

can_fuzz() {
    program=$(mktemp)
    echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' | clang -x c - -fsanitize=fuzzer,address -o "$program"
    code=$?
    rm -f "$program"
    return $code
}

missing() {
    "$@" | while IFS= read -r line; do
        (eval "${line%|*}") >/dev/null 2>&1 || printf '%s ' "${line##*|}"
    done
}

install() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    echo "pyrunc: installing $*"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -o DPkg::Lock::Timeout=300 install -qq -y --no-install-recommends "$@" >/dev/null 2>&1 && return
    # The lists of a fresh machine are empty, or too old.
    apt-get update -qq >/dev/null 2>&1 || true
    apt-get -o DPkg::Lock::Timeout=300 install -qq -y --no-install-recommends "$@" >/dev/null
}

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "pyrunc: $PYTHON is missing or older than 3.11 (Debian package: python3; or make PYTHON=…)" >&2
    exit 1
}
purpose=$1
names=$(missing needs "$purpose")
if [ -n "$names" ]; then
    # shellcheck disable=SC2086 # a list of names
    install $names || true
    names=$(missing needs "$purpose")
    if [ -n "$names" ]; then
        echo "pyrunc: can't $purpose without: ${names% } (as root: apt-get install ${names% })" >&2
        exit 1
    fi
fi
names=$(missing wants "$purpose")
if [ -n "$names" ]; then
    # shellcheck disable=SC2086
    install $names || echo "pyrunc: some tests are skipped without: $names"
fi
