#!/usr/bin/env bash
# Volumes: made, shown as files of their size, written and read through the mount, resized, snapshotted, sent on; zdb reads what was
# written, and a real volume's stream is a file with its contents.
# test:
# shellcheck source=peers.sh
. "$(dirname "$0")/peers.sh"
SHARED=${SHARED:-$TOP/../shared/streams}
need cowbird fuse zdb zstream
M=$T/tank
value() { cowbird get -Hp -o value "$1" "$2"; }
fails() { # WHAT WORDS COMMAND...: it fails and says so
    local what=$1 words=$2
    shift 2
    if "$@" >"$T/.said" 2>&1 </dev/null; then not_ok "$what: did not fail"; return; fi
    check "$what" grep -i -- "$words" "$T/.said"
}

cowbird_pool tank 1G -o compatibility=openzfs
check "create -V" cowbird create -V 32M tank/v
check "create -s -V -b" cowbird create -s -V 10000K -b 64K tank/sparse
check "volsize" [ "$(value volsize tank/v)" = 33554432 ]
check "volsize is rounded up to whole blocks" [ "$(value volsize tank/sparse)" = 10289152 ]
check "volblocksize" [ "$(value volblocksize tank/v) $(value volblocksize tank/sparse)" = "16384 65536" ]
fails "and stays as it is" "'volblocksize' is readonly" cowbird set volblocksize=8K tank/v
check "refreservation is for all of it" [ "$(value refreservation tank/v)" -gt 33554432 ]
check "a sparse one has none" [ "$(value refreservation tank/sparse)" = 0 ]
check "type" [ "$(value type tank/v)" = volume ]
fails "nothing is below a volume" "parent is not a filesystem" cowbird create tank/v/below
fails "a block size no volume can have" "power of 2" cowbird create -V 1M -b 3K tank/bad
fails "a size of nothing" "cannot be zero" cowbird create -V 0 tank/bad
fails "mounted it is not" "is a volume" cowbird mount tank/v "$T"

# ---- a file
check "a file of the volume's size" [ "$(stat -c '%F %s' "$M/v")" = "regular file 33554432" ]
check "listed as what it is" [ "$(find "$M" -maxdepth 1 -type f | sort | tr '\n' ' ')" = "$M/sparse $M/v " ]
head -c 33554432 /dev/urandom >"$T/image"
check "written whole, as cp does" cp "$T/image" "$M/v"
check "dd into the middle, and fsync" dd if=/dev/zero of="$M/v" bs=1000 seek=1234 count=77 conv=notrunc,fsync status=none
dd if=/dev/zero of="$T/image" bs=1000 seek=1234 count=77 conv=notrunc status=none
check "read back" cmp "$T/image" "$M/v"
fails "not to be removed" "busy\|permitted" rm "$M/v"
fails "not to be renamed" "busy\|permitted" mv "$M/v" "$M/w"
fails "it does not grow" "invalid\|large\|space" truncate -s 40M "$M/v"
fails "writing behind the end" "space" dd if=/dev/zero of="$M/v" bs=64K seek=512 count=1 conv=notrunc,fsync oflag=direct status=none
quiet "snapshot" cowbird snapshot tank/v@1
check "filled anew" dd if=/dev/zero of="$M/v" bs=1M count=4 conv=notrunc,fsync status=none
check "its snapshot is a file, too" cmp "$T/image" "$M/.zfs/snapshot/v@1"
fails "which is read-only" "read-only" dd if=/dev/zero of="$M/.zfs/snapshot/v@1" bs=1 count=1 conv=notrunc,fsync status=none
dd if=/dev/zero of="$T/image" bs=1M count=4 conv=notrunc status=none

# ---- its size
fails "a size that is no multiple of its blocks" "multiple" cowbird set volsize=33554433 tank/v
exec 7<"$M/v"
fails "a volume in use keeps its size" "busy" cowbird set volsize=16M tank/v
exec 7<&-
check "it shrinks" cowbird set volsize=16M tank/v
check "and is shown so" [ "$(stat -c %s "$M/v")" = 16777216 ]
check "what is left is the same" cmp -n 16777216 "$T/image" "$M/v"
check "it grows" cowbird set volsize=48M tank/v
check "with zeros" cmp -n 33554432 <(head -c 16777216 "$T/image"; head -c 33554432 /dev/zero) "$M/v"
check "its refreservation went with it" [ "$(value refreservation tank/v)" -gt 50331648 ]

# ---- sent on
quiet "snapshot" cowbird snapshot tank/v@2
send_to "$T/v1.zs" tank/v@1
send_to "$T/v12.zs" -i @1 tank/v@2
zstream dump "$T/v12.zs" >"$T/.dump" 2>&1
check "zstream dumps the incremental to its end" grep -aq 'Total stream length' "$T/.dump"
receive_from "$T/v1.zs" tank/back
receive_from "$T/v12.zs" tank/back
check "received it is the same file" cmp "$M/v" "$M/back"
sha256sum <"$M/v" >"$T/v.sum"
if [ -e "$SHARED/vol-a.Lec.zs" ]; then
    receive_from "$SHARED/vol-a.Lec.zs" tank/real
    sum=$(sha256sum <"$M/real" | cut -d' ' -f1)
    check "a volume that OpenZFS sent" grep -qw "$sum" "$SHARED/vol-a.sha256"
    check "is written to" dd if=/dev/urandom of="$M/real" bs=1M count=2 seek=3 conv=notrunc,fsync status=none
fi
check "destroy" cowbird destroy -r tank/back
check "it is gone from the mount" [ ! -e "$M/back" ]
cowbird_close tank
quiet "mount" cowbird -f "$T/tank.img" pool import tank
quiet "mount" cowbird mount tank "$M"
check "all there after an export" sh -c "sha256sum <'$M/v' | cmp - '$T/v.sum'"
cowbird_close tank
d=$(pool_dir "$T/tank.img")
zdb -e -p "$d" -dddd tank/v >"$T/objects" 2>&1
check "zdb -dddd shows the size" grep -aq 'size = 50331648' "$T/objects"
check "zdb agrees" zdb_clean "$T/tank.img" tank
finish
