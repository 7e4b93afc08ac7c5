#!/usr/bin/env bash
# The whole of Cowbird once, on real files, explained step by step. Leaves nothing behind, also when interrupted.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
cowbird=${COWBIRD:-$top/build/cowbird}
[ -w /dev/fuse ] || { echo "demo: /dev/fuse is missing or not writable, so nothing can be mounted here" >&2; exit 1; }

dir=$(mktemp -d "${TMPDIR:-/tmp}/cowbird-demo.XXXXXX")
# A list of pools and a socket folder of our own: nothing of the user's is touched.
export COWBIRD_RUNDIR=$dir/run COWBIRD_CACHEFILE=$dir/pools
mkdir -m 700 "$COWBIRD_RUNDIR"

cleanup() {
    trap '' INT TERM HUP
    local p
    for p in one two; do timeout 20 "$cowbird" unmount $p >/dev/null 2>&1 || true; done
    for p in /proc/[0-9]*; do # a daemon that did not end by itself
        if [ "$p/exe" -ef "$cowbird" ] && { tr '\0' '\n' <"$p/environ"; } 2>/dev/null | grep -qxF "COWBIRD_RUNDIR=$COWBIRD_RUNDIR"; then
            kill -9 "${p#/proc/}" 2>/dev/null || true
        fi
    done
    for p in one two; do fusermount3 -uz "$dir/$p" 2>/dev/null || true; done
    rm -rf --one-file-system "$dir"
}
trap cleanup EXIT
trap 'echo; echo "Interrupted; cleaning up."; exit 130' INT
trap 'exit 143' TERM HUP

if [ -t 1 ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); else bold='' plain=''; fi
step=0
say() { step=$((step + 1)); printf '\n%s%d. %s%s\n' "$bold" $step "$1" "$plain"; shift; [ $# = 0 ] || printf '   %s\n' "$@"; }
do_it() { printf '   $ %s\n' "$(sed "s|'*$cowbird'*|cowbird|g; s|sh -c ||; s|$dir/||g" <<<"$*")"; "$@" 2>&1 | sed 's/^/     /'; }
size() { numfmt --to=iec --suffix=B "$(stat -c %s "$1")"; }
cd "$dir"

say "A pool in a file" "A sparse file becomes a ZFS pool: no root, no kernel module, no disk to give up."
do_it "$cowbird" pool create -s 2G one one.img
do_it "$cowbird" pool list

say "Mount it" "A daemon opens the pool and serves it as files. Each file system in the pool is a directory."
mkdir one two
do_it "$cowbird" mount one "$dir/one"
do_it "$cowbird" create one/src

say "Copy real files in" "The sources of this program and the C headers of this machine."
do_it cp -a "$top/dmu" "$top/dsl" "$top/fuse" "$top/tools" "$top/test" one/src/
do_it cp -a /usr/include one/src/include
do_it "$cowbird" list -o name,used,refer,compressratio -r one

say "Take a snapshot" "It costs the same whatever the size: blocks are never overwritten, so the past only has to be kept."
do_it "$cowbird" snapshot one/src@monday

say "Change things" "A file is edited, one is removed, one is new, one has moved."
echo "changed after the snapshot" >>one/src/include/stdio.h
rm one/src/include/stdlib.h
echo "new" >one/src/new-file
mv one/src/include/string.h one/src/moved-string.h
do_it "$cowbird" snapshot one/src@tuesday
do_it cmp /usr/include/stdlib.h one/src/.zfs/snapshot/monday/include/stdlib.h
echo "   The removed file is still in Monday's snapshot, under .zfs/snapshot."

say "Send it: once in full, then only what changed" \
    "Every block knows when it was born, so finding what changed skips all that did not."
do_it sh -c "'$cowbird' send one/src@monday >monday.zs"
do_it sh -c "'$cowbird' send -i @monday one/src@tuesday >tuesday.zs"
echo "   full: $(size monday.zs), incremental: $(size tuesday.zs). Both are ZFS streams: any ZFS can receive them."

say "Receive into a second pool" "As a backup on another machine would be."
do_it "$cowbird" pool create -s 2G two two.img
do_it sh -c "'$cowbird' receive two/backup <monday.zs"
do_it sh -c "'$cowbird' receive two/backup <tuesday.zs"
do_it "$cowbird" mount two "$dir/two"
do_it "$cowbird" list -t all -o name,used,refer -r two

say "Compare byte for byte" "Both days, on both sides: contents, names, modes, owners, times, links."
for day in monday tuesday; do
    for side in one/src two/backup; do
        python3 "$top/test/support/tree.py" list "$side/.zfs/snapshot/$day" >"${side%/*}-$day.list"
    done
    do_it cmp one-$day.list two-$day.list
    echo "     $day: $(wc -l <one-$day.list) objects, all the same"
done

say "Scrub both" "Every block is read again and its checksum verified."
do_it "$cowbird" pool scrub -w one
do_it "$cowbird" pool scrub -w two
for p in one two; do
    "$cowbird" pool status $p | grep -E 'scan:|errors:' | sed "s/^/     $p: /"
    "$cowbird" pool status $p | grep -q 'No known data errors'
done

say "Done" "Everything made here is being removed again: the two pools were files under $dir."
