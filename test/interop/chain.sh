#!/usr/bin/env bash
# A tree of file systems goes to and fro between zfs-fuse and Cowbird as packages (send -R -I, receive -F): whoever has it changes files,
# makes, clones, promotes, renames and destroys file systems and snapshots, and sends on. After each step both have the same names,
# origins and files.
# test: 10
# soak: 40
ROUNDS=${1:-10}
# shellcheck source=peers.sh
. "$(dirname "$0")/peers.sh"
need root cowbird fuse zfs-fuse zdb

# ---- the two sides: zf (pool zf, mounted at $T/zf) and cb (pool tank, at $T/tank); both have the tree at POOL/s
# shellcheck disable=SC2317 # all of these are called by a name put together
zf_do() { zf_zfs "$@"; }
# shellcheck disable=SC2317
cb_do() { cowbird "$@"; }
# shellcheck disable=SC2317
zf_at() { zf_tree "$@"; }
# shellcheck disable=SC2317
cb_at() { tree "$@"; }
# shellcheck disable=SC2317
cb_run() { "$@"; }
pool_of() { [ "$1" = zf ] && echo zf || echo tank; }
fs_of() { "$1_do" list -H -r -t filesystem -o name "$(pool_of "$1")/s" | sed "s|^$(pool_of "$1")/||"; }
names_of() { # SIDE: every file system with its origin, and every snapshot
    local p
    p=$(pool_of "$1")
    "$1_do" list -H -r -t filesystem,snapshot -o name,origin "$p/s" | sed -e "s|\b$p/||g" | sort
}
files_of() { # SIDE DIR: a listing of each file system, without itself (zfs-fuse makes mount points in it) and those below it
    local fs p
    p=$(pool_of "$1")
    rm -rf "$2" && mkdir -p "$2"
    fs_of "$1" | while read -r fs; do
        "$1_at" list "$T/$p/$fs" --no-ns | grep -avE ' (\.|n[0-9](/[^ ]*)?)$' >"$2/${fs//\//_}"
    done
}

# ---- one round at SIDE: files of each file system change, the tree changes its shape, all is kept as @rN
# The file systems are s/n1 ... s/n9 and s/n1/n5 ...; what cannot be done in the state at hand is left out.
try() { "$@" >"$T/.try" 2>&1 </dev/null || echo "#   not done: $*: $(head -n 1 "$T/.try")"; }
shape() { # SIDE N
    local d=$1_do p n=$2
    p=$(pool_of "$1")
    case $((n % 5)) in
    0) try "$d" create -o version=4 "$p/s/n$((n % 9 + 1))" ;;
    1) try "$d" clone "$p/s/n2@r$((n - 1))" "$p/s/n8" ;;
    2) try "$d" promote "$p/s/n8"
       try "$d" rename "$p/s/n1" "$p/s/n2/n7" ;;
    3) try "$d" snapshot "$p/s/n2@extra$n"
       try "$d" rename "$p/s@r$((n - 2))" "$p/s@old$n" ;;
    4) try "$d" destroy -r "$p/s/n$(((n + 3) % 9 + 1))"
       try "$d" rename "$p/s/n2/n7" "$p/s/n1"
       try "$d" destroy "$p/s/n2@r$((n - 3))" ;;
    esac
}
change() { # SIDE N: every third file system is changed, and those that are empty are filled
    local fs p i=$2 verb
    p=$(pool_of "$1")
    fs_of "$1" | while read -r fs; do
        verb=change
        "$1_run" test -d "$T/$p/$fs/files" || verb="make"
        [ $verb = make ] || [ $((i++ % 3)) = 0 ] || continue
        "$1_at" $verb "$SEED.$2.$fs" "$T/$p/$fs/files" --narrow >>"$T/.out" 2>&1 || not_ok "tree $verb $p/$fs: $(tail -n 1 "$T/.out")"
    done
}

# zfs-fuse cannot rename what is mounted and was just in use.
zf_unmount() {
    local i fs
    for ((i = 0; i < 5; i++)); do
        zf_run grep -q "$T/zf/s" /proc/self/mounts || return 0
        fs_of zf | sort -r | while read -r fs; do zf_zfs unmount "zf/$fs"; done >"$T/.try" 2>&1
        sleep 0.2
    done
}
pass_on() { # FROM TO N: as a package, from the last state both have
    local from to n=$3
    from=$(pool_of "$1") to=$(pool_of "$2")
    quiet "round $n: snapshot at $1" "$1_do" snapshot -r "$from/s@r$n"
    if ! "$1_do" send -R -I "@r$((n - 1))" "$from/s@r$n" >"$T/step.zs" 2>"$T/.out"; then failed "round $n: $1 sends"; finish; fi
    [ "$2" = zf ] && zf_unmount
    if ! "$2_do" receive -v -F "$to/s" <"$T/step.zs" >"$T/.out" 2>&1; then failed "round $n: $2 receives"; finish; fi
    ok "round $n: $1 sends $(stat -c %s "$T/step.zs") bytes, $2 receives"
    [ "$2" = zf ] || return 0
    zf_unmount # its kernel still has pages of the old files
    quiet "zfs-fuse mount" zf_zfs mount -a
}
agree() { # N: the files every fifth time
    names_of zf >"$T/zf.names"
    names_of cb >"$T/cb.names"
    check "round $1: names, snapshots and origins" diff "$T/zf.names" "$T/cb.names"
    [ $(($1 % 5)) = 0 ] || return
    files_of zf "$T/zf.files"
    files_of cb "$T/cb.files"
    check "round $1: the files of $(fs_of cb | wc -l) file systems" diff -r "$T/zf.files" "$T/cb.files"
}

# ---- the beginning: zfs-fuse makes the tree and sends all of it
zfsfuse_start "$T/daemon" || { not_ok "zfs-fuse does not start"; finish; }
truncate -s 4G "$T/zf.img"
quiet "zfs-fuse pool" zf_zpool create -f -m "$T/zf" zf "$T/zf.img"
cowbird_pool tank 4G -o compatibility=openzfs
for fs in s s/n1 s/n2 s/n3; do quiet "zfs-fuse create" zf_zfs create "zf/$fs"; done
change zf 0
quiet "snapshot" zf_zfs snapshot -r zf/s@r0
quiet "clone" zf_zfs clone zf/s/n1@r0 zf/s/n4
quiet "snapshot" zf_zfs snapshot zf/s/n4@r0
zf_zfs send -R zf/s@r0 >"$T/all.zs"
receive_from "$T/all.zs" tank/s
agree 0
from=zf to=cb
for ((n = 1; n <= ROUNDS; n++)); do
    change $from $n
    shape $from $n
    pass_on $from $to $n
    agree $n
    if [ $from = zf ]; then from=cb to=zf; else from=zf to=cb; fi
done
check "scrub" cowbird pool scrub -w tank
cowbird_close tank
check "zdb agrees with the pool" zdb_clean "$T/tank.img" tank
finish
