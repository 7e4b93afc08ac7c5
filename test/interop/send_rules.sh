#!/usr/bin/env bash
# The rules of send through the command, for a pool that is mounted (a daemon sends) and one that is not (the command does): the same
# answers, and nothing stays held. Each line is a row: the situation, and what must come of it.
# test:
# shellcheck source=peers.sh
. "$(dirname "$0")/peers.sh"
need cowbird fuse

mounted=
send() { if [ $mounted = mounted ]; then cowbird send "$@"; else cowbird -f "$T/tank.img" send "$@"; fi; }
# refused WHAT WORDS ARGS...: exit 1, these words, not a byte of a stream.
refused() {
    local what=$1 words=$2 rc=0
    shift 2
    send "$@" >"$T/bytes" 2>"$T/said" || rc=$?
    check "$mounted | $what | exit 1, \"$words\", no byte" test "$rc" = 1 -a ! -s "$T/bytes" -a -n "$(grep -F -- "$words" "$T/said")"
}
# free: nothing holds tank/fs@3, so that it can be destroyed; and it is back.
free() {
    if [ $mounted = mounted ]; then cowbird destroy tank/fs@3 && cowbird snapshot tank/fs@3; else
        cowbird -f "$T/tank.img" destroy tank/fs@3 && cowbird -f "$T/tank.img" snapshot tank/fs@3; fi
}
# started FILE: the stream has begun to come.
started() {
    local i
    for ((i = 0; i < 100; i++)); do [ -s "$1" ] && return 0; sleep 0.05; done
    return 1
}

rows() {
    refused "not a snapshot" "a snapshot" tank/fs
    refused "no such snapshot" "does not exist" tank/fs@none
    refused "the source is later" "not an earlier snapshot from the same fs" -i @3 tank/fs@1
    refused "the source is another file system's" "not an earlier snapshot from the same fs" -i tank/other@1 tank/fs@3
    refused "no such source" "incremental source (tank/fs@none) does not exist" -i @none tank/fs@3
    refused "no such source, in a package" "incremental source (tank/fs@none) does not exist" -R -i @none tank/fs@3
    refused "no such bookmark" "incremental source (tank/fs#none) does not exist" -i '#none' tank/fs@3
    refused "-I from later" "not an earlier snapshot from the same fs" -I @3 tank/fs@1
    send -i tank/fs@1 tank/clone@c >"$T/clone.zs" 2>"$T/said"
    check "$mounted | from the origin | the clone flag, and its guid" test "$(head -c 40 "$T/clone.zs" | od -An -tx1 -j36 -N1 | tr -d ' ')" = 0d

    send tank/fs@3 2>"$T/said" | head -c 1000 >"$T/bytes"
    check "$mounted | the reader goes away | exit 1" test "${PIPESTATUS[0]}" = 1
    check "$mounted | the reader goes away | nothing is held" free

    rm -f "$T/bytes"
    mkfifo "$T/pipe"
    (exec 3<"$T/pipe"; head -c 100000 <&3 >"$T/bytes"; sleep 30) & # reads a little, then stands still
    local reader=$! sender rc=0
    send tank/fs@3 >"$T/pipe" 2>"$T/said" &
    sender=$!
    started "$T/bytes"
    local at=$SECONDS
    pkill -INT -P $sender -f 'send tank/fs@3' || kill -INT $sender
    wait $sender || rc=$?
    check "$mounted | interrupted | ends at once (exit $rc)" test $rc != 0 -a $((SECONDS - at)) -lt 10
    kill $reader 2>/dev/null
    wait $reader 2>/dev/null
    rm -f "$T/pipe"
    local i held=1
    for ((i = 0; i < 20; i++)); do free >/dev/null 2>&1 && held=0 && break; sleep 0.1; done
    check "$mounted | interrupted | nothing is held" test $held = 0
}

cowbird_pool tank 2G
quiet "create" cowbird create tank/fs
quiet "create" cowbird create tank/other
head -c 30000000 /dev/urandom >"$T/tank/fs/file"
for s in fs@1 fs@2 fs@3 other@1; do quiet "snapshot" cowbird snapshot tank/$s; done
quiet "clone" cowbird clone tank/fs@1 tank/clone
quiet "snapshot" cowbird snapshot tank/clone@c
mounted=mounted
rows
quiet "unmount" cowbird unmount tank
mounted=unmounted
rows
finish
