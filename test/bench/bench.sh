#!/usr/bin/env bash
# Cowbird beside zfs-fuse and libfuse's passthrough, on one machine in one run: each repetition runs them all in turn,
# medians are compared, and each figure comes with its noise (± half the spread). Ratios count, not the figures.
#
#   REPS=3 MB=1024 FILES=20000 PASSTHROUGH=/path/to/passthrough_ll ONLY="cowbird zfsfuse" ROWS="send|receive" bench.sh
#
# ROWS: a pattern; only rows that match are measured (files to measure with are written all the same).
# Every figure is a rate (MiB or files per second, higher is better). "cold" means right after mounting again.
# shellcheck source=../interop/peers.sh
. "$(dirname "$0")/../interop/peers.sh"
REPS=${REPS:-3} MB=${MB:-1024} FILES=${FILES:-20000} LIMIT=${LIMIT:-900}
need root fuse zfs-fuse

contenders=()
for who in cowbird zfsfuse passthrough; do
    case $who in
    cowbird) [ -x "$COWBIRD" ] || continue ;;
    passthrough) [ -n "${PASSTHROUGH:-}" ] || continue ;;
    esac
    [[ " ${ONLY:-$who} " = *" $who "* ]] && contenders+=("$who")
done

fsbench=$T/fsbench
${CC:-cc} -O2 -o "$fsbench" "$TOP/test/bench/fsbench.c"
tar -C / -cf "$T/source.tar" usr/include 2>/dev/null
TAR_FILES=$(tar -tf "$T/source.tar" | wc -l)
results=$TOP/build/bench.tsv
: >"$results"

# ---- one driver per contender: start, stop, remount, run (where its mount is seen), new pool, snapshot, send, receive

M=$T/mnt # where every contender is mounted
mkdir -p "$M" "$T/daemon"

cowbird_start() {
    cowbird pool create -s 16G bench "$T/bench.img" && cowbird mount bench "$M" && cowbird create bench/fs
}
cowbird_stop() { cowbird unmount bench && cowbird -f "$T/bench.img" pool export bench; }
cowbird_remount() { cowbird unmount bench && cowbird mount bench "$M"; }
cowbird_run() { timeout "$LIMIT" "$@"; }
cowbird_zfs() { cowbird "$@"; }
cowbird_snapshot() { cowbird snapshot "$1"; }
cowbird_send() { cowbird send "$@"; }
cowbird_receive() { cowbird receive "$@"; }

zfsfuse_begin() { # its own defaults: no option that slows it or speeds it up
    zfsfuse_start "$T/daemon" --no-kstat-mount && truncate -s 16G "$T/bench.img" &&
        zf_zpool create -f -m "$M" bench "$T/bench.img" && zf_zfs create bench/fs
}
zfsfuse_end() { zf_zpool export bench; zfsfuse_stop; }
zfsfuse_remount() { zf_zpool export bench && zf_zpool import -d "$T" bench; }
zfsfuse_run() { zf_run "$@"; }
zfsfuse_zfs() { zf_zfs "$@"; }
zfsfuse_snapshot() { zf_zfs snapshot "$1"; }
zfsfuse_send() { zf_zfs send "$@"; }
zfsfuse_receive() { zf_zfs receive "$@"; }

passthrough_mount() {
    case $PASSTHROUGH in
    *_hp*) "$PASSTHROUGH" "$T/under" "$M" ;;
    *) "$PASSTHROUGH" -o "source=$T/under" "$M" ;;
    esac
}
passthrough_start() { mkdir -p "$T/under/fs" && passthrough_mount; }
passthrough_stop() { fusermount3 -u "$M"; }
passthrough_remount() { fusermount3 -u "$M" && passthrough_mount; }
passthrough_run() { timeout "$LIMIT" "$@"; }

# ---- the rows

# row WHO NAME COMMAND...: the command prints the rate.
row() {
    local who=$1 name=$2 rate
    shift 2
    [[ $name =~ ${ROWS:-.} || $name = "sequential write" || $name = "unpack a source tree" ]] || return 0
    rate=$("$@") || { echo "# $who: $name failed" >&2; return; }
    printf '%s\t%s\t%s\n' "$who" "$name" "$rate" >>"$results"
    printf '# %-12s %-28s %10.1f\n' "$who" "$name" "$rate" >&2
}

# timed AMOUNT COMMAND...: AMOUNT per second of the command's run time.
timed() {
    local amount=$1 from=$EPOCHREALTIME
    shift
    "$@" >/dev/null || return
    awk -v a="$amount" -v f="$from" -v t="$EPOCHREALTIME" 'BEGIN { printf "%.2f\n", a / (t - f) }'
}
piped() { "$@" | cat >/dev/null; return "${PIPESTATUS[0]}"; }
from_file() { local f=$1; shift; "$@" <"$f"; }

measure() {
    local w=$1 f=$M/fs
    row "$w" "sequential write" "${w}_run" "$fsbench" write "$f/big" "$MB"
    "${w}_remount"
    row "$w" "sequential read, cold" "${w}_run" "$fsbench" read "$f/big"
    row "$w" "sequential read, again" "${w}_run" "$fsbench" read "$f/big"
    row "$w" "create files" "${w}_run" "$fsbench" create "$f" "$FILES"
    "${w}_remount"
    row "$w" "stat files, cold" "${w}_run" "$fsbench" stat "$f" "$FILES"
    row "$w" "stat files, again" "${w}_run" "$fsbench" stat "$f" "$FILES"
    "${w}_remount"
    row "$w" "read files, cold" "${w}_run" "$fsbench" readall "$f" "$FILES"
    row "$w" "remove files" "${w}_run" "$fsbench" remove "$f" "$FILES"
    row "$w" "unpack a source tree" timed "$TAR_FILES" "${w}_run" tar -C "$f" -xf "$T/source.tar"
    [ "$w" = passthrough ] && return

    "${w}_run" rm -rf "$f/usr"
    "${w}_snapshot" bench/fs@1
    "${w}_remount"
    row "$w" "send, cold" timed "$MB" piped "${w}_send" bench/fs@1
    "${w}_send" bench/fs@1 >"$T/full.zs"
    row "$w" "receive" timed "$MB" from_file "$T/full.zs" "${w}_receive" bench/copy
    rm -f "$T/full.zs"
    "${w}_run" "$fsbench" rewrite "$f/big" 1 >/dev/null
    "${w}_snapshot" bench/fs@2
    row "$w" "send incremental of 1 %" timed "$((MB / 100))" piped "${w}_send" -i @1 bench/fs@2
    "${w}_send" -i @1 bench/fs@2 >"$T/inc.zs"
    "${w}_remount"
    row "$w" "receive incremental of 1 %" timed "$((MB / 100))" from_file "$T/inc.zs" "${w}_receive" -F bench/copy
    measure_compressed "$w"
}

# The same amount of text in a compressed file system (with the one algorithm all have), as it is and, where that is known, packed.
measure_compressed() {
    local w=$1 size
    "${w}_zfs" create -o compression=gzip-1 bench/text
    "${w}_run" sh -c "while :; do cat '$T/source.tar' || exit; done 2>/dev/null | head -c ${MB}M >'$M/text/big'"
    "${w}_snapshot" bench/text@1
    "${w}_remount"
    row "$w" "send compressed, unpacked" timed "$MB" piped "${w}_send" bench/text@1
    "${w}_send" bench/text@1 >"$T/full.zs"
    row "$w" "receive and compress" timed "$MB" from_file "$T/full.zs" "${w}_receive" bench/text1
    [ "$w" = cowbird ] || return 0
    "${w}_remount"
    row "$w" "send -c" timed "$MB" piped "${w}_send" -c bench/text@1
    "${w}_send" -c bench/text@1 >"$T/full.zs"
    row "$w" "receive of send -c" timed "$MB" from_file "$T/full.zs" "${w}_receive" bench/text2
    row "$w" "Fletcher-4, one core" "$TOP/build/tool_fletcher"
    rm -f "$T/full.zs"
}

for ((rep = 1; rep <= REPS; rep++)); do
    for who in "${contenders[@]}"; do
        echo "# repetition $rep: $who" >&2
        start=${who}_start stop=${who}_stop
        [ "$who" = zfsfuse ] && start=zfsfuse_begin stop=zfsfuse_end
        if "$start" >"$T/.out" 2>&1; then measure "$who"; else failed "$who does not start"; fi
        "$stop" >/dev/null 2>&1
        cowbird_crash "$M"
        rm -rf "$T/bench.img" "$T/under"
    done
done

# ---- medians, noise, ratios
python3 - "$results" <<'PY'
import collections, statistics, sys
rows = collections.OrderedDict()
for line in open(sys.argv[1]):
    who, name, rate = line.rstrip("\n").split("\t")
    rows.setdefault(name, {}).setdefault(who, []).append(float(rate))
def cell(v):
    if not v:
        return "%20s" % "-"
    m = statistics.median(v)
    return "%12.1f ±%5.0f%%" % (m, 100 * (max(v) - min(v)) / m / 2) if m else "%20s" % "0"
def ratio(a, b):
    return "%8.2f" % (statistics.median(a) / statistics.median(b)) if a and b else "%8s" % "-"
print("%-28s %20s %20s %20s %8s %8s" % ("per second", "cowbird", "zfs-fuse", "passthrough", "/zfsfuse", "/passth."))
for name, r in rows.items():
    c, z, p = (r.get(w) for w in ("cowbird", "zfsfuse", "passthrough"))
    print("%-28s %s %s %s %s %s" % (name, cell(c), cell(z), cell(p), ratio(c, z), ratio(c, p)))
def share(row):
    c = rows.get(row, {}).get("cowbird")
    return "%s %.1f %%" % (row, 100 * statistics.median(c) / statistics.median(sum_rate)) if c else ""
sum_rate = rows.get("Fletcher-4, one core", {}).get("cowbird")
if sum_rate:
    print("Of one core Fletcher-4 takes: " + ", ".join(filter(None, map(share, ("send, cold", "receive", "send compressed, unpacked")))))
slow = [n for n, r in rows.items() if r.get("cowbird") and r.get("zfsfuse")
        and statistics.median(r["cowbird"]) <= statistics.median(r["zfsfuse"])]
print("Cowbird is slower than zfs-fuse in: " + ", ".join(slow) if slow else "Every row measured for both: Cowbird is faster."
      if any("cowbird" in r for r in rows.values()) else "Cowbird was not measured.")
PY
