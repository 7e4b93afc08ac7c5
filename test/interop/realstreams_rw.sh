#!/usr/bin/env bash
# File systems that OpenZFS (version 5, large dnodes too), zfs-fuse (version 4) and a big-endian machine wrote go on here: received,
# mounted read-write, changed, snapshotted, sent on as an incremental; zstream accepts it, another pool gives the same tree, what was
# there before is still under .zfs, and zdb agrees with both pools.
# test:
# shellcheck source=peers.sh
. "$(dirname "$0")/peers.sh"
SHARED=${SHARED:-$TOP/../shared/streams}
if ! ls "$SHARED"/*.zs >/dev/null 2>&1; then
    echo "skip - $NAME: no stored streams in $SHARED"
    exit 0
fi
need cowbird fuse root zstream zdb
manifest() { timeout "$LIMIT" python3 "$TOP/test/support/manifest.py" "$@"; }

# zstream exits 0 whatever it finds: what it says counts.
# shellcheck disable=SC2317 # reached through check
dump() {
    zstream dump "$1" >"$T/.dump" 2>&1 || return
    grep -aiE 'invalid checksum|checksum differs|invalid stream|bad magic|invalid record' "$T/.dump" | tail -c 300 && return 1
    grep -aq 'Total stream length' "$T/.dump"
}

mkdir -p "$T/pool" "$T/back"
kinds=(lz4-a.Lec gz-a.Lec zstd-a.Lec lzjb-a.Lec fuse-xattr big-endian-redacted)
for p in pool back; do
    quiet "pool create" cowbird pool create -o compatibility=openzfs -s 1G $p "$T/$p.img"
    for k in "${kinds[@]}"; do quiet "receive $k" sh -c "'$COWBIRD' receive $p/$k <'$SHARED/$k.zs'"; done
done
quiet "mount" cowbird mount pool "$T/pool"
for k in "${kinds[@]}"; do
    snap=$(cowbird list -H -o name -t snapshot -r "pool/$k" 2>/dev/null | sed -n '1s/.*@//p')
    check "$k, mounted read-write, is changed" tree change "$SEED.$k" "$T/pool/$k"
    quiet "again" tree change "$SEED.$k.2" "$T/pool/$k"
    # every file once: modes, owners, times, an extended attribute (those of a big-endian machine are turned by that)
    check "$k: everything is touched" find "$T/pool/$k" -mindepth 1 ! -type l -exec chmod u+w,o-r {} + \
        -exec chown -h 12:34 {} + -exec touch -d 2001-02-03 {} + -execdir python3 -c 'import os, sys
for f in sys.argv[1:]:
    if os.path.isfile(f) or os.path.isdir(f): os.setxattr(f, "user.ours", b"x" * 40)' {} +
    quiet "snapshot" cowbird snapshot "pool/$k@ours"
    tree list "$T/pool/$k" >"$T/$k.list"
    send_to "$T/on.zs" -L -i "@$snap" "pool/$k@ours"
    check "$k: zstream reads what we send on" dump "$T/on.zs"
    receive_from "$T/on.zs" "back/$k"
    check "$k: the tree of before is under .zfs" manifest diff "$SHARED/${k%.Lec}.manifest" "$T/pool/$k/.zfs/snapshot/$snap"
done
quiet "mount" cowbird mount back "$T/back"
for k in "${kinds[@]}"; do same "$k: the same tree where it was sent on to" "$T/back/$k" "$T/$k.list"; done
cowbird_close back
cowbird_close pool
for p in pool back; do check "zdb agrees with $p" zdb_clean "$T/$p.img" $p; done
finish
