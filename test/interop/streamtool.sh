#!/usr/bin/env bash
# Stored streams are looked into without being received: `stream dump` prints what `zstream dump` prints, byte for byte, `stream verify`
# finds every fault.
# The stored streams lie in $SHARED (../shared/streams beside the repository); without them our own are used alone.
# test:
# shellcheck disable=SC2317 # functions are reached through check
# shellcheck source=peers.sh
. "$(dirname "$0")/peers.sh"
SHARED=${SHARED:-$TOP/../shared/streams}
STREAMTOOL=${STREAMTOOL:-$(dirname "$COWBIRD")/tool_streamtool}
need cowbird fuse zstream

# ---- streams: ours of every flag, a list of every type, other byte order, and others' programs'
mkdir "$T/s"
cowbird_pool pool 1G
for comp in lz4 gzip-6 zstd off; do
    fs=pool/$comp
    quiet "create" cowbird create -o "compression=$comp" -o recordsize=128K "$fs"
    quiet "tree" tree make "$SEED.$comp" "$T/$fs"
    quiet "snapshot" cowbird snapshot "$fs@1"
    quiet "change" tree change "$SEED.$comp" "$T/$fs"
    quiet "snapshot" cowbird snapshot "$fs@2"
    send_to "$T/s/$comp-1.zs" -Lec "$fs@1"
    send_to "$T/s/$comp-2.zs" -i @1 "$fs@2"
done
cowbird_close pool
quiet "list" python3 "$TOP/test/support/liststream.py" "$T/s/list.zs"
quiet "other byte order" "$STREAMTOOL" swap "$T/s/lz4-2.zs" "$T/s/swapped.zs"
quiet "without sums" "$STREAMTOOL" nosum "$T/s/lz4-2.zs" "$T/s/nosum.zs"
streams=("$T"/s/*.zs)
for f in "$SHARED"/*.zs; do [ -e "$f" ] && streams+=("$f"); done

# ---- dump
# Every option on its own; the bytes of large streams are not printed twice. A stream of the other byte order zstream can read with -C only.
same_dump() { # FILE
    local o options=("" -v -d -C)
    [ "$(stat -c %s "$1")" -gt 1500000 ] && options=("" -v -vC)
    case $1 in */big-endian* | */swapped.zs) options=(-C -vC -dC) ;; esac
    for o in "${options[@]}"; do
        # shellcheck disable=SC2086 # no option is no argument
        zstream dump $o "$1" >"$T/.theirs" 2>"$T/.said" || { cat "$T/.said"; return 1; }
        # shellcheck disable=SC2086
        cowbird stream dump $o <"$1" >"$T/.ours" || return
        cmp "$T/.theirs" "$T/.ours" || return
    done
}
for f in "${streams[@]}"; do check "dump of $(basename "$f") is zstream's" same_dump "$f"; done

# ---- verify
check "verify: all of them are sound" cowbird stream verify "${streams[@]}"
all_count() { # verify's numbers of records and bytes are dump's
    local f want
    for f in "${streams[@]}"; do
        want=$(cowbird stream dump "$f" | awk '/Total records =/ { r = $4 } /Total stream length =/ { print r " records, " $5 " bytes" }')
        cowbird stream verify "$f" | grep -qF ": sound: $want" || { echo "$f: not $want"; return 1; }
    done
}
check "verify counts records and bytes as zstream does" all_count
together() { cat "$T/s/lz4-1.zs" "$T/s/lz4-2.zs" | cowbird stream verify -v >"$T/.ours" && grep -c stream "$T/.ours" | grep -qx 2; }
check "verify of two streams one after the other, through a pipe" together

fault() { # FILE PATTERN: refused by verify and by dump, with the place; exit code 1
    local rc=0
    cowbird stream verify "$1" >"$T/.ours" 2>&1 || rc=$?
    cat "$T/.ours"
    [ "$rc" = 1 ] && grep -Eq "$2" "$T/.ours" || return 1
    cowbird stream dump "$1" >/dev/null 2>&1 && return 1
    return 0
}
bytes=$(stat -c %s "$T/s/zstd-2.zs")
quiet "flip" "$STREAMTOOL" flip "$T/s/zstd-2.zs" "$T/flip.zs" $((bytes * 4))
check "a flipped bit: which record, which byte" fault "$T/flip.zs" "record [0-9]+, byte [0-9]+: .*(checksum|of an encrypted|unknown|number)"
quiet "cut" "$STREAMTOOL" cut "$T/s/zstd-2.zs" "$T/cut.zs" $((bytes / 2))
check "a stream that ends in the middle" fault "$T/cut.zs" "byte $((bytes / 2)): the stream ends in the middle"
head -c 4096 /dev/zero >"$T/zero.zs"
check "no stream at all" fault "$T/zero.zs" "record 0, byte 0: .*not a send stream"
nothing() { ! cowbird stream verify </dev/null 2>"$T/.ours" && grep -q "empty" "$T/.ours"; }
check "nothing at all" nothing
head -c -312 "$T/s/list.zs" >"$T/open.zs"
check "a package without its end" sh -c "! '$COWBIRD' stream verify '$T/open.zs' 2>'$T/said' && grep -q 'without its last record' '$T/said'"
(cat "$T/s/zstd-2.zs" && echo more) >"$T/more.zs"
check "something after the end" fault "$T/more.zs" "byte [0-9]+"
finish
