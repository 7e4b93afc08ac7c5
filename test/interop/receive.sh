#!/usr/bin/env bash
# receive, as a command: what it prints, where things go, what it refuses and in which words; on closed pools and mounted ones.
# test:
# shellcheck source=peers.sh
. "$(dirname "$0")/peers.sh"
need cowbird fuse

# says WANT FILE ARGS...: receive fails with exit code 1 and these words. tells: it works and prints them.
says() { expect 1 "$@"; }
tells() { expect 0 "$@"; }
expect() {
    local code=$1 want=$2 file=$3 rc=0
    shift 3
    cowbird receive "$@" <"$file" >"$T/.out" 2>&1 || rc=$?
    if [ $rc = "$code" ] && { [ -z "$want" ] || grep -qF -- "$want" "$T/.out"; }; then ok "$MODE receive $*: $want"; else failed "$MODE receive $*: exit $rc, not '$want'"; fi
}
# shellcheck disable=SC2317 # reached through check
there() { for i; do cowbird list -H -o name "$i" >/dev/null 2>&1 || { echo "$i is not there"; return 1; }; done; }
# shellcheck disable=SC2317
gone() { ! there "$1" 2>/dev/null; }
value() { cowbird get -H -o value,source "$1" "$2" | tr '\t' ' '; }

quiet "pool create" cowbird pool create -s 512M src "$T/src.img"
for fs in s s/one s/two s/gone; do quiet "create" cowbird create "src/$fs"; done
quiet "set" cowbird set compression=gzip-3 com.x:note=hello src/s
quiet "snapshot" cowbird snapshot -r src/s@1
quiet "snapshot" cowbird snapshot -r src/s@2
send_to "$T/full.zs" src/s@1
send_to "$T/inc.zs" -i @1 src/s@2
send_to "$T/R.zs" -R src/s@2
quiet "rename" cowbird rename src/s/two src/s/zwei
quiet "destroy" cowbird destroy -r src/s/gone
quiet "snapshot" cowbird snapshot -r src/s@3
send_to "$T/RI.zs" -R -I @2 src/s@3
send_to "$T/23.zs" -i @2 src/s@3
head -c 3000 "$T/full.zs" >"$T/cut.zs"
head -c $(($(stat -c %s "$T/R.zs") - 400)) "$T/R.zs" >"$T/Rcut.zs"

all() {
    tells "would receive full stream of src/s@1 into dst/a@1" "$T/full.zs" -n -v dst/a
    check "$MODE: nothing is there" gone dst/a
    tells "receiving full stream of src/s@1 into dst/a@1" "$T/full.zs" -v dst/a
    cp "$T/.out" "$T/said"
    check "$MODE: size and rate" grep -qE '^received [0-9.]+[KM]B? stream in [0-9.]+ seconds \([0-9.]+[KMG]B?/sec\)$' "$T/said"
    says "cannot receive new filesystem stream: destination 'dst/a' exists" "$T/full.zs" dst/a
    says "has snapshots" "$T/full.zs" -F dst/a
    says "most recent snapshot of dst/a does not match incremental source" "$T/23.zs" dst/a
    says "cannot receive incremental stream: destination 'dst/none' does not exist" "$T/inc.zs" dst/none
    says "the parent of 'dst/no/way' does not exist" "$T/full.zs" dst/no/way
    tells "" "$T/inc.zs" dst/a@own
    check "$MODE: the snapshot has the name asked for" there dst/a@own
    tells "into dst/s@1" "$T/full.zs" -v -d dst
    tells "into dst/e/s@1" "$T/full.zs" -v -e dst/e
    says "a snapshot cannot be the target with -d" "$T/full.zs" -d dst@x
    says "a snapshot cannot be the target" "$T/R.zs" dst/a@x
    tells "" "$T/full.zs" -o compression=zle -o com.x:mine=1 dst/o
    check "$MODE: -o" test "$(value compression dst/o)" = "zle local"
    says "'version' cannot be set at receive time" "$T/full.zs" -o version=4 dst/v
    says "the stream ends in the middle" "$T/cut.zs" dst/cut
    check "$MODE: nothing is there" gone dst/cut
    says " send -t 1-" "$T/cut.zs" -s dst/cut
    tells "" /dev/null -A dst/cut
    says "does not have any resumable receive state to abort" /dev/null -A dst/cut
    # packages
    says "whole, and stay" "$T/Rcut.zs" dst/R
    quiet "destroy" cowbird destroy -r dst/R
    tells "receiving full stream of src/s/one@1 into dst/R/one@1" "$T/R.zs" -v dst/R
    check "$MODE: received properties" test "$(value compression dst/R)" = "gzip-3 received"
    tells "" "$T/R.zs" -x compression dst/X
    check "$MODE: -x" test "$(value compression dst/X) $(value com.x:note dst/X)" = "on default hello received"
    tells "would rename dst/R/two to dst/R/zwei" "$T/RI.zs" -n -v -F dst/R
    check "$MODE: nothing has changed" there dst/R/two dst/R/gone
    tells "attempting destroy dst/R/gone" "$T/RI.zs" -v -F dst/R
    check "$MODE: what was renamed and destroyed is" there dst/R/zwei@3 dst/R@3
    check "$MODE: what was destroyed is gone" gone dst/R/gone
    tells "snap dst/R@3 already exists; ignoring" "$T/RI.zs" -v -F dst/R
}

for MODE in closed mounted; do
    mkdir -p "$T/dst"
    quiet "pool create" cowbird pool create -s 512M dst "$T/dst.img"
    quiet "create" cowbird create dst/e
    [ $MODE = mounted ] && quiet "mount" cowbird mount dst "$T/dst"
    all
    [ $MODE = mounted ] && check "the mount shows what was received" test -d "$T/dst/R/zwei" -a ! -e "$T/dst/R/gone" -a ! -e "$T/dst/R/two"
    [ $MODE = mounted ] && quiet "unmount" cowbird unmount dst
    quiet "pool destroy" cowbird pool destroy dst
    rm -f "$T/dst.img"
done
finish
