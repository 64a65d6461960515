#!/bin/sh
# The demo: makes a bundle of busybox, runs it, looks at it, breaks it and explains it. It leaves nothing behind.
#   demo.sh --check    whether this user can run the demo at all; make asks before it builds anything
#   demo.sh PYRUNC
set -eu

if [ "$1" = --check ]; then
    [ "$(id -u)" != 0 ] || exit 0
    unshare --user --map-root-user true 2>/dev/null || {
        echo "pyrunc: make demo runs as root, or as a user who may make user namespaces; this user may not" >&2
        exit 1
    }
    [ -w . ] || {
        echo "pyrunc: make demo builds in $PWD, which $(id -un) may not write to: run it in a clone of your own" >&2
        exit 1
    }
    echo "pyrunc: not root, so the containers of this demo are rootless ones"
    exit 0
fi

pyrunc=$(realpath "$1")
work=$(mktemp -d)
name=demo-$$
cleanup() {
    "$pyrunc" --root "$work/state" delete --force "$name" || true
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' HUP INT TERM

# The output is 100 columns wide at most.
columns=$(stty size 2>/dev/null </dev/tty | cut -d' ' -f2) || true
[ "${columns:-0}" -gt 40 ] || columns=80
[ "$columns" -le 100 ] || columns=100
export COLUMNS="$columns"

rootless=
[ "$(id -u)" = 0 ] || rootless=--rootless

say() { printf '\n\033[1m# %s\033[0m\n' "$*"; }
do_it() {
    printf '$ pyrunc %s\n' "$*"
    "$pyrunc" --root "$work/state" "$@"
}
# Change the configuration that `spec` wrote: no terminal, and another program.
configure() {
    rm -f config.json
    "$pyrunc" spec $rootless
    sed -i -e 's/"terminal": true/"terminal": false/' -e "s|\"sh\"|$1|" config.json
}

mkdir -p "$work/bundle/rootfs/bin"
cd "$work/bundle"
cp /bin/busybox rootfs/bin/busybox
for applet in sh echo id hostname ps sleep cat; do
    ln -s busybox "rootfs/bin/$applet"
done

say "A bundle is a directory with a root file system (busybox here) and a config.json (by pyrunc spec)"
# shellcheck disable=SC2016 # the container's shell expands it
configure '"sh", "-c", "echo Hello from host $(hostname), process $$, user $(id -u)"'
ls

say "Run it"
do_it run "$name" </dev/null

say "The life of a container: it is created, and waits for start"
configure '"sleep", "60"'
do_it create "$name" </dev/null >/dev/null
do_it state "$name"
echo
do_it start "$name"
do_it exec "$name" ps

if "$pyrunc" plan "$name" | grep -q '^note: no cgroup'; then
    say "ps, pause and update take a cgroup, which this user has not: not shown"
else
    say "Its processes as the host sees them; stop them, look, let them run on; change a limit"
    do_it ps "$name"
    do_it pause "$name"
    do_it list
    do_it resume "$name"
    if grep -qw pids "$(findmnt -n -o TARGET -t cgroup2 | head -n 1)/cgroup.controllers"; then
        do_it update --pids-limit 50 "$name"
        do_it exec "$name" cat /sys/fs/cgroup/pids.max
    else
        echo "# This host's cgroup2 hierarchy has no pids controller, so a limit is refused, and not ignored:"
        do_it update --pids-limit 50 "$name" || true
    fi
fi
do_it kill "$name" KILL
do_it delete --force "$name"

say "What a start does, and which field of config.json is the reason: the first steps, and those of the process"
printf '$ pyrunc plan\n'
"$pyrunc" plan "$name" >shown
sed -n '1,/^rootfs/p' shown
echo "  …"
sed -n '/^process/,/^ready/p' shown | sed -n '1,12p'
echo "  … $(wc -l <shown) lines in all"

say "Where the time of a start goes: the first steps, and the totals"
configure '"echo", "done"'
do_it run --timeline trace.json "$name" </dev/null
printf '$ pyrunc plan --timeline trace.json\n'
"$pyrunc" plan --timeline trace.json >bars
sed -n '1,12p' bars
echo "…"
sed -n '/^whole/,$p' bars

say "A bundle with mistakes: a mount whose source is missing, a misspelt file system, no such program"
configure '"serve"'
sed -i -e 's/"type": "mqueue"/"type": "mqeue"/' -e 's|"mounts": \[|&\
\t\t{"destination": "/data", "type": "bind", "source": "/srv/none", "options": ["bind"]},|' config.json
do_it run "$name" </dev/null || true
printf '\n# Every mistake at once, before anything is started:\n'
do_it validate || true
printf '\n# The same at the steps of the plan that would fail:\n$ pyrunc plan\n'
"$pyrunc" plan "$name" >shown || true
grep -B 3 -A 3 'fails:' shown || true

say "README.md says how to install pyrunc, and how engines use it"
