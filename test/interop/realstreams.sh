#!/usr/bin/env bash
# Streams that OpenZFS (and zfs-fuse, and a big-endian machine) wrote: each is received, full, incremental and clone, mounted, and
# has the tree of its manifest; what we send of it again, zstream accepts and another pool of ours gives the same tree.
# They lie in $SHARED (../shared/streams beside the repository).
# test:
# shellcheck source=peers.sh
. "$(dirname "$0")/peers.sh"
SHARED=${SHARED:-$TOP/../shared/streams}
STREAMTOOL=${STREAMTOOL:-$(dirname "$COWBIRD")/tool_streamtool}
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
quiet "pool create" cowbird pool create -o compatibility=openzfs -s 1G pool "$T/pool.img"
quiet "pool create" cowbird pool create -s 1G back "$T/back.img"

# ---- received: nothing is mounted yet
for f in lz4-a lz4-a.Lec gz-a.Lec zstd-a.Lec off-a off-a.Lec zle-a.Lec lzjb-a.Lec zle-w.Lec lzjb-w.Lec fuse-xattr vol-a.Lec \
    big-endian-redacted dedup-package; do
    receive_from "$SHARED/$f.zs" "pool/$f"
done
quiet "once more" sh -c "'$COWBIRD' receive pool/lz4-k <'$SHARED/lz4-a.Lec.zs'"
receive_from "$SHARED/lz4-ab.zs" pool/lz4-a
receive_from "$SHARED/lz4-ab.Lec.zs" pool/lz4-a.Lec
receive_from "$SHARED/lz4-bkb.Lec.zs" pool/lz4-k
for k in gz zstd; do receive_from "$SHARED/$k-ab.Lec.zs" "pool/$k-a.Lec"; done
for k in lz4 gz zstd; do receive_from "$SHARED/$k-clone.Lec.zs" -o "origin=pool/$k-a.Lec@a" "pool/$k-clone"; done

# ---- mounted
quiet "mount" cowbird mount pool "$T/pool"
trees() { # DIR: everything in a mounted pool
    local k
    for k in lz4-a lz4-a.Lec gz-a.Lec zstd-a.Lec; do
        check "$1/$k is the tree of ${k%-*}-b" manifest diff "$SHARED/${k%%-*}-b.manifest" "$T/$1/$k"
        check "xattrs of $1/$k" manifest xattrs "$T/$1/$k"
        [ -d "$T/$1/$k/.zfs/snapshot/a" ] || continue
        check "$1/$k@a is the tree of ${k%-*}-a" manifest diff "$SHARED/${k%%-*}-a.manifest" "$T/$1/$k/.zfs/snapshot/a"
    done
    for k in lz4 gz zstd; do check "the clone of $1/$k" manifest diff "$SHARED/$k-clone.manifest" "$T/$1/$k-clone"; done
    for k in off-a off-a.Lec zle-a.Lec lzjb-a.Lec zle-w.Lec lzjb-w.Lec fuse-xattr big-endian-redacted; do
        check "the tree of $1/$k" manifest diff "$SHARED/${k%.Lec}.manifest" "$T/$1/$k"
    done
}
trees pool
check "lz4-k, from a bookmark" manifest diff "$SHARED/lz4-b.manifest" "$T/pool/lz4-k"
# shellcheck disable=SC2317 # reached through check
parent_files() { # the mount shows the child inside its parent: compared without it
    (cd "$T/pool/dedup-package" && find . -mindepth 1 -path ./subfs -prune -o -type f -print | sort | xargs -d '\n' sha256sum) >"$T/dd.got"
    awk '$1 ~ /^10/ { print $6 "  ./" $7 }' "$SHARED/dedup-package.dd-snap.manifest" | sort >"$T/dd.files"
    sort "$T/dd.got" | diff "$T/dd.files" -
}
check "dedup-package: the files of the parent" parent_files
check "dedup-package: the tree of the child" manifest diff "$SHARED/dedup-package.dd-subfs-snap.manifest" "$T/pool/dedup-package/subfs"
check "fuse-xattr: user.note" python3 -c 'import os, sys; assert os.getxattr(sys.argv[1], "user.note") == b"value!"' "$T/pool/fuse-xattr/f"

# ---- sent again: plain (what is compressed or embedded is made whole), and as it lies on the disk
resend() { # FS SNAP TARGET [send options]: checked by zstream, received by another pool
    local fs=$1 snap=$2 to=$3
    shift 3
    send_to "$T/again.zs" "$@" "pool/$fs@$snap"
    check "sent again: $fs@$snap $*" dump "$T/again.zs"
    quiet "receive $to" sh -c "'$COWBIRD' receive -F back/$to <'$T/again.zs'"
}
flags=(-L -e -c)
large=(-L)
cowbird send "${flags[@]}" pool/off-a@a >/dev/null 2>"$T/.out" || ! grep -q 'not supported' "$T/.out" || flags=() large=()
for k in lz4-a lz4-a.Lec gz-a.Lec zstd-a.Lec; do
    resend $k b $k-x "${large[@]}"
    resend $k a $k "${flags[@]}"
    resend $k b $k "${flags[@]}" -i @a
done
for k in lz4 gz zstd; do resend $k-clone c $k-clone "${flags[@]}"; done
for k in off-a off-a.Lec zle-a.Lec lzjb-a.Lec zle-w.Lec lzjb-w.Lec fuse-xattr big-endian-redacted; do
    snap=$(cowbird list -H -o name -t snapshot -r "pool/$k" 2>/dev/null | sed -n '1s/.*@//p')
    resend $k "$snap" $k "${flags[@]}"
    resend $k "$snap" $k-x
done
resend vol-a.Lec a vol
cowbird send pool/vol-a.Lec@a >"$T/vol.zs"
"$STREAMTOOL" dump "$T/vol.zs" >"$T/vol.dump"
manifest volume "$T/vol.dump" "$T/vol.zs" >"$T/vol.sum"
check "the volume's contents" grep -qwf "$T/vol.sum" "$SHARED/vol-a.sha256"
quiet "mount" cowbird mount back "$T/back"
trees back
check "scrub" cowbird pool scrub pool
cowbird_close back
cowbird_close pool
check "zdb agrees with the pool that holds them all" zdb_clean "$T/pool.img" pool
finish
