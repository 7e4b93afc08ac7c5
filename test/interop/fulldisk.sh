#!/usr/bin/env bash
# A full disk: writers get ENOSPC, nothing that was acknowledged is lost, files can be deleted and cut on the full pool, snapshots
# destroyed, the space comes back and can be used again. Free space in small pieces: gang blocks. Nothing hangs. zdb finds no leak.
# test: 1
SEED=${1:-${SEED:-1}}
LIMIT=${FULLDISK_LIMIT:-90} # any command that takes longer hangs
# shellcheck source=peers.sh
. "$(dirname "$0")/peers.sh"
need cowbird fuse zdb
filler() { timeout -k 5 "$LIMIT" python3 "$TOP/test/support/filler.py" "$@"; }
avail() { cowbird list -H -p -o avail tank; }
usable() { df --output=avail -B1 "$T/tank" | tail -n 1; }

# comes_back WHAT BYTES: so much is free again, soon (frees reach the disk over some txgs).
comes_back() {
    local what=$1 want=$2 i
    for ((i = 0; i < 100; i++)); do
        sync -f "$T/tank" 2>/dev/null # may repeat an error that a writer was told already
        [ "$(avail)" -ge "$want" ] && break
        sleep 0.1
    done
    check "$what" [ "$(avail)" -ge "$want" ]
    check "$what, says df" [ $(($(usable) + (1 << 20))) -ge "$want" ]
}

# fill_up ROUND: three writers at once until none gets on.
fill_up() {
    local w pids=() rc=0
    mkdir -p "$T/tank/a"
    for w in 1 2 3; do
        filler fill "$SEED.$1.$w" "$T/tank/a" "$T/log.$1.$w" >"$T/fill.$w" 2>&1 </dev/null &
        pids+=($!)
    done
    for w in "${pids[@]}"; do wait "$w" || rc=$?; done
    cat "$T"/fill.[123] >"$T/.out"
    if [ $rc = 0 ]; then ok "round $1: every writer is told that the disk is full"; else failed "round $1: a writer ended otherwise ($rc)"; fi
}

# whole WHAT SUM FILE: the file begins with the records that filler big says were acknowledged.
whole() {
    local n sum
    read -r n sum <"$2"
    check "$1 ($n acknowledged)" [ "$(head -c $((n * 131072)) "$3" | sha256sum | cut -d' ' -f1)" = "$sum" ]
}

remount() { # nothing is left in anybody's cache
    quiet "unmount" cowbird unmount tank
    quiet "mount" cowbird mount tank "$T/tank"
}

cowbird_pool tank 72M -o compatibility=openzfs
quiet "create" cowbird create tank/a
empty=$(avail)
slack=$((empty * 9 / 10))

for round in 1 2 3; do
    rm -f "$T"/log.*
    if [ $round = 2 ]; then # a snapshot will hold what is there when it is taken
        filler big "$SEED" "$T/tank/a/held" 20 >"$T/held.sum" || not_ok "old file"
        quiet "snapshot" cowbird snapshot tank/a@held
    fi
    fill_up $round
    check "round $round: there is really nothing left ($(avail) of $empty bytes)" [ "$(avail)" -lt $((empty / 16)) ]
    check "round $round: what was acknowledged is there" filler check "$T/tank/a" "$T"/log.*
    remount
    check "round $round: and after mounting again" filler check "$T/tank/a" "$T"/log.*
    case $round in
    1)
        check "on the full pool a file can be cut" sh -c "for f in '$T'/tank/a/*.1-*; do : >\"\$f\" || exit; done; sync -f '$T/tank'"
        check "and files can be deleted" find "$T/tank/a" -type f -delete
        ;;
    2)
        check "files that a snapshot holds can be deleted on the full pool" find "$T/tank/a" -type f -delete
        comes_back "what the snapshot does not hold is free" $((slack - (24 << 20)))
        check "the snapshot holds its own still" [ "$(cowbird list -H -p -o used tank/a@held)" -ge $((20 << 20)) ]
        fill_up 2b
        remount
        whole "the file in the snapshot is as it was" "$T/held.sum" "$T/tank/a/.zfs/snapshot/held/held"
        check "the snapshot can be destroyed on the full pool" cowbird destroy tank/a@held
        comes_back "its space is back" $((20 << 20))
        check "and can be used" filler big "$SEED" "$T/tank/a/again" 10
        find "$T/tank/a" -type f -delete
        ;;
    3)
        quiet "delete" find "$T/tank/a" -type f -delete
        check "a file system can be destroyed" cowbird destroy tank/a
        quiet "create" cowbird create tank/a
        ;;
    esac
    comes_back "round $round: the space is back" $slack
done

# ---- free space in pieces of one block: large records must be made of many
quiet "small records" cowbird create -o recordsize=4K -o compression=off tank/small
mkdir "$T/tank/small/d"
filler small "$SEED" "$T/tank/small/d" 1500 >/dev/null || not_ok "small files"
filler big "$SEED.x" "$T/tank/small/sieve" 200 >"$T/big.out" || not_ok "a large file of small records"
check "the disk is full of small blocks" [ "$(avail)" -lt $((empty / 16)) ]
find "$T/tank/small/d" -name 's*[02468]' -delete
# shellcheck disable=SC2317 # reached through check
sieve() { # every other block of the large file
    python3 - "$T/tank/small/sieve" <<'PY'
import ctypes, os, sys
c = ctypes.CDLL(None, use_errno=True)
fd = os.open(sys.argv[1], os.O_RDWR)
for at in range(0, os.fstat(fd).st_size, 8192):
    if c.fallocate(fd, 3, ctypes.c_long(at), ctypes.c_long(4096)) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
os.fsync(fd)
PY
}
check "every other block is freed" sieve
comes_back "half is free, in small pieces" $((empty / 4))
quiet "large records" cowbird create -o compression=off tank/large
for i in 1 2 3; do
    filler big "$SEED.$i" "$T/tank/large/f$i" 200 >"$T/f$i.sum" || not_ok "large records: file $i"
    filler small "$SEED.y$i" "$T/tank/large" 20 >/dev/null
done
check "it was used" [ "$(avail)" -lt $((empty / 8)) ]
remount
for i in 1 2 3; do whole "file $i: large records in small pieces" "$T/f$i.sum" "$T/tank/large/f$i"; done
check "scrub" cowbird pool scrub tank
cowbird_close tank
check "zdb: no leak, full and in pieces" zdb_clean "$T/tank.img" tank
zdb -e -p "$(pool_dir "$T/tank.img")" -bcc tank >"$T/zdb.out" 2>&1
check "zdb sees gang blocks:$(grep -a 'ganged count' "$T/zdb.out" | tr -s ' \t' ' ')" \
    grep -aqE 'ganged count:[[:space:]]*[1-9]' "$T/zdb.out"

# ---- and all of that goes away again
quiet "mount" cowbird -f "$T/tank.img" mount tank "$T/tank"
check "gang blocks are freed" sh -c "'$COWBIRD' destroy tank/large && '$COWBIRD' destroy tank/small"
comes_back "the space is back" $slack
fill_up 4
check "and can be filled once more" filler check "$T/tank/a" "$T"/log.4.*
cowbird_close tank
check "zdb: no leak in the end" zdb_clean "$T/tank.img" tank
finish
