#!/usr/bin/env bash
# After random sequences of all dataset operations and of streams between two compatibility pools (test_dsl_replay), zdb agrees with
# both: every checksum right, nothing leaked or owned twice, every dataset readable.
# test: 1001 1003
# soak: 2001 2040, 2041 2080
# shellcheck disable=SC2317 # functions are reached through check
# shellcheck source=peers.sh
. "$(dirname "$0")/peers.sh"
REPLAY=${REPLAY:-$(dirname "$COWBIRD")/test_dsl_replay}
need cowbird zdb
[ -x "$REPLAY" ] || quiet "make the test program" make -C "$TOP" "build/$(basename "$REPLAY")"

datasets() { # every dataset and object can be read
    zdb -e -p "$(pool_dir "$1")" -dd "$2" >"$T/zdb.out" 2>&1 || { tail -n 5 "$T/zdb.out"; return 1; }
    ! grep -iE 'leaked|mismatch|cannot|failed|error' "$T/zdb.out"
}
for ((seed = ${1:-1001}; seed <= ${2:-1002}; seed++)); do
    quiet "sequence $seed" env COWBIRD_REPLAY="$seed" COWBIRD_REPLAY_IMG="$T" "$REPLAY"
    for pool in left right; do
        check "zdb -bcc of $pool after sequence $seed" zdb_clean "$T/$pool.$seed.img" $pool
        check "zdb -dd of $pool after sequence $seed" datasets "$T/$pool.$seed.img" $pool
        rm -rf "$T/$pool.$seed.img" "$T/.zdb-$pool.$seed.img"
    done
done
finish
