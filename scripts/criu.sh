#!/bin/sh
# Fetch the CRIU of Debian's unstable release into a directory, with the libraries that it needs; its own loader runs it
# from there. CRIU 3.17 of Debian 12 can't dump on Linux 6.x, and Debian 13 has no CRIU. Installs nothing.
#
#   scripts/criu.sh DIRECTORY      makes DIRECTORY/criu; does nothing if that works already
set -eu

directory=$1
[ ! -x "$directory/criu" ] || ! "$directory/criu" --version >/dev/null 2>&1 || exit 0
if ! { command -v apt-get && command -v dpkg-deb; } >/dev/null; then
    echo "pyrunc: CRIU for the tests is fetched by apt-get, which is missing here" >&2
    exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/root"
touch "$work/status"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -e "$keyring" ] || keyring=/usr/share/keyrings/debian-archive-keyring.pgp
echo "deb [signed-by=$keyring] ${DEBIAN_ARCHIVE:-http://deb.debian.org/debian} sid main" >"$work/sources.list"
cat >"$work/apt.conf" <<END
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "$work/lists";
Dir::State::status "$work/status";
Dir::Cache "$work";
Dir::Cache::archives "$work/archives";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
APT::Sandbox::User "";
APT::Install-Recommends "false";
Debug::NoLocking "true";
END
export APT_CONFIG="$work/apt.conf"
if ! { apt-get -qq update && apt-get -qq -y --download-only install criu; } >"$work/log" 2>&1; then
    cat "$work/log" >&2
    exit 1
fi
for package in "$work"/archives/*.deb; do
    dpkg-deb -x "$package" "$work/root"
done
libraries=$(dirname "$(find "$work/root" -name 'libprotobuf-c.so.*' | head -n 1)")
loader=$(find "$work/root" -name 'ld-linux-*.so.*' | head -n 1)
cat >"$work/root/criu" <<END
#!/bin/sh
here=\$(dirname "\$(readlink -f "\$0")")
exec "\$here${loader#"$work/root"}" --library-path "\$here${libraries#"$work/root"}" "\$here/usr/sbin/criu" "\$@"
END
chmod +x "$work/root/criu"
"$work/root/criu" --version >/dev/null
rm -rf "$directory"
mkdir -p "$(dirname "$directory")"
mv "$work/root" "$directory"
