#!/usr/bin/env bash
# One flipped bit, seen from the command line and the mount: that record gives EIO, everything else reads right, scrub names the file
# and exits 1. And three garbled labels do no harm. (test_zpl_bitflip.c does the same everywhere in the pool, many times.)
# test:
# shellcheck source=peers.sh
. "$(dirname "$0")/peers.sh"
need cowbird fuse

# image.py find IMAGE FILE RECORD RECSIZE | flip IMAGE OFFSET | garble IMAGE LABEL...
cat >"$T/image.py" <<'PY'
import mmap, os, random, sys
cmd, image = sys.argv[1:3]
with open(image, "r+b") as f:
    if cmd == "find":  # where a record (not compressed) lies
        with open(sys.argv[3], "rb") as g:
            g.seek(int(sys.argv[4]) * int(sys.argv[5]))
            data = g.read(int(sys.argv[5]))
        m = mmap.mmap(f.fileno(), 0)
        at = m.find(data)
        if at < 0 or m.find(data, at + 1) >= 0:
            sys.exit("not once in the image")
        print(at)
    elif cmd == "flip":
        at = int(sys.argv[3]) + random.randrange(512)
        f.seek(at)
        b = f.read(1)[0]
        f.seek(at)
        f.write(bytes([b ^ 1 << random.randrange(8)]))
    else:
        size = os.fstat(f.fileno()).st_size // 262144 * 262144
        for l in map(int, sys.argv[3:]):
            f.seek(l * 262144 if l < 2 else size - (4 - l) * 262144)
            f.write(os.urandom(262144))
PY
image() { timeout "$LIMIT" python3 "$T/image.py" "$@"; }

# records FILE: every record of 16 KiB of a mounted file, as its SHA-256 or the error; direct, so that nothing is read ahead.
records() {
    python3 - "$1" <<'PY'
import hashlib, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
for at in range(0, os.fstat(fd).st_size, 16384):
    try:
        print(at // 16384, hashlib.sha256(os.pread(fd, 16384, at)).hexdigest())
    except OSError as e:
        print(at // 16384, os.strerror(e.errno))
PY
}

for kind in default openzfs; do
    like=()
    [ $kind = openzfs ] && like=(-o compatibility=openzfs)
    img=$T/$kind.img
    cowbird_pool $kind 64M "${like[@]}"
    quiet "create" cowbird create -o recordsize=16K -o compression=off $kind/fs
    mkdir -p "$T/$kind/fs/some dir"
    victim=$T/$kind/fs/some\ dir/victim
    head -c 400000 /dev/urandom >"$T/victim"
    cp "$T/victim" "$victim"
    for i in 1 2 3; do head -c 100000 /dev/urandom >"$T/$kind/fs/file$i"; done
    (cd "$T/$kind/fs" && sha256sum file? >"$T/sums")
    records "$victim" >"$T/before"
    check "$kind: scrub of a sound pool" cowbird pool scrub $kind
    cowbird_close $kind

    at=$(image find "$img" "$T/victim" 7 16384) || { not_ok "$kind: the record is not in the image"; continue; }
    quiet "flip" image flip "$img" "$at"
    # the command alone, no daemon
    if cowbird -f "$img" pool scrub $kind >"$T/out" 2>"$T/err"; then not_ok "$kind: scrub exits 0"; else ok "$kind: scrub exits $?"; fi
    check "$kind: scrub names the file: $(tail -n 1 "$T/err" | tr -s ' ')" grep -qE "^[[:space:]]*$kind/fs:/some dir/victim\$" "$T/err"
    check "$kind: and no other" [ "$(grep -c ':/' "$T/err")" = 1 ]

    quiet "mount" cowbird -f "$img" mount $kind "$T/$kind"
    sed '8s/.*/7 Input\/output error/' "$T/before" >"$T/want"
    records "$victim" >"$T/after"
    check "$kind: EIO for that record alone, all others right" diff "$T/want" "$T/after"
    check "$kind: other files read right" sh -c "cd '$T/$kind/fs' && sha256sum -c '$T/sums'"
    # through the daemon
    if cowbird pool scrub $kind >"$T/out" 2>"$T/err"; then not_ok "$kind: scrub of the mounted pool exits 0"; fi
    check "$kind: scrub of the mounted pool names the file" grep -qE "^[[:space:]]*$kind/fs:/some dir/victim\$" "$T/err"
    cowbird pool status $kind >"$T/out" 2>&1
    check "$kind: status tells of errors" grep -qiE 'error' "$T/out"
    # written over, it is whole again
    check "$kind: the record can be written over" dd if="$T/victim" of="$victim" bs=16384 skip=7 seek=7 count=1 conv=notrunc,fsync
    check "$kind: and then the file is whole" cmp "$T/victim" "$victim"
    check "$kind: scrub is clean" cowbird pool scrub $kind
    cowbird_close $kind

    # labels
    for l in 0 1 2 3; do
        others=$(echo 0 1 2 3 | tr -d "$l")
        # shellcheck disable=SC2086 # words
        quiet "garble" image garble "$img" $others
        quiet "mount" cowbird -f "$img" mount $kind "$T/$kind"
        check "$kind: label $l alone is enough" sh -c "cd '$T/$kind/fs' && sha256sum -c '$T/sums'"
        echo $l >"$T/$kind/fs/note$l"
        cowbird_close $kind
    done
    if [ $kind = openzfs ]; then
        need zdb
        zdb -l "$img" >"$T/labels" 2>&1
        check "four labels are there again" grep -q 'labels = 0 1 2 3' "$T/labels"
        check "zdb agrees" zdb_clean "$img" $kind
    fi
done
finish
