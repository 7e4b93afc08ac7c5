#!/usr/bin/env bash
# zdb agrees: after thousands of random operations and snapshots in a compatibility pool, OpenZFS's own reader finds
# every checksum right, no block leaked or owned twice, and its sender writes a stream that gives the same tree.
# test: 1, 2
# soak: 3, 4, 5, 6, 7, 8, 9, 10
SEED=${1:-${SEED:-1}}
# shellcheck source=peers.sh
. "$(dirname "$0")/peers.sh"
need cowbird fuse zdb
RANDOM=$SEED

cowbird_pool tank 4G -o compatibility=openzfs
quiet "create" cowbird create tank/a
quiet "create with other properties" cowbird create -o recordsize=8K -o compression=off -o version=4 tank/b
must "random tree" tree make "$SEED" "$T/tank/a" --big
must "random tree, 8K records" tree make "$SEED.b" "$T/tank/b"
must "a directory of 20,000 entries" tree many 20000 "$T/tank/a/huge"

snaps=()
for round in 1 2 3 4 5 6 7 8; do
    quiet "snapshot $round" cowbird snapshot "tank/a@$round"
    snaps+=("$round")
    quiet "change $round" tree change "$SEED.$round" "$T/tank/a"
    quiet "change $round" tree change "$SEED.$round" "$T/tank/b"
    case $round in
    2) quiet "clone" cowbird clone tank/a@2 tank/c ;;
    3) quiet "change the clone" tree change "$SEED.c" "$T/tank/c" ;;
    4) find "$T/tank/a/" -path '*huge*' -name 'entry-*[13579]' -delete ;;
    5) quiet "create and destroy" sh -c "'$COWBIRD' create tank/x && '$COWBIRD' destroy tank/x" ;;
    6) quiet "snapshot" cowbird snapshot tank/b@x ;;
    esac
    if [ $round -gt 3 ]; then # destroy one of them, any but the clone's origin
        i=$((RANDOM % ${#snaps[@]}))
        [ "${snaps[i]}" = 2 ] && continue
        quiet "destroy snapshot ${snaps[i]}" cowbird destroy "tank/a@${snaps[i]}"
        snaps=("${snaps[@]:0:i}" "${snaps[@]:i+1}")
    fi
done
ok "8 rounds of changes, snapshots destroyed in any order"

quiet "last snapshots" cowbird snapshot tank/a@end tank/b@end tank/c@end
for fs in a b c; do tree list "$T/tank/$fs" >"$T/$fs.list"; done
check "scrub" cowbird pool scrub -w tank
cowbird_close tank

d=$(pool_dir "$T/tank.img")
zdb -l "$T/tank.img" >"$T/labels" 2>&1
check "zdb -l reads four labels" grep -q 'labels = 0 1 2 3' "$T/labels"
check "zdb -bcc: every checksum verifies, nothing leaked, nothing owned twice" zdb_clean "$T/tank.img" tank
for fs in a b c; do
    zdb -e -p "$d" -dddd "tank/$fs" >"$T/objects" 2>&1 || not_ok "zdb -dddd tank/$fs: exit $?"
    check "zdb -dddd tank/$fs names the files" grep -aq ' = [0-9]* (type: Regular File)' "$T/objects"
done

# OpenZFS's sender reads our pool; we receive what it writes.
cowbird_pool back 4G
for fs in a b c; do
    id=$(zdb -e -p "$d" -d tank 2>/dev/null | sed -n "s/^Dataset tank\/$fs@end .* ID \([0-9]*\),.*/\1/p")
    for flags in '' Lec; do
        if ! zdb -e -p "$d" -B "tank/$id" $flags >"$T/$fs.zs" 2>"$T/.out"; then
            not_ok "zdb -B tank/$fs@end $flags: $(tail -n 1 "$T/.out")"
            continue
        fi
        receive_from "$T/$fs.zs" "back/$fs$flags"
        same "zdb -B ${flags:-without flags}: the tree of $fs" "$T/back/$fs$flags" "$T/$fs.list"
    done
done
cowbird_close back
finish
