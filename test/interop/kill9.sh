#!/usr/bin/env bash
# Nothing acknowledged is lost: the daemon is killed with -9 at random moments under load; afterwards the pool opens,
# every file that was fsynced is there whole, every snapshot and receive that was acknowledged too, and nothing leaked.
#
# A writer appends "name sha256" to a log outside the pool after each fsync returned; the log is what must be there.
# test: 1 50
# soak: 1 500, 2 500
SEED=${1:-${SEED:-1}}
ROUNDS=${2:-25}
# shellcheck source=peers.sh
. "$(dirname "$0")/peers.sh"
need cowbird fuse zdb
RANDOM=$SEED

cowbird_pool tank 4G -o compatibility=openzfs
quiet "create" cowbird create tank/a
quiet "create" cowbird create tank/src
quiet "source" tree make "$SEED" "$T/tank/src"
quiet "snapshot" cowbird snapshot tank/src@1
send_to "$T/src.zs" tank/src@1
tree list "$T/tank/src" >"$T/src.list"
: >"$T/acked"

# writer ROUND: new files, overwrites and renames, each fsynced (file and directory) before it is logged; until killed.
cat >"$T/writer.py" <<'PY'
import hashlib, os, random, sys
root, log, tag = sys.argv[1], sys.argv[2], sys.argv[3]
r = random.Random(tag)
out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
os.chdir(root) # from here on inside the mount, or nowhere: on a slow machine the kill can come before this
if os.fstat(out).st_dev == os.stat(".").st_dev:
    sys.exit("not mounted (any more)")
root = "."
os.makedirs(root + "/w" + tag, exist_ok=True)
d = os.open(root + "/w" + tag, os.O_RDONLY)
i = 0
while True:
    i += 1
    name = "w%s/%d" % (tag, i)
    data = r.randbytes(r.choice([1, 500, 5000, 131072, 700000]))
    fd = os.open(root + "/" + name, os.O_RDWR | os.O_CREAT, 0o644)
    os.write(fd, data[:len(data) // 2])
    if r.randrange(3) == 0:
        os.fsync(fd)
    os.pwrite(fd, data, 0)
    os.fsync(fd)
    os.close(fd)
    if r.randrange(4) == 0:
        os.rename(root + "/" + name, root + "/" + name + "r")
        name += "r"
    os.fsync(d)
    os.write(out, ("file %s %s\n" % (name, hashlib.sha256(data).hexdigest())).encode())
PY

# administrator ROUND: snapshots, receives and destroys, each logged when the command has returned 0; until killed.
administrator() {
    local i
    for ((i = 1; ; i++)); do
        cowbird snapshot "tank/a@s$1-$i" && echo "snap tank/a@s$1-$i" >>"$T/acked"
        cowbird receive "tank/r$1-$i" <"$T/src.zs" && echo "tree r$1-$i" >>"$T/acked"
        [ $((i % 3)) = 0 ] || continue
        echo "going tank/a@s$1-$((i - 1))" >>"$T/acked" # from here on it may be there or not
        cowbird destroy "tank/a@s$1-$((i - 1))"
    done >/dev/null 2>&1
}

# verify: everything in the log of acknowledged things is there, from line FROM on.
cat >"$T/verify.py" <<'PY'
import hashlib, sys
root, log, names, start = sys.argv[1], sys.argv[2], set(open(sys.argv[3]).read().split()), int(sys.argv[4])
bad, going = [], {l.split()[1] for l in open(log) if l.startswith("going ")}
for l in list(open(log))[start:]:
    kind, name, *rest = l.split() + [""]
    if kind == "file":
        try:
            good = hashlib.sha256(open(root + "/" + name, "rb").read()).hexdigest() == rest[0]
        except OSError as e:
            good = False
            name += " (%s)" % e.strerror
    elif kind == "snap":
        good = name in names or name in going
    elif kind == "tree":
        good = "tank/" + name in names
    else:
        continue
    if not good:
        bad.append(kind + " " + name)
print("lost:", *bad[:10], sep="\n  ")
sys.exit(1 if bad else 0)
PY

before=0
for ((round = 1; round <= ROUNDS; round++)); do
    begun=$(wc -l <"$T/acked")
    python3 "$T/writer.py" "$T/tank/a" "$T/acked" "$round" >/dev/null 2>&1 &
    writer=$!
    administrator "$round" &
    admin=$!
    sleep "0.$(printf %03d $((RANDOM % 1000)))$((RANDOM % 10))"
    cowbird_crash "$T/tank"
    kill -9 $admin $writer 2>/dev/null
    wait $admin $writer 2>/dev/null
    cowbird_crash "$T/tank" # a command of the administrator may have opened the pool by itself meanwhile
    quiet "round $round: the pool opens after the kill" cowbird mount tank "$T/tank"
    cowbird list -H -o name -t filesystem,snapshot -r tank >"$T/names" 2>"$T/.out" || { failed "round $round: list"; finish; }
    # what this round and the one before acknowledged; from time to time everything
    from=$((round % 10 == 0 || round == ROUNDS ? 0 : before))
    quiet "round $round: what was acknowledged is there" python3 "$T/verify.py" "$T/tank/a" "$T/acked" "$T/names" $from
    before=$begun
    last=$(grep '^tree ' "$T/acked" | tail -n 1 | cut -d' ' -f2)
    if [ -n "$last" ]; then
        tree list "$T/tank/$last" >"$T/.r"
        quiet "round $round: a finished receive is whole" tree diff "$T/src.list" "$T/.r"
    fi
    # What unfinished receives left, and old ones, go away, so that the pool does not fill.
    # shellcheck disable=SC2013 # names without blanks
    for fs in $(grep -o "^tank/r$((round - 1))-[0-9]*$" "$T/names" | sort -u); do
        quiet "destroy $fs" cowbird destroy -r "$fs"
        sed -i "s|^tree ${fs#tank/}$|gone|" "$T/acked"
    done
    if [ $((round % 10)) = 0 ]; then
        quiet "round $round: scrub" cowbird pool scrub -w tank
        cowbird_close tank
        quiet "round $round: zdb" zdb_clean "$T/tank.img" tank
        quiet "round $round: import" cowbird pool import -d "$T" tank
        quiet "round $round: mount" cowbird mount tank "$T/tank"
    fi
done
ok "$ROUNDS kills: $(grep -c '^file' "$T/acked") files fsynced, $(grep -c '^snap' "$T/acked") snapshots, none lost"

cowbird pool status tank >"$T/status" 2>&1
check "scrub found nothing" grep -q 'No known data errors' "$T/status"
cowbird_close tank
check "zdb after the last kill" zdb_clean "$T/tank.img" tank
finish
