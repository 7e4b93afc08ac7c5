# shellcheck shell=bash
# Sourced by the interop tests: other people's programs behind short names, a scratch folder that always goes away,
# and ok / not ok / skip lines with their counts. Nothing here may hang: every command runs under `timeout`.
#
#   peers.sh gives      T (scratch folder), COWBIRD, SEED, and the functions below
#   a test does         . peers.sh; need zdb; ...; check "what must hold" command args...; finish
#
# zfs-fuse has fixed paths (/var/run/zfs, /var/lock/zfs, /var/lib/zfs). It runs in a mount namespace of its own, where
# /run and /var/lib are empty file systems in memory; its zpool and zfs are run inside the same namespace, and so is
# whatever looks at its mounts. When the last process leaves, the namespace and its mounts are gone.

set -uo pipefail
umask 022

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
COWBIRD=${COWBIRD:-$TOP/build/cowbird}
PEERS=${PEERS:-$TOP/build/peers}
SEED=${SEED:-1}
LIMIT=${LIMIT:-300} # seconds any single command may take
NAME=$(basename "$0" .sh)
N_OK=0 N_BAD=0 N_SKIP=0
ZF_PID=

# ---- counting -------------------------------------------------------------------------------------------------------

ok() { N_OK=$((N_OK + 1)); echo "ok - $NAME: $*"; }
not_ok() { N_BAD=$((N_BAD + 1)); echo "not ok - $NAME: $*"; }


# failed WHAT: not ok, and what the command last said (in $T/.out).
failed() {
    not_ok "$*"
    tail -n 30 "$T/.out" | cut -c1-400 | sed 's/^/#   /'
}

# skip REASON: the whole test cannot run here. Under CI a missing program is a failure, not an excuse.
skip() {
    if [ "${CI:-}" = true ] || [ "${CI:-}" = 1 ]; then not_ok "cannot run: $*"; finish; fi
    N_SKIP=$((N_SKIP + 1))
    echo "skip - $NAME: $*"
    exit 0
}

# check WHAT COMMAND...: one line for one claim; the command's output is shown only when it fails.
check() {
    local what=$1 rc=0
    shift
    "$@" >"$T/.out" 2>&1 </dev/null || rc=$?
    if [ $rc = 0 ]; then ok "$what"; return 0; fi
    failed "$what (exit $rc: $*)"
    return 1
}

# must WHAT COMMAND...: like check, and the test ends here when it fails (nothing after it would make sense).
must() { check "$@" || finish; }

# quiet WHAT COMMAND...: a step that is not a claim; says nothing unless it fails, and then the test ends.
quiet() {
    local what=$1 rc=0
    shift
    "$@" >"$T/.out" 2>&1 </dev/null || rc=$?
    [ $rc = 0 ] && return 0
    failed "$what (exit $rc: $*)"
    finish
}

finish() { [ $N_BAD = 0 ]; exit; }

# ---- the scratch folder ---------------------------------------------------------------------------------------------

mkdir -p "$TOP/build/tmp"
T=$(mktemp -d "$TOP/build/tmp/$NAME.XXXXXX")
# Cowbird's sockets and list of pools live in the scratch folder too. A socket's path has little room: keep it short.
RUN=$(mktemp -d /tmp/cowbird.XXXXXX)
export HOME=$T/home XDG_RUNTIME_DIR=$RUN XDG_STATE_HOME=$T/home XDG_CONFIG_HOME=$T/home XDG_CACHE_HOME=$T/home
export XDG_DATA_HOME=$T/home TMPDIR=$T COWBIRD_RUNDIR=$RUN COWBIRD_CACHEFILE=$T/home/pools
mkdir -p "$HOME"
unset COWBIRD_POOL

# cowbird_pids: the Cowbird processes of this test, known by the runtime folder in their environment.
cowbird_pids() {
    local p exe
    exe=$(readlink -f "$COWBIRD")
    for p in /proc/[0-9]*; do
        [ "$p/exe" -ef "$exe" ] || continue
        { tr '\0' '\n' <"$p/environ"; } 2>/dev/null | grep -qxF "XDG_RUNTIME_DIR=$RUN" && echo "${p#/proc/}"
    done
    return 0
}

# shellcheck disable=SC2086 # a list of process ids
cleanup() {
    trap '' INT TERM HUP
    local pids m
    zfsfuse_stop
    pids=$(cowbird_pids)
    [ -n "$pids" ] && kill -9 $pids 2>/dev/null
    jobs -p | xargs -r kill -9 2>/dev/null
    awk -v t="$T/" 'index($5, t) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r m; do
        m=$(printf '%b' "$m")
        fusermount3 -uz "$m" 2>/dev/null || umount -l "$m" 2>/dev/null
    done
    [ "${KEEP:-}" = 1 ] && { echo "# kept: $T"; return; }
    rm -rf --one-file-system "$T" "$RUN"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# ---- what a test needs ----------------------------------------------------------------------------------------------

# need THING...: zdb, zstream, zfs-fuse, syncoid, fuse, root, cowbird; the test is skipped when one cannot be had.
need() {
    local thing
    for thing; do
        case $thing in
        cowbird) [ -x "$COWBIRD" ] || { not_ok "no $COWBIRD: run make first"; finish; } ;;
        fuse) [ -w /dev/fuse ] || skip "/dev/fuse is missing, so nothing can be mounted here" ;;
        root) [ "$(id -u)" = 0 ] || as_root ;;
        zdb | zstream | zfs-fuse | syncoid)
            "$TOP/test/interop/fetch.sh" >"$T/fetch.log" 2>&1 ||
                skip "$thing could not be fetched: $(tail -n 1 "$T/fetch.log")"
            ;;
        *) echo "need: what is $thing?" >&2; exit 2 ;;
        esac
    done
}

# as_root: runs this same test again through sudo, where that asks no password.
as_root() {
    sudo -n true 2>/dev/null || skip "needs root (or sudo without a password)"
    sudo -n env CI="${CI:-}" SEED="$SEED" COWBIRD="$COWBIRD" PEERS="$PEERS" "$0" "${ARGS[@]}"
    exit
}
ARGS=("$@")

# ---- Cowbird --------------------------------------------------------------------------------------------------------

cowbird() { timeout "$LIMIT" "$COWBIRD" "$@"; }
tree() { timeout "$LIMIT" python3 "$TOP/test/support/tree.py" "$@"; }

# same WHAT DIR_OR_LISTING DIR_OR_LISTING [tree.py list options]: the two trees are the same.
same() {
    local what=$1 a=$2 b=$3
    shift 3
    if ! listing "$a" "$T/.a" "$@" || ! listing "$b" "$T/.b" "$@"; then not_ok "$what: cannot list"; return 1; fi
    check "$what" tree diff "$T/.a" "$T/.b"
}
listing() {
    local from=$1 to=$2
    shift 2
    if [ -d "$from" ]; then tree list "$from" "$@" >"$to"; else cp "$from" "$to"; fi
}

# cowbird_pool NAME SIZE [pool create options]: $T/NAME.img holds the pool, mounted at $T/NAME.
cowbird_pool() {
    local name=$1 size=$2
    shift 2
    mkdir -p "$T/$name"
    quiet "pool create $name" cowbird pool create "$@" -s "$size" "$name" "$T/$name.img"
    quiet "mount $name" cowbird mount "$name" "$T/$name"
}

# cowbird_close NAME: unmounted and exported; the file is at rest.
cowbird_close() {
    quiet "unmount $1" cowbird unmount "$1"
    quiet "export $1" cowbird -f "$T/$1.img" pool export "$1"
}

# send_to FILE ARGS...: cowbird send into a file; a step that must work.
send_to() {
    local to=$1
    shift
    cowbird send "$@" >"$to" 2>"$T/.out" </dev/null || { failed "send $*"; finish; }
}

# receive_from FILE ARGS...: cowbird receive from a file; a claim, and the test ends when it fails.
receive_from() {
    local from=$1
    shift
    if cowbird receive "$@" <"$from" >"$T/.out" 2>&1; then ok "receive $(basename "$from")"; return; fi
    failed "receive $* <$(basename "$from")"
    finish
}

# cowbird_crash: every daemon of this test dies at once, as in a power cut of the process; its mounts are cleared.
# shellcheck disable=SC2086
cowbird_crash() {
    local pids m i
    pids=$(cowbird_pids)
    [ -n "$pids" ] && kill -9 $pids 2>/dev/null
    for i in 1 2 3 4 5 6 7 8 9 10; do [ -z "$(cowbird_pids)" ] && break; sleep 0.05; done
    for m; do fusermount3 -uz "$m" 2>/dev/null || umount -l "$m" 2>/dev/null; done
    return 0
}

# ---- OpenZFS: zdb and zstream ---------------------------------------------------------------------------------------

OZ_LIBS=$(echo "$PEERS"/openzfs/lib/*-linux-gnu)
openzfs() {
    local prog=$1
    shift
    [ -d "$OZ_LIBS" ] || OZ_LIBS=$(echo "$PEERS"/openzfs/lib/*-linux-gnu)
    LD_LIBRARY_PATH=$OZ_LIBS timeout -k 5 "$LIMIT" "$PEERS/openzfs/sbin/$prog" "$@"
}
zdb() { openzfs zdb "$@"; }
zstream() { openzfs zstream "$@"; }

# pool_dir FILE: a folder holding just that pool file, as zdb -p wants it.
pool_dir() {
    local d
    d=$T/.zdb-$(basename "$1")
    mkdir -p "$d" && ln -sf "$(readlink -f "$1")" "$d/" && echo "$d"
}

# zdb_clean FILE POOL: every checksum verifies and every block is owned exactly once.
zdb_clean() {
    local d rc=0
    d=$(pool_dir "$1")
    zdb -e -p "$d" -bcc "$2" >"$T/.zdb" 2>&1 || rc=$?
    [ "$rc" = 0 ] && grep -q 'No leaks (block sum matches space maps exactly)' "$T/.zdb" && return
    tail -n 30 "$T/.zdb"
    return 1
}

# ---- zfs-fuse -------------------------------------------------------------------------------------------------------

# zfsfuse_start DIR [OPTION...]: a daemon of our own with these options (-x, xattrs, when none is given); DIR keeps
# its log. One at a time per test.
zfsfuse_start() {
    local dir=$1 libs i
    shift
    [ $# != 0 ] || set -- -x
    mkdir -p "$dir"
    libs=$(echo "$PEERS"/zfs-fuse/lib/*-linux-gnu "$PEERS"/zfs-fuse/usr/lib/*-linux-gnu | tr ' ' ':')
    # shellcheck disable=SC2016 # $ZFSFUSE and "$@" are the inner shell's
    ZFSFUSE=$PEERS/zfs-fuse/sbin/zfs-fuse LD_LIBRARY_PATH=$libs PWD=/ \
        setpriv --pdeathsig KILL unshare -m --propagation private sh -c '
            mount -t tmpfs none /run && mount -t tmpfs none /var/lib || exit 1
            mkdir -p /var/run/zfs /run/lock /var/lock/zfs /var/lib/zfs || exit 1
            cd /; ulimit -c 0; exec "$ZFSFUSE" --no-daemon --no-kstat-mount "$@"' sh "$@" \
        >"$dir/zfs-fuse.log" 2>&1 </dev/null &
    ZF_PID=$!
    ZF_LIBS=$libs
    for ((i = 0; i < 100; i++)); do
        zf_run true 2>/dev/null && zf_run test -S /var/run/zfs/zfs_socket && zf_zpool list >/dev/null 2>&1 && return 0
        kill -0 "$ZF_PID" 2>/dev/null || break
        sleep 0.1
    done
    echo "zfs-fuse does not start:" >&2
    cat "$dir/zfs-fuse.log" >&2
    return 1
}

zfsfuse_stop() {
    [ -n "$ZF_PID" ] || return 0
    local i
    kill "$ZF_PID" 2>/dev/null
    for ((i = 0; i < 50; i++)); do kill -0 "$ZF_PID" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$ZF_PID" 2>/dev/null
    wait "$ZF_PID" 2>/dev/null
    ZF_PID=
    return 0
}

# zf_run COMMAND...: runs it where zfs-fuse's socket and mounts can be seen.
zf_run() { timeout -k 5 "$LIMIT" nsenter -t "$ZF_PID" -m --wd="$PWD" -- "$@"; }
zf_zpool() { LD_LIBRARY_PATH=$ZF_LIBS zf_run "$PEERS/zfs-fuse/sbin/zpool" "$@"; }
zf_zfs() { LD_LIBRARY_PATH=$ZF_LIBS zf_run "$PEERS/zfs-fuse/sbin/zfs" "$@"; }
zf_tree() { zf_run python3 "$TOP/test/support/tree.py" "$@"; }
