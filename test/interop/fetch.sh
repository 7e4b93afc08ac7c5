#!/usr/bin/env bash
# Fetches the programs other people wrote (zdb, zstream, zfs-fuse, syncoid) into build/peers/ without installing them.
#
# apt downloads with a source list and state folders of our own, so the system's are not touched and no root is
# needed. The archive's address is the one this machine already uses.
set -euo pipefail

top=$(cd "$(dirname "$0")/../.." && pwd)
peers=${PEERS:-$top/build/peers}
openzfs=(zfsutils-linux libzpool6linux libzfs6linux libnvpair3linux libuutil3linux)
zfsfuse=(zfs-fuse libfuse2 libtirpc3 libaio1)
syncoid=(sanoid libcapture-tiny-perl)
stamp=$peers/.done-${openzfs[*]}-${zfsfuse[*]}-${syncoid[*]}
stamp=${stamp// /,}

[ -e "$stamp" ] && exit 0
mkdir -p "$peers"
exec 9>"$peers/.lock"
flock 9
[ -e "$stamp" ] && exit 0

command -v apt-get >/dev/null || { echo "fetch: this machine has no apt-get" >&2; exit 1; }
work=$(mktemp -d "$peers/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists/partial,cache/archives/partial,debs}

# shellcheck source=/dev/null
release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
# shellcheck disable=SC2016 # the dollars are apt-get's
uri=$(apt-get indextargets --format '$(REPO_URI)|$(RELEASE)' | awk -F'|' -v r="$release" '$2 == r { print $1; exit }')
[ -n "$uri" ] || { echo "fetch: no archive for '$release' in this machine's apt configuration" >&2; exit 1; }
printf 'deb %s %s\n' "$uri" "$release-backports contrib" "$uri" "$release main" >"$work/sources.list"

opts=(-qq -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root
    -o Acquire::Retries=3 -o Acquire::Languages=none -o Debug::NoLocking=1)
timeout 300 apt-get "${opts[@]}" update
(cd "$work/debs" && timeout 300 apt-get "${opts[@]}" download "${openzfs[@]}" "${zfsfuse[@]}" "${syncoid[@]}")

for deb in "$work"/debs/*.deb; do
    case $deb in
    */sanoid_* | */libcapture-tiny-perl_*) dpkg -x "$deb" "$work/syncoid" ;;
    */zfs-fuse_* | */libfuse2_* | */libtirpc3_* | */libaio1_*) dpkg -x "$deb" "$work/zfs-fuse" ;;
    *) dpkg -x "$deb" "$work/openzfs" ;;
    esac
done
rm -rf "$peers/openzfs" "$peers/zfs-fuse" "$peers/syncoid"
mv "$work/openzfs" "$work/zfs-fuse" "$work/syncoid" "$peers/"
touch "$stamp"
