#!/usr/bin/env bash
# Both byte orders: our streams turned round (every record and, by its type, every payload) are received, full and incremental, and give
# the same trees as the streams as we wrote them; so does a stream from a real big-endian machine, where there is one.
# test: 1
SEED=${1:-${SEED:-1}}
# shellcheck source=peers.sh
. "$(dirname "$0")/peers.sh"
SHARED=${SHARED:-$TOP/../shared/streams}
STREAMTOOL=${STREAMTOOL:-$(dirname "$COWBIRD")/tool_streamtool}
need cowbird fuse
[ -x "$STREAMTOOL" ] || { not_ok "no $STREAMTOOL: run make check"; finish; }

cowbird_pool tank 2G
for fs in a b; do # b: small records, so that there is more of everything; znodes, which are turned word by word
    opts=()
    [ $fs = b ] && opts=(-o recordsize=2K -o compression=off -o version=4)
    quiet "create" cowbird create "${opts[@]}" "tank/$fs"
    quiet "tree" tree make "$SEED.$fs" "$T/tank/$fs"
    [ $fs = b ] || quiet "a fat directory" tree many 2500 "$T/tank/$fs/many"
    quiet "snapshot" cowbird snapshot "tank/$fs@1"
    quiet "change" tree change "$SEED.$fs" "$T/tank/$fs"
    quiet "snapshot" cowbird snapshot "tank/$fs@2"
    for s in 1 2; do tree list "$T/tank/$fs/.zfs/snapshot/$s" >"$T/$fs$s.list"; done
    send_to "$T/$fs-1.zs" "tank/$fs@1"
    send_to "$T/$fs-12.zs" -i @1 "tank/$fs@2"
done
cowbird_close tank

# ---- the streams turned round
for f in a-1 a-12 b-1 b-12; do
    quiet "swap" "$STREAMTOOL" swap "$T/$f.zs" "$T/$f.be"
    quiet "swap back" "$STREAMTOOL" swap "$T/$f.be" "$T/$f.back"
    magic=$(od -An -tx1 -j8 -N8 "$T/$f.be" | tr -d ' ')
    check "$f has the other order" [ "$magic" = 00000002f5bacbac ]
    if cmp -s "$T/$f.zs" "$T/$f.be"; then not_ok "$f: not turned"; fi
done

mkdir -p "$T/back"
quiet "pool create" cowbird pool create -o compatibility=openzfs -s 2G back "$T/back.img"
for fs in a b; do
    receive_from "$T/$fs-1.be" "back/$fs"
    receive_from "$T/$fs-12.be" "back/$fs"
    quiet "as it was" sh -c "'$COWBIRD' receive back/$fs-le <'$T/$fs-1.zs'"
    receive_from "$T/$fs-12.be" "back/$fs-le" # a foreign increment on a stream of our own order, and the reverse
    quiet "turned" sh -c "'$COWBIRD' receive back/$fs-be <'$T/$fs-1.be'"
    receive_from "$T/$fs-12.zs" "back/$fs-be"
done
real=$SHARED/big-endian-redacted
[ -e "$real.zs" ] && receive_from "$real.zs" back/real
quiet "mount" cowbird mount back "$T/back"
for fs in a b; do
    same "$fs, full, the other order: the same tree" "$T/back/$fs/.zfs/snapshot/1" "$T/${fs}1.list"
    same "$fs, incremental, the other order: the same tree" "$T/back/$fs" "$T/${fs}2.list"
    same "$fs, ours and then the other order" "$T/back/$fs-le" "$T/${fs}2.list"
    same "$fs, the other order and then ours" "$T/back/$fs-be" "$T/${fs}2.list"
    # It is a file system like any other: it can be changed, and what is sent of it is in our order, byte for byte as before.
    quiet "change" tree change "$SEED.more" "$T/back/$fs"
    cowbird send "back/$fs@1" >"$T/again.zs" 2>"$T/.out" || not_ok "send of back/$fs@1"
    check "$fs sent again is in our order" [ "$(od -An -tx1 -j8 -N8 "$T/again.zs" | tr -d ' ')" = accbbaf502000000 ]
done
if [ -e "$real.zs" ]; then
    check "a big-endian machine's stream: the tree of its manifest" \
        timeout "$LIMIT" python3 "$TOP/test/support/manifest.py" diff "$real.manifest" "$T/back/real"
else
    echo "# no stream of a real big-endian machine in $SHARED"
fi
check "scrub" cowbird pool scrub back
cowbird_close back
need zdb
check "zdb agrees" zdb_clean "$T/back.img" back

# ---- damage is seen in either order
for bit in 5000 40000 400000; do
    quiet "flip" "$STREAMTOOL" flip "$T/a-1.be" "$T/bad.be" $((bit * 8 + SEED))
    if cowbird -f "$T/back.img" receive back/bad <"$T/bad.be" >"$T/.out" 2>&1; then
        not_ok "a flipped bit at byte $bit is not seen"
    else
        ok "a flipped bit at byte $bit is seen: $(tail -n 1 "$T/.out" | cut -c1-150)"
    fi
done
check "nothing of them is left" sh -c "! '$COWBIRD' -f '$T/back.img' list -H -o name -r back | grep bad"
finish
