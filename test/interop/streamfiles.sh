#!/usr/bin/env bash
# The files of stored streams, without receiving them: `stream ls`, `cat` and `extract` and a mount of the stream itself give the tree of its
# manifest (streams that others' programs made, in $SHARED), or the tree that was sent (ours). Hostile streams stay inside DIR.
# test:
# shellcheck disable=SC2317 # functions are reached through check
# shellcheck source=peers.sh
. "$(dirname "$0")/peers.sh"
SHARED=${SHARED:-$TOP/../shared/streams}
STREAMTOOL=${STREAMTOOL:-$(dirname "$COWBIRD")/tool_streamtool}
need cowbird fuse root
manifest() { timeout "$LIMIT" python3 "$TOP/test/support/manifest.py" "$@"; }
mkdir -p "$T/m"

# ---- others' streams
# shellcheck disable=SC2317 # reached through check
extracted() { # MANIFEST FILES: extract, ls and a mount give it
    local d=$T/x
    rm -rf "$d" && mkdir "$d"
    cowbird stream extract -C "$d" "$2" && manifest diff "$SHARED/$1.manifest" "$d" || return
    # ls: mode, links, owner, size, time and path of all but the root; directories' links and sizes are the file system's business
    cowbird stream ls -lR "$2" | sed -E 's/ -> .*//' | python3 -c '
import sys, calendar, time
letters = {"-": "10", "d": "04", "l": "12", "p": "01", "c": "02", "b": "06", "s": "14"}
for x in sys.stdin:
    dev = x[0] in "bc"
    f = x.rstrip("\n").split(None, 9 if dev else 8)
    if dev:
        f[4:6] = ["0"]
    bits = f[0]
    m = 0
    for i, c in enumerate(bits[1:10]):
        m |= (c not in "-ST") << (8 - i)
    m |= (bits[3] in "sS") << 11 | (bits[6] in "sS") << 10 | (bits[9] in "tT") << 9
    s, ns = f[6].split(".")
    t = calendar.timegm(time.strptime(f[5] + " " + s, "%Y-%m-%d %H:%M:%S"))
    dirs = bits[0] == "d"
    print("%s%04o %s:%s links=%s size=%s mtime=%d.%s %s" % (letters[bits[0]], m, f[2], f[3], "-" if dirs else f[1], "-" if dirs else f[4], t, ns, f[7]))
' | sort >"$T/ls.got"
    sed -E '/^04/s/links=[0-9]+ size=[0-9]+/links=- size=-/; s/ (-|->.*|[0-9a-f]{64}) ([^ ]*)$/ \2/' "$SHARED/$1.manifest" | grep -v ' \.$' | sort >"$T/ls.want"
    diff "$T/ls.want" "$T/ls.got" | head -n 5
    cmp -s "$T/ls.want" "$T/ls.got"
}
# shellcheck disable=SC2317 # reached through check
mounted() { # MANIFEST FILES
    local rc=0
    cowbird mount "$2" "$T/m" || return
    manifest diff "$SHARED/$1.manifest" "$T/m" || rc=1
    touch "$T/m/new" 2>/dev/null && { echo "it can be written"; rc=1; }
    cowbird unmount "$T/m" || rc=1
    [ "$rc" = 0 ]
}
if ls "$SHARED"/*.zs >/dev/null 2>&1; then
    for k in off-a zle-a.Lec lzjb-a.Lec zle-w.Lec lzjb-w.Lec fuse-xattr big-endian-redacted zstd-a.Lec; do
        check "the tree of $k" extracted "${k%.Lec}" "$SHARED/$k.zs"
    done
    for k in lz4 gz; do
        check "the tree of $k-a with its increment" extracted $k-b "$SHARED/$k-a.Lec.zs,$SHARED/$k-ab.Lec.zs"
        check "the tree of the clone of $k-a" extracted $k-clone "$SHARED/$k-a.Lec.zs,$SHARED/$k-clone.Lec.zs"
        check "$k-a and its increment, mounted" mounted $k-b "$SHARED/$k-a.Lec.zs,$SHARED/$k-ab.Lec.zs"
    done
    check "xattrs of a stream" sh -c "rm -rf '$T/x'; mkdir '$T/x'; '$COWBIRD' stream extract -C '$T/x' '$SHARED/zstd-a.Lec.zs' xa10 xa100 xa1000 xa3000"
    check "xattrs are the sender's" manifest xattrs "$T/x"
    volume() { cowbird stream cat "$SHARED/vol-a.Lec.zs" | sha256sum | grep -qwf <(cut -d' ' -f1 "$SHARED/vol-a.sha256"); }
    check "a volume is one file" volume
    volume_mounted() {
        cowbird mount "$SHARED/vol-a.Lec.zs" "$T/m" && sha256sum <"$T/m/vol" | grep -qwf <(cut -d' ' -f1 "$SHARED/vol-a.sha256") &&
            cowbird unmount "$T/m"
    }
    check "also when its stream is mounted" volume_mounted
    package() {
        cowbird stream ls -R "$SHARED/dedup-package.zs" | grep -qx subfs/Still_I_Rise || return
        cowbird stream cat "$SHARED/dedup-package.zs" subfs/Still_I_Rise | sha256sum | cut -d' ' -f1 | grep -qf - "$SHARED/dedup-package.dd-subfs-snap.manifest"
    }
    check "a package: the file systems below are directories" package
fi

# ---- ours, through pipes and mounts
cowbird_pool pool 1G
quiet "create" cowbird create pool/a
quiet "tree" tree make "$SEED" "$T/pool/a"
listing "$T/pool/a" "$T/tree.1"
quiet "snapshot" cowbird snapshot pool/a@1
quiet "change" tree change "$SEED" "$T/pool/a"
listing "$T/pool/a" "$T/tree.2"
quiet "snapshot" cowbird snapshot pool/a@2
send_to "$T/full.zs" pool/a@1
send_to "$T/inc.zs" -i @1 pool/a@2
quiet "package" cowbird create pool/p
quiet "package" cowbird create pool/p/below
quiet "tree" tree make "$SEED.p" "$T/pool/p/below"
quiet "quota" cowbird set quota=900M pool/p
quiet "snapshot" cowbird snapshot -r pool/p@1
quiet "clone" cowbird clone pool/p/below@1 pool/p/clone
quiet "change" tree change "$SEED.c" "$T/pool/p/clone"
quiet "snapshot" cowbird snapshot -r pool/p@2
listing "$T/pool/p" "$T/tree.p"
send_to "$T/p1.zs" -R pool/p@1
send_to "$T/p2.zs" -R -I @1 pool/p@2
quiet "create" cowbird create pool/h
mkdir "$T/pool/h/victimdir" "$T/pool/h/loopdir"
echo good >"$T/pool/h/good"
echo x >"$T/pool/h/victimdir/evilname01"
echo y >"$T/pool/h/victimdir/ab"
ln -s "$T/outside" "$T/pool/h/link1"
mkdir "$T/pool/h/link2"
echo z >"$T/pool/h/link2/f"
quiet "snapshot" cowbird snapshot pool/h@1
send_to "$T/h.zs" pool/h@1
cowbird_close pool

mkdir "$T/y"
check "extract: a full stream and its increment" cowbird stream extract -C "$T/y" "$T/full.zs,$T/inc.zs"
same "the tree that was sent" "$T/y" "$T/tree.2"
rm -rf "$T/y" && mkdir "$T/y"
# shellcheck disable=SC2317 # reached through check
piped() { cat "$T/full.zs" "$T/inc.zs" | cowbird stream extract -s 1 -C "$T/y" - 2>"$T/said" && [ ! -s "$T/said" ]; }
check "the state of an earlier snapshot, from a pipe, quietly" piped
same "the tree of that snapshot" "$T/y" "$T/tree.1"
check "mount of a package and its increment" cowbird mount "$T/p1.zs,$T/p2.zs" "$T/m"
same "the tree of the package: file systems, a clone" "$T/m" "$T/tree.p"
quiet "unmount" cowbird unmount "$T/m"
check "mount of both" sh -c "cd '$T' && '$COWBIRD' mount full.zs,inc.zs m"
same "the mounted tree" "$T/m" "$T/tree.2"
same "its earlier snapshot" "$T/m/.zfs/snapshot/1" "$T/tree.1"
cowbird_crash "$T/m"
scratch_left() { [ -z "$(find "$T" -maxdepth 1 -name 'cowbird.*')" ]; }
check "a killed mount leaves no file" scratch_left
interrupted() {
    (cat "$T/full.zs"; sleep 3) | timeout -s INT 1 "$COWBIRD" mount - "$T/m" >"$T/said" 2>&1
    sleep 0.3
    cat "$T/said"
    [ -z "$(cowbird_pids)" ] && ! mountpoint -q "$T/m"
}
check "a mount that still waits for its stream can be interrupted" interrupted

# ---- errors in words
refused() { # PATTERN COMMAND...
    local pattern=$1 rc=0
    shift
    "$@" >"$T/said" 2>&1 </dev/null || rc=$?
    cat "$T/said"
    [ "$rc" = 1 ] && grep -Eq "$pattern" "$T/said"
}
check "an increment alone" refused 'starts from another snapshot .* no stream before it' cowbird stream ls "$T/inc.zs"
quiet "cut" "$STREAMTOOL" cut "$T/full.zs" "$T/cut.zs" 100000
check "a stream cut short" refused 'record [0-9]+, byte 100000: the stream ends' cowbird stream ls "$T/cut.zs"
check "the same, mounted" refused 'record [0-9]+, byte 100000: the stream ends' cowbird mount "$T/cut.zs" "$T/m"
check "a file that is none" refused 'not a send stream' cowbird stream ls "$0"
check "no such file in it" refused 'nothere: No such file' cowbird stream cat "$T/full.zs" nothere
check "no such snapshot in it" refused "no snapshot 'x'" cowbird stream ls -s x "$T/full.zs"
check "a way out" refused "\.\." cowbird stream cat "$T/full.zs" ../x
mkdir "$T/small" && mount -t tmpfs -o size=100m none "$T/small" && {
    head -c 20M /dev/urandom >"$T/small/other"
    check "no room for the scratch file" refused 'TMPDIR' env TMPDIR="$T/small" "$COWBIRD" stream ls "$T/full.zs"
    umount "$T/small"
}

# ---- hostile: names that lead out, a directory in itself, two names alike
quiet "nosum" "$STREAMTOOL" nosum "$T/h.zs" "$T/h0.zs"
quiet "forge" python3 "$TOP/test/support/forge.py" "$T/h0.zs" "$T/h1.zs" evilname01=../../evil ab=.. link2=link1 loopdir=@ROOT
mkdir -p "$T/deep/y" "$T/outside"
hostile() {
    local rc=0
    cowbird stream extract -C "$T/deep/y" "$T/h1.zs" >"$T/said" 2>&1 || rc=$?
    cat "$T/said"
    [ "$rc" = 1 ] && grep -qx good "$T/deep/y/good" && [ -z "$(ls -A "$T/outside")" ] && [ "$(ls -A "$T/deep")" = y ] &&
        [ -z "$(find "$T" -name 'evil*' ! -name evilname01)" ]
}
check "a hostile stream: the good file is there, nothing outside" hostile
# shellcheck disable=SC2317 # reached through check
hostile_ls() { local rc=0; cowbird stream ls -lR "$T/h1.zs" >"$T/said" 2>&1 || rc=$?; cat "$T/said"; [ "$rc" = 1 ] && grep -q ' good$' "$T/said"; }
check "the same, listed" hostile_ls
for f in full inc h; do
    quiet "again" cowbird stream verify "$T/$f.zs"
done
finish
