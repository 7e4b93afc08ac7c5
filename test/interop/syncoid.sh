#!/usr/bin/env bash
# syncoid, which knows nothing of Cowbird, replicates from one pool to another: it finds the commands as zfs and zpool, and all it
# calls them for (get, list, snapshot, send -nvP, send -I, receive -s -F, bookmark, destroy, rollback) must work and print what it parses.
# test:
# shellcheck source=peers.sh
. "$(dirname "$0")/peers.sh"
need cowbird fuse root syncoid

mkdir -p "$T/bin"
ln -s "$(readlink -f "$COWBIRD")" "$T/bin/zfs"
ln -s "$(readlink -f "$COWBIRD")" "$T/bin/zpool"
# In the place of pv, which shows progress: it lets through what $T/cut says, once, as a line that breaks.
cat >"$T/bin/pv" <<EOS
#!/bin/sh
[ -f "$T/cut" ] || exec cat
n=\$(cat "$T/cut"); rm "$T/cut"
exec head -c "\$n"
EOS
chmod +x "$T/bin/pv"
syncoid() { # what it warns of besides the programs that are not there is shown when the claim fails
    PATH="$T/bin:$PATH" PERL5LIB="$PEERS/syncoid/usr/share/perl5" timeout "$LIMIT" perl "$PEERS/syncoid/usr/sbin/syncoid" "$@"
}
sync_ok() { # WHAT ARGS...
    local what=$1
    shift
    check "$what" syncoid "$@" || return
    if grep -E 'CRITICAL|died|uninitialized|resume feature not available' "$T/.out"; then not_ok "$what: it complains"; fi
}
token() { cowbird get -H -o value receive_resume_token "$1"; }

cowbird_pool src 2G
cowbird_pool dst 2G
quiet "create" cowbird create src/a
quiet "create" cowbird create src/a/kid
quiet "tree" tree make "$SEED" "$T/src/a/files"
quiet "tree" tree make "$SEED.k" "$T/src/a/kid/files"
quiet "snapshot" cowbird snapshot src/a@before
quiet "change" tree change "$SEED" "$T/src/a/files"

sync_ok "the first time: a full stream, then one with every snapshot between" src/a dst/one
same "the same files" "$T/src/a/files" "$T/dst/one/files"
quiet "change" tree change "$SEED.2" "$T/src/a/files"
quiet "snapshot" cowbird snapshot src/a@mid
sync_ok "again: incremental" src/a dst/one
same "the same files" "$T/src/a/files" "$T/dst/one/files"
check "what came between is there, too" test -d "$T/dst/one/.zfs/snapshot/mid"
quiet "change of the target" sh -c "date >'$T/dst/one/mine'"
quiet "change" tree change "$SEED.3" "$T/src/a/files"
sync_ok "a target that was changed is rolled back" src/a dst/one
check "its change is gone" test ! -e "$T/dst/one/mine"
same "the same files" "$T/src/a/files" "$T/dst/one/files"

sync_ok "all file systems below" -r src/a dst/all
same "the child's files" "$T/src/a/kid/files" "$T/dst/all/kid/files"
quiet "change" tree change "$SEED.4" "$T/src/a/kid/files"
sync_ok "all, again, with -L -e -c" -r --sendoptions="L e c" src/a dst/all
same "the child's files" "$T/src/a/kid/files" "$T/dst/all/kid/files"

# the line breaks: the next run goes on where it broke
kept=$(cowbird list -H -o name -t snapshot -r src/a | grep '^src/a@' | tail -n 1 | sed 's/.*@//')
echo 1500000 >"$T/cut"
if syncoid --no-sync-snap src/a dst/cut >"$T/.out" 2>&1 </dev/null; then not_ok "a cut transfer is an error"; else ok "a cut transfer is an error"; fi
check "what came is kept" test "$(token dst/cut)" != -
sync_ok "the next run goes on" --no-sync-snap src/a dst/cut
cp "$T/.out" "$T/resumed"
check "it was resumed" grep -qi 'resuming' "$T/resumed"
check "nothing is left over" test "$(token dst/cut)" = -
same "the same files as in the source's last snapshot" "$T/src/a/.zfs/snapshot/$kept/files" "$T/dst/cut/files"

# bookmarks take the place of a snapshot that is gone at the source
quiet "bookmarked" syncoid --no-sync-snap --create-bookmark src/a/kid dst/kid
last=$(cowbird list -H -o name -t snapshot -r src/a/kid | tail -n 1)
quiet "destroy" cowbird destroy "$last"
quiet "change" tree change "$SEED.5" "$T/src/a/kid/files"
quiet "snapshot" cowbird snapshot src/a/kid@later
sync_ok "from a bookmark" --no-sync-snap src/a/kid dst/kid
same "the same files" "$T/src/a/kid/files" "$T/dst/kid/files"

check "scrub" cowbird pool scrub -w dst
cowbird_close src
cowbird_close dst
finish
