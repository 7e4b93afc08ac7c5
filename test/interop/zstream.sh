#!/usr/bin/env bash
# zstream accepts every kind of stream we write: records well formed, the checksum over the whole right.
# test:
# shellcheck source=peers.sh
. "$(dirname "$0")/peers.sh"
need cowbird fuse zstream

# zstream exits 0 whatever it finds: what it says counts.
dump() {
    zstream dump -v "$1" >"$T/.dump" 2>&1 || return
    grep -aiE 'invalid checksum|checksum differs|invalid stream|bad magic|invalid record' "$T/.dump" | tail -c 300 && return 1
    grep -aq 'END checksum' "$T/.dump"
}

for kind in default openzfs; do
    like=()
    [ $kind = openzfs ] && like=(-o compatibility=openzfs)
    cowbird_pool $kind 2G "${like[@]}"
    for comp in lz4 off gzip-6 zstd lzjb zle; do
        fs=$kind/$comp
        quiet "create $fs" cowbird create -o "compression=$comp" "$fs"
        quiet "tree" tree make "$SEED.$comp" "$T/$fs"
        quiet "snapshot" cowbird snapshot "$fs@1"
        quiet "change" tree change "$SEED.$comp" "$T/$fs"
        quiet "snapshot" cowbird snapshot "$fs@2"
        send_to "$T/full.zs" "$fs@1"
        send_to "$T/inc.zs" -i @1 "$fs@2"
        check "full of $fs" dump "$T/full.zs"
        check "incremental of $fs" dump "$T/inc.zs"
    done
    for version in 4 5; do # every combination of flags, with blocks of every kind
        fs=$kind/v$version
        quiet "create $fs" cowbird create -o version=$version -o recordsize=1M -o compression=zstd "$fs"
        quiet "tree" tree make "$SEED.v" "$T/$fs"
        seq 1 400000 >"$T/$fs/large"
        quiet "snapshot" cowbird snapshot "$fs@1"
        quiet "change" tree change "$SEED.v" "$T/$fs"
        quiet "snapshot" cowbird snapshot "$fs@2"
        for flags in -p -L -e -c -Le -Lc -ec -Lec -w; do
            send_to "$T/full.zs" $flags "$fs@1"
            send_to "$T/inc.zs" $flags -i @1 "$fs@2"
            check "send $flags of $fs" dump "$T/full.zs"
            check "send $flags -i of $fs" dump "$T/inc.zs"
        done
    done
    quiet "clone" cowbird clone $kind/lz4@1 $kind/clone
    quiet "change" tree change "$SEED" "$T/$kind/clone"
    quiet "snapshot" cowbird snapshot $kind/clone@x
    send_to "$T/clone.zs" -i $kind/lz4@1 $kind/clone@x
    check "clone of $kind" dump "$T/clone.zs"
    quiet "empty file system" cowbird create $kind/empty
    quiet "snapshot" cowbird snapshot $kind/empty@1
    quiet "snapshot" cowbird snapshot $kind/empty@2
    send_to "$T/empty.zs" $kind/empty@1
    check "an empty file system" dump "$T/empty.zs"
    send_to "$T/none.zs" -i @1 $kind/empty@2
    check "an incremental with nothing in it" dump "$T/none.zs"
    cowbird_close $kind
    rm -f "$T/$kind.img"
done

# The checksum is looked at: one flipped bit and zstream says so.
python3 - "$T/full.zs" <<'PY'
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(0, 2); at = f.tell() // 2
    f.seek(at); b = f.read(1)[0]
    f.seek(at); f.write(bytes([b ^ 1]))
PY
if dump "$T/full.zs" >/dev/null; then not_ok "zstream does not see a flipped bit"; else ok "zstream sees a flipped bit"; fi
finish
