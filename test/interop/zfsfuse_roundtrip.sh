#!/usr/bin/env bash
# zfs-fuse agrees, both ways: what we send it receives and shows, full and incremental; what it sends (full,
# incremental, a clone) we receive and show. Its mount shows whole seconds, so times are compared without fractions.
# test: 1
# soak: 2, 3, 4, 5, 6
SEED=${1:-${SEED:-1}}
# shellcheck source=peers.sh
. "$(dirname "$0")/peers.sh"
need root cowbird fuse zfs-fuse

zf_same() { # WHAT DATASET LISTING
    zf_tree list "$T/zf/$2" --no-ns >"$T/.zf"
    same "$1" "$T/.zf" "$3"
}
# zf_receive FILE [OPTION] DATASET. After an incremental zfs-fuse leaves the kernel's cached pages of the old files in
# place, so the dataset is mounted afresh before anyone looks.
zf_receive() {
    local from=$1 fs=${*: -1}
    shift
    if ! zf_zfs receive "$@" <"$from" >"$T/.out" 2>&1; then failed "zfs-fuse receives $(basename "$from")"; finish; fi
    ok "zfs-fuse receives $(basename "$from")"
    quiet "zfs-fuse unmount" zf_zfs unmount "$fs"
    quiet "zfs-fuse mount" zf_zfs mount "$fs"
}

zfsfuse_start "$T/daemon" || { not_ok "zfs-fuse does not start"; finish; }
truncate -s 4G "$T/zf.img"
quiet "zfs-fuse pool" zf_zpool create -f -m "$T/zf" zf "$T/zf.img"
cowbird_pool tank 4G
quiet "create" cowbird create -o version=4 tank/a

# ---- ours to zfs-fuse
must "random tree" tree make "$SEED" "$T/tank/a" --big --narrow
quiet "snapshot" cowbird snapshot tank/a@1
tree list "$T/tank/a" --no-ns >"$T/1.list"
quiet "change" tree change "$SEED" "$T/tank/a" --narrow
quiet "snapshot" cowbird snapshot tank/a@2
tree list "$T/tank/a" --no-ns >"$T/2.list"
same "our snapshot 1 under .zfs is the tree of then" "$T/tank/a/.zfs/snapshot/1" "$T/1.list" --no-ns

send_to "$T/ours-1.zs" tank/a@1
send_to "$T/ours-12.zs" -i @1 tank/a@2
zf_receive "$T/ours-1.zs" zf/a
zf_same "full: the same tree in zfs-fuse" a "$T/1.list"
zf_receive "$T/ours-12.zs" -F zf/a
zf_same "incremental: the same tree in zfs-fuse" a "$T/2.list"

# ---- theirs to us: zfs-fuse goes on where we stopped, and clones
quiet "zfs-fuse create" zf_zfs create zf/n
quiet "zfs-fuse tree" zf_tree make "$SEED.n" "$T/zf/n" --narrow
quiet "zfs-fuse snapshot" zf_zfs snapshot zf/n@1
zf_tree list "$T/zf/n" --no-ns >"$T/n1.list"
quiet "zfs-fuse change" zf_tree change "$SEED.n" "$T/zf/n" --narrow
quiet "zfs-fuse snapshot" zf_zfs snapshot zf/n@2
zf_tree list "$T/zf/n" --no-ns >"$T/n2.list"
quiet "zfs-fuse clone" zf_zfs clone zf/n@1 zf/c
quiet "zfs-fuse change" zf_tree change "$SEED.c" "$T/zf/c" --narrow
quiet "zfs-fuse snapshot" zf_zfs snapshot zf/c@x
zf_tree list "$T/zf/c" --no-ns >"$T/c.list"
quiet "zfs-fuse change" zf_tree change "$SEED.a" "$T/zf/a" --narrow
quiet "zfs-fuse snapshot" zf_zfs snapshot zf/a@3
zf_tree list "$T/zf/a" --no-ns >"$T/3.list"

zf_zfs send zf/n@1 >"$T/theirs-n1.zs"
zf_zfs send -i @1 zf/n@2 >"$T/theirs-n12.zs"
zf_zfs send -i zf/n@1 zf/c@x >"$T/theirs-c.zs"
zf_zfs send -i @2 zf/a@3 >"$T/theirs-a23.zs"

cowbird_pool back 4G
receive_from "$T/theirs-n1.zs" back/n
same "full from zfs-fuse: the same tree" "$T/back/n" "$T/n1.list" --no-ns
receive_from "$T/theirs-c.zs" -o origin=back/n@1 back/c
same "clone from zfs-fuse: the same tree" "$T/back/c" "$T/c.list" --no-ns
# An incremental goes into a dataset that is not mounted.
quiet "unmount" cowbird unmount back
receive_from "$T/theirs-n12.zs" -F back/n
quiet "mount" cowbird mount back "$T/back"
same "incremental from zfs-fuse: the same tree" "$T/back/n" "$T/n2.list" --no-ns

# what we sent, changed there, comes home
quiet "unmount" cowbird unmount tank
receive_from "$T/theirs-a23.zs" -F tank/a
quiet "mount" cowbird mount tank "$T/tank"
same "our file system, changed by zfs-fuse and sent home: the same tree" "$T/tank/a" "$T/3.list" --no-ns

check "scrub" cowbird pool scrub -w tank
check "scrub" cowbird pool scrub -w back
cowbird_close tank
cowbird_close back

quiet "zfs-fuse scrub" zf_zpool scrub zf
for ((i = 0; i < 60; i++)); do zf_zpool status zf | grep -q 'in progress' || break; sleep 1; done
zf_zpool status zf >"$T/status"
check "zfs-fuse's scrub of the pool that received ours finds nothing" grep -q 'No known data errors' "$T/status"
finish
