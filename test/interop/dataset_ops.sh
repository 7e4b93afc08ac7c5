#!/usr/bin/env bash
# promote, rename, rollback, hold, release, destroy -d on a mounted and on a closed pool: what the commands say, what the mount shows
# right after, and zdb -bcc in the end. While a file system is rolled back programs read and write it: nobody sees two states at once.
# test: mounted, closed
# soak: mounted 50
MODE=${1:-mounted}
ROUNDS=${2:-8}
# shellcheck source=peers.sh
. "$(dirname "$0")/peers.sh"
need cowbird fuse zdb

# says WHAT EXIT TEXT COMMAND...: it ends so, and TEXT is in what it prints.
says() {
    local what=$1 want=$2 text=$3 rc=0
    shift 3
    "$@" >"$T/.out" 2>&1 </dev/null || rc=$?
    if [ $rc = "$want" ] && { [ -z "$text" ] || grep -qF -- "$text" "$T/.out"; }; then ok "$what"; else not_ok "$what: exit $rc, $(head -c 300 "$T/.out")"; fi
}
shows() { [ "$MODE" = closed ] || check "$@"; }
datasets() { cowbird list -H -o name -t all | tr '\n' ' '; }
lists() { check "$1" test "$(datasets)" = "$2 "; }
# Files are written and looked at through a mount; in a closed pool it is there for that alone.
opened() { [ "$MODE" = mounted ] || quiet "mount" cowbird mount tank "$T/tank"; }
closed() { [ "$MODE" = mounted ] || quiet "unmount" cowbird unmount tank; }

cowbird_pool tank 1G -o compatibility=openzfs
quiet "create" cowbird create tank/a
quiet "create" cowbird create tank/a/sub
must "random tree" tree make 1 "$T/tank/a/sub"
echo one >"$T/tank/a/file" && echo same >"$T/tank/a/same"
quiet "snapshot" cowbird snapshot -r tank/a@1
tree list "$T/tank/a" >"$T/one"
quiet "change" tree change 2 "$T/tank/a/sub"
echo two >"$T/tank/a/file"
quiet "snapshot" cowbird snapshot tank/a@2
tree list "$T/tank/a" >"$T/two"
closed

# ---- holds and deferred destroy
says "hold" 0 "" cowbird hold -r keep tank/a@1
says "hold: again" 1 "tag already exists" cowbird hold keep tank/a@1
says "hold: no such snapshot" 1 "does not exist" cowbird hold keep tank/a@none
says "holds" 0 "tank/a/sub@1	keep" cowbird holds -rH tank/a@1
says "destroy: held" 1 "dataset is busy" cowbird destroy tank/a@1
says "userrefs" 0 "1" cowbird get -H -o value userrefs tank/a@1
says "release: no such tag" 1 "no such tag" cowbird release other tank/a@1
says "clone" 0 "" cowbird clone tank/a/sub@1 tank/k
says "property clones" 0 "tank/k" cowbird get -H -o value clones tank/a/sub@1
says "destroy -d" 0 "" cowbird destroy -d tank/a/sub@1
says "defer_destroy" 0 "on" cowbird get -H -o value defer_destroy tank/a/sub@1
says "release" 0 "" cowbird release -r keep tank/a@1
says "the clone keeps it" 0 "tank/a/sub@1" cowbird list -t snapshot tank/a/sub@1
says "destroy the clone" 0 "" cowbird destroy tank/k
says "the snapshot went along" 1 "does not exist" cowbird list tank/a/sub@1

# ---- rename
says "rename: below itself" 1 "descendant" cowbird rename tank/a tank/a/b
says "rename: another pool" 1 "same pool" cowbird rename tank/a pond/a
says "rename: no parent" 1 "does not exist" cowbird rename tank/a tank/x/y
says "rename: taken" 1 "already exists" cowbird rename tank/a tank/a
[ "$MODE" = mounted ] && exec 5<"$T/tank/a/file"
says "rename -p" 0 "" cowbird rename -p tank/a tank/x/y
shows "the tree is there under its new name" test -f "$T/tank/x/y/file"
shows "and gone under the old one" test ! -e "$T/tank/a"
[ "$MODE" = mounted ] && check "an open file did not notice" test "$(cat <&5)" = two
exec 5<&-
says "rename snapshots" 0 "" cowbird rename -r tank/x/y@2 @zwei
says "rename snapshots: another file system" 1 "same dataset" cowbird rename tank/x/y@1 tank/x@1
shows "the snapshot under its new name" test -f "$T/tank/x/y/.zfs/snapshot/zwei/file"
says "rename back" 0 "" cowbird rename tank/x/y tank/a
lists "all names are right" "tank tank/a tank/a@1 tank/a@zwei tank/a/sub tank/x"
says "rename" 0 "" cowbird rename tank/a@zwei tank/a@2

# ---- promote
says "promote: no clone" 1 "not a cloned filesystem" cowbird promote tank/a
quiet "clone" cowbird clone tank/a@1 tank/c
quiet "snapshot" cowbird snapshot tank/c@1
says "promote: names meet" 1 "conflicting snapshot '1'" cowbird promote tank/c
quiet "destroy" cowbird destroy tank/c@1
[ "$MODE" = mounted ] && quiet "snapshot is mounted" ls "$T/tank/a/.zfs/snapshot/1/"
says "promote" 0 "" cowbird promote tank/c
says "origin" 0 "tank/c@1" cowbird get -H -o value origin tank/a
shows "the snapshot is the clone's" test "$(cat "$T/tank/c/.zfs/snapshot/1/file" 2>&1)" = one
shows "and no longer the other's" test ! -e "$T/tank/a/.zfs/snapshot/1"
lists "the snapshots have moved" "tank tank/a tank/a@2 tank/a/sub tank/c tank/c@1 tank/x"
says "promote back" 0 "" cowbird promote tank/a
lists "and back" "tank tank/a tank/a@1 tank/a@2 tank/a/sub tank/c tank/x"

# ---- rollback
says "rollback: younger snapshots" 1 "use '-r'" cowbird rollback tank/a@1
quiet "clone" cowbird clone tank/a@2 tank/c2
says "rollback -r: clones of younger snapshots" 1 "use '-R'" cowbird rollback -r tank/a@1
opened
rm -f "$T/tank/a/same" && echo more >"$T/tank/a/more" && echo three >"$T/tank/a/file"
closed
says "rollback" 0 "" cowbird rollback tank/a@2
opened
quiet "change once more" tree change 3 "$T/tank/a"
closed
says "rollback -R" 0 "" cowbird rollback -R tank/a@1
lists "what was younger is gone" "tank tank/a tank/a@1 tank/a/sub tank/c tank/x"
opened
check "the state of the snapshot" test "$(cat "$T/tank/a/file" "$T/tank/a/same" | tr '\n' ' ')" = "one same "
check "and nothing else" test "$(find "$T/tank/a" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort | tr '\n' ' ')" = "file same sub "

# ---- while programs are at it
if [ "$MODE" = mounted ]; then
    check "$ROUNDS rollbacks under readers, writers and maps: no file of two states" \
        timeout 120 python3 - "$T/tank/a" "$ROUNDS" "$COWBIRD" <<'PY'
import errno, mmap, os, subprocess, sys, threading, time
top, rounds, cowbird = sys.argv[1], int(sys.argv[2]), sys.argv[3]
SIZE, gone, bad, stop = 300000, (errno.ESTALE, errno.ENOENT, errno.EIO), [], False
def put(name, c, size=SIZE):
    fd = os.open(os.path.join(top, name), os.O_WRONLY | os.O_CREAT, 0o644)
    os.pwrite(fd, c * size, 0); os.ftruncate(fd, size); os.close(fd)
for i in range(6):
    put(f"f{i}", b"A")
subprocess.run([cowbird, "snapshot", "tank/a@live"], check=True)
def reader(n):
    # Everything one descriptor gives is A, until it is stale, or what a writer wrote over it in between: never other bytes.
    while not stop:
        try:
            fd = os.open(os.path.join(top, f"f{n}"), os.O_RDONLY)
            try:
                for k in range(6):
                    d = os.pread(fd, 70000, (k * 61007) % SIZE)
                    if len(set(d)) > 1 or d[:1] not in (b"", b"A", b"B"):
                        bad.append(f"f{n}: {sorted(set(d))}")
                    time.sleep(0.002)
            finally:
                os.close(fd)
        except OSError as e:
            if e.errno not in gone: bad.append(f"reader: {e}")
def checker(n):
    while not stop: # a directory never lists what cannot be, names that are found are found again
        try:
            for name in os.listdir(top):
                if name not in ("file", "same", "sub", "late") and name[0] != "f": bad.append(f"entry {name}")
        except OSError as e:
            if e.errno not in gone: bad.append(f"list: {e}")
threads = [threading.Thread(target=reader, args=(i,)) for i in range(4)] + [threading.Thread(target=checker, args=(0,))]
for t in threads: t.start()
for r in range(rounds):
    for i in range(4):    # whole new files under old names: each inode has one letter
        put(f"f{i}.new", b"B", SIZE + 1000 * r)
        os.rename(os.path.join(top, f"f{i}.new"), os.path.join(top, f"f{i}"))
    put("f4", b"C", SIZE // 2)                       # in place, shorter
    put("late", b"L", 5000)
    held, same = os.open(os.path.join(top, "f4"), os.O_RDONLY), os.open(os.path.join(top, "f5"), os.O_RDONLY)
    m = mmap.mmap(same, SIZE, prot=mmap.PROT_READ)
    put("f4", b"D", SIZE // 3)                       # dirty pages, perhaps
    subprocess.run([cowbird, "rollback", "tank/a@live"], check=True)
    for i in range(6):
        with open(os.path.join(top, f"f{i}"), "rb") as f:
            d = f.read()
        if d != b"A" * SIZE: bad.append(f"round {r}: f{i} has {len(d)} bytes of {sorted(set(d))}")
        if os.stat(os.path.join(top, f"f{i}")).st_size != SIZE: bad.append(f"round {r}: f{i} size")
    if os.path.exists(os.path.join(top, "late")): bad.append("late is still there")
    try:
        d = os.pread(held, 1000, 0)
        bad.append(f"a changed file reads on: {d[:1]}")
    except OSError as e:
        if e.errno != errno.ESTALE: bad.append(f"changed file: {e}")
    if os.pread(same, SIZE, 0) != b"A" * SIZE or m[:] != b"A" * SIZE: bad.append("an unchanged file does not go on")
    m.close(); os.close(held); os.close(same)
stop = True
for t in threads: t.join()
for b in bad[:10]: print(b)
sys.exit(bool(bad))
PY
    quiet "volume" cowbird create -V 4M tank/v
    head -c 4M < <(yes one) >"$T/v1"
    head -c 4M < <(yes two) >"$T/v2"
    quiet "write a volume" dd "if=$T/v1" "of=$T/tank/v" bs=1M conv=notrunc
    quiet "snapshot of a volume" cowbird snapshot tank/v@1
    quiet "write a volume" dd "if=$T/v2" "of=$T/tank/v" bs=1M conv=notrunc
    quiet "read a volume" cmp "$T/v2" "$T/tank/v"
    says "rollback of a volume" 0 "" cowbird rollback tank/v@1
    check "shows at once" cmp "$T/v1" "$T/tank/v"
    quiet "rollback of the mount's root" cowbird snapshot tank@root
    echo new >"$T/tank/rootfile"
    says "rollback of the mount's root" 0 "" cowbird rollback tank@root
    check "shows at once" test ! -e "$T/tank/rootfile"
    check "and can be written" sh -c "echo again >'$T/tank/rootfile'"
fi
cowbird_close tank
check "zdb -bcc: every checksum verifies, nothing leaked, nothing owned twice" zdb_clean "$T/tank.img" tank
finish
