#!/usr/bin/env bash
# The rules of receive through the command; test_dsl_recv_rules.c has them through the library's calls. Each line is a row: the situation, and
# what must come of it. A refusal has exit code 1, says why, and leaves the pool as it was: every dataset's guid, sizes and origin.
#
#   mounted     the pool is mounted, file systems are in use: a daemon receives, online
#   closed      no daemon: the command opens the pool, receives offline, closes it
#
# Not to be had by a command: an owner that does not lend the file system when the stream has ended (EBUSY; the mount always lends), and a
# disk that stops at any write (here one kill -9; all writes are test_dsl_recv's).
# test: mounted, closed
MODE=${1:-mounted}
# shellcheck source=peers.sh
. "$(dirname "$0")/peers.sh"
need cowbird fuse
STREAMTOOL=$TOP/build/tool_streamtool

# ---- rows -----------------------------------------------------------------------------------------------------------

# The root's own size is left out: it has the pool's metadata.
state() {
    cowbird list -H -p -r -t all -o name,guid,createtxg,used,referenced,logicalreferenced,written,origin,userrefs dst |
        awk -F'\t' -v OFS='\t' '$1 == "dst" { $4 = "" } { print }'
}
mark() { state >"$T/before"; }

# outcome ROW CODE WORDS RC: what was said is in $T/said.
outcome() {
    local row=$1 code=$2 words=$3 rc=$4
    state >"$T/after"
    if [ "$rc" = "$code" ] && { [ -z "$words" ] || grep -qF -- "$words" "$T/said"; } && { [ "$code" = 0 ] || cmp -s "$T/before" "$T/after"; }; then
        if [ "$code" = 0 ]; then ok "$MODE | $row | received"; else ok "$MODE | $row | exit 1, \"$words\", the pool as before"; fi
    else
        { cat "$T/said"; diff "$T/before" "$T/after"; } >"$T/.out" 2>&1
        failed "$MODE | $row | exit $rc, not $code with \"$words\""
    fi
    [ "$code" != 0 ] || mark
}
# refused ROW WORDS STREAM ARGS...; received ROW STREAM ARGS...
refused() { receive 1 "$@"; }
received() { local row=$1; shift; receive 0 "$row" "" "$@"; }
receive() {
    local code=$1 row=$2 words=$3 stream=$4 rc=0
    shift 4
    cowbird receive "$@" <"$T/$stream.zs" >"$T/said" 2>&1 || rc=$?
    outcome "$row" "$code" "$words" $rc
}
# no ROW WORDS COMMAND...: another command is refused. Its input is the increment, should it want one.
no() {
    local row=$1 words=$2 rc=0
    shift 2
    cowbird "$@" >"$T/said" 2>&1 <"$T/inc.zs" || rc=$?
    if [ "$rc" = 1 ] && grep -qF -- "$words" "$T/said"; then ok "$MODE | $row | exit 1, \"$words\""; else
        cp "$T/said" "$T/.out"
        failed "$MODE | $row | exit $rc, not 1 with \"$words\""
    fi
}

# ---- a stream that stands still in its middle -----------------------------------------------------------------------

HALF=150000
started() { cowbird pool history -i dst 2>/dev/null | grep -c "] receive $1[/ ]"; }
# half STREAM ARGS... FS: what is received has begun; RECV is the command.
half() {
    local stream=$1 fs=${*: -1} i was=0
    shift
    [ "$MODE" = mounted ] && was=$(started "$fs")
    rm -f "$T/pipe"
    mkfifo "$T/pipe"
    "$COWBIRD" receive "$@" <"$T/pipe" >"$T/said" 2>&1 &
    RECV=$!
    exec 7>"$T/pipe"
    head -c $HALF "$T/$stream.zs" >&7
    if [ "$MODE" = closed ]; then sleep 1; return; fi # nobody can look into the pool
    for ((i = 0; i < 100; i++)); do [ "$(started "$fs")" != "$was" ] && return; sleep 0.05; done
    not_ok "$MODE: the receive into $fs does not begin"
}
# rest STREAM: the other half comes; RC is the command's exit code.
rest() {
    tail -c +$((HALF + 1)) "$T/$1.zs" >&7
    finished
}
finished() {
    RC=0
    exec 7>&-
    { wait "$RECV"; } 2>/dev/null || RC=$?
}

# ---- streams --------------------------------------------------------------------------------------------------------

# first STREAM TYPE: the number of its first record of a type.
first() { "$STREAMTOOL" dump "$T/$1.zs" | awk -v t="$2" '$3 == t { print $1; exit }'; }
# edit NEW STREAM RECORD OFFSET SIZE VALUE: a field of a header; the sums are right.
edit() { quiet "edit" "$STREAMTOOL" set "$T/$2.zs" "$T/$1.zs" "$3" "$4" "$5" "$6"; }

make_streams() {
    cowbird_pool src 256M
    quiet "set" cowbird set atime=off src
    quiet "create" cowbird create src/fs
    quiet "tree" tree make 1 "$T/src/fs"
    for f in big gone; do head -c 300000 /dev/urandom >"$T/src/fs/$f"; done
    cp "$T/src/fs/big" "$T/big.1"
    quiet "snapshot" cowbird snapshot src/fs@1
    quiet "tree" tree change 1 "$T/src/fs"
    head -c 300000 /dev/urandom >"$T/src/fs/big"
    rm "$T/src/fs/gone"
    cp "$T/src/fs/big" "$T/big.2"
    quiet "snapshot" cowbird snapshot src/fs@2
    tree list "$T/src/fs" >"$T/2.list"
    head -c 200000 /dev/urandom >"$T/src/fs/more"
    quiet "snapshot" cowbird snapshot src/fs@3
    quiet "clone" cowbird clone src/fs@1 src/clone
    head -c 100000 /dev/urandom >"$T/src/clone/own"
    quiet "snapshot" cowbird snapshot src/clone@c
    send_to "$T/full.zs" src/fs@1
    send_to "$T/full2.zs" src/fs@2
    send_to "$T/inc.zs" -i @1 src/fs@2
    send_to "$T/inc23.zs" -i @2 src/fs@3
    send_to "$T/clone.zs" -i src/fs@1 src/clone@c
    WHO=$(cowbird get -H -p -o value guid,creation src/fs@2)
    quiet "unmount" cowbird unmount src
}

make_hostile() {
    local vi n size
    vi=$("$STREAMTOOL" dump "$T/inc.zs" | sed -n '1s/.*versioninfo \(0x[0-9a-f]*\).*/\1/p')
    edit magic inc 0 8 8 0x1234
    edit version inc 0 16 8 $((vi | 3))
    edit type inc 0 32 4 9
    edit feature inc 0 16 8 $((vi | 1 << 7))
    edit raw inc 0 16 8 $((vi | 1 << 26))
    edit resuming inc 0 16 8 $((vi | 1 << 22))
    edit record inc "$(first inc FREEOBJECTS)" 0 4 77
    n=$(first inc WRITE)
    edit object inc "$n" 8 8 4000000
    edit offset inc "$n" 24 8 0xfffffffffffffe00
    edit length inc "$(first inc OBJECT)" 24 4 $((1 << 25))
    size=$(stat -c %s "$T/inc.zs")
    quiet "flip" "$STREAMTOOL" flip "$T/inc.zs" "$T/flip.zs" $((size * 4))
    quiet "flip" "$STREAMTOOL" flip "$T/inc.zs" "$T/end.zs" $(((size - 312 + 8) * 8))
    head -c 312 "$T/inc.zs" >"$T/begin.zs"
    for s in full full2 inc clone; do head -c $(($(stat -c %s "$T/$s.zs") * 2 / 3)) "$T/$s.zs" >"$T/$s-cut.zs"; done
    for s in full inc; do quiet "swap" "$STREAMTOOL" swap "$T/$s.zs" "$T/$s-swap.zs"; done
}

# ---- targets --------------------------------------------------------------------------------------------------------

#   one: @1, nothing changed   changed: and something was   later: and a snapshot taken   other: @x, not the sender's
#   empty: no snapshot         clone: of later@1
make_targets() {
    for fs in one changed later kill; do receive_from "$T/full.zs" dst/$fs; done
    for fs in empty other; do
        quiet "create" cowbird create dst/$fs
        echo "$fs" >"$T/dst/$fs/file"
    done
    echo new >"$T/dst/changed/new"
    quiet "snapshot" cowbird snapshot dst/later@later dst/other@x
    quiet "clone" cowbird clone dst/later@1 dst/clone
    sync -f "$T/dst"
}
in_use() { for fs in one changed later empty other clone kill; do ls "$T/dst/$fs" >"$T/.out"; done; } # so that the mount owns them

# ---- the table ------------------------------------------------------------------------------------------------------

begin_rows() {
    local latest="most recent snapshot of dst"
    refused "magic neither way round" "bad magic number" magic dst/one
    refused "unknown version" "version" version dst/one
    refused "objset type out of range" "type 9" type dst/one
    refused "unknown feature" "bit 5" feature dst/one
    refused "encrypted" "encrypted" raw dst/one
    refused "resumes what is not there" "nothing to go on with" resuming dst/one
    refused "clone stream onto an existing file system" "destination 'dst/one' exists" clone dst/one
    refused "clone stream onto an existing one, force" "destination 'dst/one' exists" clone -F dst/one
    refused "incremental: no such file system" "destination 'dst/none' does not exist" inc dst/none
    refused "incremental: no snapshot here" "$latest/empty does not match incremental source" inc dst/empty
    refused "incremental: the latest is not the source" "$latest/later does not match incremental source" inc dst/later
    refused "incremental: the only one is not the sender's" "$latest/other does not match incremental source" inc dst/other
    refused "incremental: the source is not here" "$latest/one does not match incremental source" inc23 dst/one
    refused "incremental: changed since, no force" "dst/changed has been modified since most recent snapshot" inc dst/changed
    refused "incremental: force, the latest is not the source" "$latest/later does not match incremental source" inc -F dst/later
    refused "the snapshot's name exists already" "snapshot 'dst/one@1' exists" inc dst/one@1
    refused "full: no parent" "the parent of 'dst/no/fs' does not exist" full dst/no/fs
    refused "full: the name exists" "destination 'dst/empty' exists" full dst/empty
    refused "full with force: a snapshot" "has snapshots" full2 -F dst/one@1
    refused "full with force: a clone" "destination 'dst/clone' is a clone" full2 -F dst/clone
    refused "full with force: has snapshots" "destination 'dst/one' has snapshots" full2 -F dst/one
    refused "origin in another pool" "origin src/fs@1 is in another pool" clone -o origin=src/fs@1 dst/c
    refused "origin is not a snapshot" "origin dst/one is not a snapshot" clone -o origin=dst/one dst/c
    refused "origin's guid differs" "origin dst/other@x is not the snapshot this clone started from" clone -o origin=dst/other@x dst/c
    refused "origin does not exist" "origin dst/one@none" clone -o origin=dst/one@none dst/c
}

stream_rows() {
    refused "nothing behind BEGIN" "ends in the middle" begin dst/one
    refused "ends early: incremental" "record" inc-cut dst/one
    refused "ends early: full" "the stream ends in the middle" full-cut dst/cut
    refused "ends early: full with force" "the stream ends in the middle" full2-cut -F dst/empty
    refused "ends early: incremental with force" "the stream ends in the middle" inc-cut -F dst/changed
    refused "ends early: clone" "the stream ends in the middle" clone-cut dst/cut
    refused "bad record" "record type 77" record dst/one
    refused "a record for an unknown object" "no object 4000000" object dst/one
    refused "offset out of range" "out of range" offset dst/one
    refused "length out of range" "block size" length dst/one
    check "$MODE | length out of range | says record and byte" grep -qE 'record [0-9]+, byte [0-9]+ of the stream' "$T/said"
    refused "checksum differs" "damaged" flip dst/one
    refused "checksum of END differs" "damaged" end dst/one
}

interrupted_rows() {
    for stream in inc full2; do
        local fs=dst/one
        [ $stream = full2 ] && fs=dst/new
        half $stream $fs
        kill -INT "$RECV"
        RC=0
        wait "$RECV" || RC=$? # the pipe is still open
        exec 7>&-
        outcome "interrupted: $stream" 130 "interrupted" $RC
    done
}

while_rows_closed() {
    half full dst/new
    timeout -s INT 1 "$COWBIRD" destroy dst/one >"$T/said" 2>&1 # it would wait for 15 s
    check "$MODE | while receiving: any other command | waits, says who has the pool" grep "another process has '.*' open" "$T/said"
    rest full
    outcome "while receiving: the stream ends" 0 "" $RC
}

while_rows_mounted() {
    half full dst/new
    check "$MODE | while receiving: full | hidden from the mount" eval "! ls '$T/dst/new/big' 2>/dev/null"
    no "while receiving: full: received into" "is being received into" receive dst/new
    no "while receiving: full: destroyed" "busy" destroy dst/new
    no "while receiving: full: snapshot taken" "busy" snapshot dst/new@x
    no "while receiving: full: renamed" "busy" rename dst/new dst/newer
    rest full
    outcome "while receiving: the stream ends" 0 "" $RC

    half inc dst/one
    check "$MODE | while receiving: incremental | the mounted one is readable" cmp "$T/big.1" "$T/dst/one/big"
    check "$MODE | while receiving: incremental | what is received is hidden from list" \
        eval "! cowbird list -H -o name -r dst/one | grep %"
    no "while receiving: incremental: received into" "is being received into" receive -F dst/one
    no "while receiving: incremental: destroyed" "busy" destroy -r dst/one
    no "while receiving: incremental: rolled back" "busy" rollback dst/one@1
    echo mine >"$T/dst/one/mine"
    sync "$T/dst/one/mine"
    rest inc
    check "$MODE | changed meanwhile, no force | exit 1, \"modified\"" eval "[ $RC = 1 ] && grep 'has been modified' '$T/said'"
    check "$MODE | changed meanwhile, no force | what was written is there, what came is not" \
        eval "grep mine '$T/dst/one/mine' && ! cowbird list dst/one@2"
    mark
    half inc -F dst/one
    echo more >"$T/dst/one/more"
    exec 5<"$T/dst/one/big"
    rest inc
    outcome "changed meanwhile, force" 0 "" $RC
    check "$MODE | changed meanwhile, force | what was written is gone" test ! -e "$T/dst/one/mine" -a ! -e "$T/dst/one/more"
    cat <&5 >"$T/old" 2>"$T/.out" || : >"$T/old"
    exec 5<&-
    check "$MODE | success | a file open since before: stale or new, no mixture" eval "[ ! -s '$T/old' ] || cmp '$T/old' '$T/big.2'"
    same "$MODE | success | the mount shows the new files" "$T/2.list" "$T/dst/one"
}

success_rows() {
    [ "$MODE" = mounted ] || received "incremental: offline" inc dst/one
    check "$MODE | success | guid and creation time are the sender's" test "$(cowbird get -H -p -o value guid,creation dst/one@2)" = "$WHO"
    received "incremental: changed since, force" inc -F dst/changed
    received "full with force: replaced" full2 -F dst/empty
    received "clone stream, origin found by guid" clone dst/c
    check "$MODE | clone stream | its origin has the guid" test \
        "$(cowbird get -H -o value guid "$(cowbird get -H -o value origin dst/c)")" = "$(cowbird get -H -o value guid dst/later@1)"
    received "clone stream, the origin given" clone -o origin=dst/one@1 dst/c1
    received "full onto a given origin" full2 -o origin=dst/one@1 dst/f2
    received "byte-swapped: full" full-swap dst/swap
    received "byte-swapped: incremental" inc-swap dst/swap
    cowbird pool history -i -l dst >"$T/history"
    check "$MODE | history | the event" grep -qE "finish receiving dst/empty \([0-9]+\) snap=2 \[user [0-9]+ \(.*\) on" "$T/history"
    check "$MODE | history | the command and who gave it" grep -qE "receive -F dst/empty \[user [0-9]+ \(" "$T/history"
    check "$MODE | history | nothing of what was refused" eval "! grep -q 'receive.* dst/later\$' '$T/history'"
}

# The program dies in the middle.
crash_row() {
    half full2 dst/new2
    if [ "$MODE" = mounted ]; then cowbird_crash "$T/dst"; else kill -9 "$RECV"; fi
    finished
    if [ "$MODE" = mounted ]; then quiet "mount" cowbird mount dst "$T/dst"; else
        quiet "set" cowbird set com.x:opened=1 dst; fi # the next opening for writing cleans up
    echo killed >"$T/said"
    outcome "killed in the middle" 137 "killed" 137
}

# ---- all of it ------------------------------------------------------------------------------------------------------

make_streams
make_hostile
mkdir -p "$T/dst"
quiet "pool create" cowbird pool create -s 256M dst "$T/dst.img"
quiet "set" cowbird set atime=off dst
[ "$MODE" = mounted ] && quiet "mount" cowbird mount dst "$T/dst"
mark
refused "clone stream without its origin here" "the origin of this clone is not here" clone dst/c
[ "$MODE" = closed ] && quiet "mount" cowbird mount dst "$T/dst"
make_targets
if [ "$MODE" = closed ]; then quiet "unmount" cowbird unmount dst; else in_use; fi
mark
begin_rows
stream_rows
interrupted_rows
if [ "$MODE" = closed ]; then while_rows_closed; else while_rows_mounted; fi
success_rows
crash_row
[ "$MODE" = closed ] && quiet "mount" cowbird mount dst "$T/dst"
for fs in one changed empty swap f2; do same "$MODE | success | dst/$fs is the sender's" "$T/2.list" "$T/dst/$fs"; done
finish
