#!/usr/bin/env bash
# Packages (send -R, -I, -p): zstream reads them to the end, and zfs-fuse's "receive -d" makes the same tree of them: file systems,
# snapshots, clones on their origins, properties. An incremental package brings it from one state to the next.
# test: 1
SEED=${1:-${SEED:-1}}
# shellcheck source=peers.sh
. "$(dirname "$0")/peers.sh"
need root cowbird fuse zstream zfs-fuse

dump() { # package files are a header, streams and a trailer: as many ENDs as BEGINs, and one
    zstream dump -v "$1" >"$T/.dump" 2>&1 || return
    grep -aiE 'invalid checksum|checksum differs|invalid stream|bad magic|invalid record' "$T/.dump" | tail -c 300 && return 1
    [ "$(grep -ac '^BEGIN record' "$T/.dump")" = "$2" ] && [ "$(grep -ac '^END checksum' "$T/.dump")" = $(($2 + 1)) ]
}
names() { sed -e "s|^$1||" | sort; } # names below the pool
zf_names() { zf_zfs list -H -r -t filesystem,snapshot -o name "$1" | names zf/back; }
our_names() { cowbird list -H -r -t filesystem,snapshot -o name "$1" | names tank/top; }
estimate() { cowbird send -nP "$@" | awk '$1 == "size" { print $2 }'; }
counted() { # FILE ARGS...: send -nP says what was sent, exactly but for the package's own header and trailer
    local file=$1 size est
    shift
    size=$(stat -c %s "$file") est=$(estimate "$@")
    echo "estimate $est, real $size"
    [ $((est * 100)) -ge $((size * 95)) ] && [ $((est * 100)) -le $((size * 105)) ]
}
zf_same() { # WHAT DATASET LISTING
    zf_tree list "$T/zf/$2" --no-ns >"$T/.zf"
    same "$1" "$T/.zf" "$3"
}

zfsfuse_start "$T/daemon" || { not_ok "zfs-fuse does not start"; finish; }
truncate -s 4G "$T/zf.img"
quiet "zfs-fuse pool" zf_zpool create -f -m "$T/zf" zf "$T/zf.img"
quiet "zfs-fuse fs" zf_zfs create zf/back
cowbird_pool tank 4G

# top@a, top/x@a, top/y (clone of x@a), then @b everywhere, then z (new), @c everywhere
quiet "create" cowbird create -o version=4 tank/top
quiet "create" cowbird create -o version=4 -o compression=gzip tank/top/x
quiet "set" cowbird set com.me:note=hello tank/top/x
date >"$T/tank/top/file"
quiet "tree" tree make "$SEED.x" "$T/tank/top/x" --narrow
quiet "snapshot" cowbird snapshot -r tank/top@a
quiet "clone" cowbird clone tank/top/x@a tank/top/a-clone
quiet "change" tree change "$SEED.y" "$T/tank/top/a-clone" --narrow
date >"$T/tank/top/new"
quiet "snapshot" cowbird snapshot -r tank/top@b
tree list "$T/tank/top/a-clone" --no-ns >"$T/clone-b.list"
tree list "$T/tank/top/x" --no-ns >"$T/x-b.list"
our_names tank/top >"$T/names-b"

send_to "$T/R.zs" -R tank/top@b
check "-R: zstream reads header, 5 streams and trailer" dump "$T/R.zs" 6
check "-R: the estimate" counted "$T/R.zs" -R tank/top@b
if zf_zfs receive -d zf/back <"$T/R.zs" >"$T/.out" 2>&1; then ok "-R: zfs-fuse receives -d"; else failed "zfs-fuse receive"; finish; fi
zf_names zf/back >"$T/zf-b"
check "-R: the same file systems and snapshots" diff <(sed 's|^/top||' "$T/zf-b" | grep .) <(grep . "$T/names-b")
check "-R: the clone is one" test "$(zf_zfs get -H -o value origin zf/back/top/a-clone)" = zf/back/top/x@a
check "-R: a property" test "$(zf_zfs get -H -o value compression zf/back/top/x)" = gzip
check "-R: a user property" test "$(zf_zfs get -H -o value com.me:note zf/back/top/x)" = hello
zf_same "-R: the clone's files" back/top/a-clone "$T/clone-b.list"
zf_same "-R: a child's files" back/top/x "$T/x-b.list"

quiet "create" cowbird create -o version=4 tank/top/z
quiet "tree" tree make "$SEED.z" "$T/tank/top/z" --narrow
quiet "change" tree change "$SEED.y2" "$T/tank/top/a-clone" --narrow
quiet "snapshot" cowbird snapshot -r tank/top@between
quiet "change" tree change "$SEED.y3" "$T/tank/top/a-clone" --narrow
quiet "snapshot" cowbird snapshot -r tank/top@c
tree list "$T/tank/top/a-clone" --no-ns >"$T/clone-c.list"
tree list "$T/tank/top/z" --no-ns >"$T/z-c.list"
our_names tank/top >"$T/names-c"

send_to "$T/RI.zs" -R -I @b tank/top@c
check "-R -I: zstream reads header, 8 streams and trailer" dump "$T/RI.zs" 9
check "-R -I: the estimate" counted "$T/RI.zs" -R -I @b tank/top@c
if zf_zfs receive -dF zf/back <"$T/RI.zs" >"$T/.out" 2>&1; then ok "-R -I: zfs-fuse receives -dF"; else failed "zfs-fuse receive"; finish; fi
zf_names zf/back >"$T/zf-c"
check "-R -I: the same file systems and snapshots" diff <(sed 's|^/top||' "$T/zf-c" | grep .) <(grep . "$T/names-c")
zfsfuse_stop # the kernel's cached pages of the old files go with it
zfsfuse_start "$T/daemon" || { not_ok "zfs-fuse does not start again"; finish; }
quiet "zfs-fuse import" zf_zpool import -f -d "$T" zf
zf_same "-R -I: the clone's files" back/top/a-clone "$T/clone-c.list"
zf_same "-R -I: the new file system's files" back/top/z "$T/z-c.list"

send_to "$T/Ri.zs" -R -i @b tank/top@c
check "-R -i: header, one stream each (z in full), trailer" dump "$T/Ri.zs" 5
send_to "$T/I.zs" -I @a tank/top/x@c
check "-I: header, 3 streams, trailer" dump "$T/I.zs" 4
send_to "$T/p.zs" -p tank/top/x@c
check "-p: header, one stream, trailer" dump "$T/p.zs" 2
send_to "$T/Io.zs" -I tank/top/x@a tank/top/a-clone@c
check "-I from the origin: header, 3 streams, trailer" dump "$T/Io.zs" 4

quiet "hold" cowbird hold keep-me tank/top/x@b
send_to "$T/h.zs" -h -I @a tank/top/x@c
check "-h: zstream reads it" dump "$T/h.zs" 4
send_to "$T/x.zs" tank/top/x@a
receive_from "$T/x.zs" tank/copy
receive_from "$T/h.zs" tank/copy
cowbird holds tank/copy@b >"$T/said" 2>&1
check "-h: the hold is there where it was received" grep -q keep-me "$T/said"
quiet "release" cowbird release keep-me tank/top/x@b
quiet "release" cowbird release keep-me tank/copy@b

# what has no such snapshot
quiet "snapshot" cowbird snapshot tank/top@only
if cowbird send -R tank/top@only >"$T/only.zs" 2>"$T/said"; then not_ok "-R without the snapshot below is sent"; else
    check "-R says where the snapshot is missing" grep -q "snapshot tank/top/.*@only does not exist" "$T/said"; fi
send_to "$T/s.zs" -R -s tank/top@only
check "-R -s leaves those out" dump "$T/s.zs" 6
quiet "create" cowbird create -o version=4 tank/top/young
send_to "$T/young.zs" -R tank/top@c
check "a file system younger than the snapshot is no part of it" test "$(grep -ac 'top/young' "$T/young.zs")" = 0

# what is said
cowbird send -nv -I @a tank/top/x@c >"$T/said" 2>&1
check "send -nv -I" grep -q "^send from @b to tank/top/x@between estimated size is " "$T/said"
check "send -nv: the total" grep -q "^total estimated size is " "$T/said"
cowbird send -nP -R tank/top@b >"$T/said" 2>&1
check "send -nP: full" grep -qP "^full\ttank/top/x@a\t[0-9]+$" "$T/said"
check "send -nP: incremental" grep -qP "^incremental\ta\ttank/top/x@b\t[0-9]+$" "$T/said"
head -c 20000000 /dev/urandom >"$T/tank/top/noise"
quiet "snapshot" cowbird snapshot tank/top@noise
cowbird send -v tank/top@noise 2>"$T/said" | (sleep 2.5; cat >/dev/null)
check "send -v: a line a second" grep -qE '^[0-9]{2}:[0-9]{2}:[0-9]{2} +[0-9.]+[KMG] +tank/top@noise$' "$T/said"
cowbird unmount tank
cowbird -f "$T/tank.img" send -R tank/top@b >"$T/unmounted.zs" 2>"$T/.out"
check "unmounted: the same package" cmp "$T/unmounted.zs" "$T/R.zs"
finish
