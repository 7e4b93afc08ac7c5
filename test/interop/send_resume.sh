#!/usr/bin/env bash
# A receive that breaks off goes on where it was: receive -s, the property receive_resume_token, send -t; what was partly received can be
# sent on (send -S); from a bookmark, too. zstream reads the streams. For pools that are mounted, and for some that are not.
# test: 1
SEED=${1:-${SEED:-1}}
# shellcheck source=peers.sh
. "$(dirname "$0")/peers.sh"
need cowbird fuse zstream

dump() { # records well formed; a stream without END ends with its records
    zstream dump -v "$1" >"$T/.dump" 2>&1
    grep -aiE 'invalid checksum|checksum differs|invalid stream|bad magic|invalid record' "$T/.dump" | tail -c 300 && return 1
    grep -aq '^BEGIN record' "$T/.dump"
}
dst() { if [ "$mounted" = mounted ]; then cowbird "$@"; else cowbird -f "$T/dst.img" "$@"; fi; }
token_of() { dst get -H -o value receive_resume_token "$1"; }

# part FILE FS: half of the stream arrives; what did is kept.
part() {
    local size
    size=$(stat -c %s "$1")
    if head -c $((size / 2)) "$1" | dst receive -s "$2" >"$T/said" 2>&1; then not_ok "half a stream is received"; fi
    token=$(token_of "$2")
    check "$mounted | a token" test "${token:0:2}" = 1-
}
# rest FS: the token fetches the rest.
rest() {
    cowbird send -t "$token" >"$T/rest.zs" 2>"$T/said" || { cp "$T/said" "$T/.out"; failed "send -t"; finish; }
    check "$mounted | zstream reads the rest" dump "$T/rest.zs"
    if dst receive -s "$1" <"$T/rest.zs" >"$T/.out" 2>&1; then ok "$mounted | the rest is received"; else failed "receive of the rest"; finish; fi
    check "$mounted | no token any more" test "$(token_of "$1")" = -
}

cowbird_pool src 2G
quiet "create" cowbird create -o compression=lz4 src/fs
must "tree" tree make "$SEED" "$T/src/fs"
quiet "snapshot" cowbird snapshot src/fs@1
tree list "$T/src/fs" >"$T/1.list"
quiet "bookmark" cowbird bookmark src/fs@1 src/fs#m
quiet "change" tree change "$SEED" "$T/src/fs"
quiet "snapshot" cowbird snapshot src/fs@2
tree list "$T/src/fs" >"$T/2.list"
send_to "$T/full.zs" src/fs@1
send_to "$T/inc.zs" -Lec -i @1 src/fs@2
send_to "$T/mark.zs" -Lec -i '#m' src/fs@2
check "from a bookmark: the same stream" cmp "$T/inc.zs" "$T/mark.zs"
cowbird_pool third 2G
# A copy in the sender's own pool has the same guids: it must not be taken for what the token means.
cowbird send src/fs@1 2>"$T/said" | cowbird receive src/a-copy >"$T/.out" 2>&1 || { failed "a copy"; finish; }
cowbird send -i @1 src/fs@2 2>"$T/said" | cowbird receive src/a-copy >"$T/.out" 2>&1 || { failed "a copy"; finish; }

for mounted in mounted unmounted; do
    cowbird_pool dst 2G
    [ $mounted = mounted ] || quiet "unmount" cowbird unmount dst
    part "$T/full.zs" dst/fs
    if cowbird send -nvt "$token" >"$T/said" 2>&1; then ok "$mounted | send -nv -t"; else cp "$T/said" "$T/.out"; failed "send -nvt"; fi
    check "$mounted | send -nv -t tells what the token says" grep -q "toname = src/fs@1" "$T/said"

    dst send -S dst/fs >"$T/saved.zs" 2>"$T/said" || { cp "$T/said" "$T/.out"; failed "send -S"; finish; }
    check "$mounted | zstream reads what was saved" dump "$T/saved.zs"
    cowbird receive -s third/$mounted <"$T/saved.zs" >"$T/said" 2>&1
    token=$(cowbird get -H -o value receive_resume_token third/$mounted)
    cowbird send -t "$token" 2>"$T/said" | cowbird receive -s third/$mounted >"$T/.out" 2>&1 || failed "the third goes on"
    same "$mounted | passed on by halves: the same tree" "$T/third/$mounted" "$T/1.list"

    token=$(token_of dst/fs)
    rest dst/fs
    part "$T/inc.zs" dst/fs
    rest dst/fs
    [ $mounted = mounted ] || quiet "mount" cowbird mount dst "$T/dst"
    same "$mounted | after two cuts and rests: the same tree" "$T/dst/fs" "$T/2.list"
    check "$mounted | scrub" cowbird pool scrub -w dst
    cowbird_close dst
    rm -f "$T/dst.img"
done

cowbird send -t 1-abc-de-00 >"$T/bytes" 2>"$T/said"
check "a damaged token is refused" grep -q "resume token is corrupt" "$T/said"
quiet "destroy" cowbird destroy src/fs@2
cowbird send -nt "$token" >"$T/bytes" 2>"$T/said"
check "a token is good for a copy, too" grep -q "src/a-copy@2" "$T/bytes"
quiet "destroy" cowbird destroy src/a-copy@2
cowbird send -t "$token" >"$T/bytes" 2>"$T/said"
check "a token for what is gone is refused" grep -q "no longer exists" "$T/said"
finish
