#!/bin/sh
# The demo: a bundle made of busybox, run, looked at and explained. It leaves nothing behind.
#   demo.sh PYRUNC
set -eu

pyrunc=$(realpath "$1")
if [ "$(id -u)" != 0 ]; then
    echo "pyrunc: the demo makes mounts and a cgroup on this host: run it as root" >&2
    exit 1
fi
work=$(mktemp -d)
name=demo-$$
cleanup() {
    "$pyrunc" --root "$work/state" delete --force "$name" || true
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

say() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
do_it() {
    printf '$ pyrunc %s\n' "$*"
    "$pyrunc" --root "$work/state" "$@"
}
# Change the configuration that `spec` wrote: no terminal, and another program.
configure() {
    rm -f config.json
    "$pyrunc" spec
    sed -i -e 's/"terminal": true/"terminal": false/' -e "s|\"sh\"|$1|" config.json
}

mkdir -p "$work/bundle/rootfs/bin"
cd "$work/bundle"
cp /bin/busybox rootfs/bin/busybox
for applet in sh echo id hostname ps sleep; do
    ln -s busybox "rootfs/bin/$applet"
done

say "A bundle: a directory with a root filesystem (busybox) and a config.json (written by pyrunc spec)"
configure '"sh", "-c", "echo Hello from $(hostname), pid $$, $(id -un 2>/dev/null \|\| id -u); ps"'
ls

say "Run it"
do_it run "$name"

say "The life of a container: created, it waits for start"
configure '"sleep", "60"'
do_it create "$name" </dev/null
do_it state "$name"
echo
do_it start "$name"
do_it list
do_it kill "$name" KILL
do_it delete --force "$name"

say "What a start of this bundle does, and which line of config.json is the reason"
do_it plan "$name"
