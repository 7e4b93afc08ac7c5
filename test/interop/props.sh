#!/usr/bin/env bash
# Properties, quotas, list, get, history and diff as commands, on a mounted and on a closed pool beside another pool: what they print, how they
# end, that a quota stops a writer, and what zdb reads of it: the history, and no leak.
# test: mounted, closed
MODE=${1:-mounted}
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
# prints WHAT TEXT COMMAND...: exactly this, and exit 0.
prints() {
    local what=$1 text=$2
    shift 2
    says "$what" 0 "" "$@"
    check "$what: the lines" test "$(cat "$T/.out")" = "$text"
}
opened() { [ "$MODE" = mounted ] || quiet "mount" cowbird mount tank "$T/tank"; }
closed() { [ "$MODE" = mounted ] || quiet "unmount" cowbird unmount tank; }

says "no datasets" 0 "no datasets available" cowbird list
cowbird_pool tank 512M -o compatibility=openzfs
quiet "second pool" cowbird pool create -s 128M pond "$T/pond.img"
for fs in tank/b tank/a-1 tank/a tank/a/c pond/x; do quiet "create" cowbird create "$fs"; done
quiet "snapshot" cowbird snapshot -r tank@2
quiet "snapshot" cowbird snapshot -r tank@1
closed

# ---- list: one table, zfs's order, each dataset once
prints "list" "pond pond/x tank tank/a tank/a-1 tank/a/c tank/b" sh -c "'$COWBIRD' list -H -o name | paste -sd ' '"
prints "list: two pools named" "pond/x tank/b" sh -c "'$COWBIRD' list -H -o name tank/b pond/x tank/b | paste -sd ' '"
prints "list: snapshots of one, by age" "tank/a@2 tank/a@1" sh -c "'$COWBIRD' list -H -o name -t snapshot tank/a | paste -sd ' '"
prints "list: snapshots below" "tank/a@2 tank/a@1 tank/a/c@2 tank/a/c@1" sh -c "'$COWBIRD' list -H -o name -t snapshot -r tank/a | paste -sd ' '"
prints "list: -t all is no -r" "tank/a" cowbird list -H -o name -t all tank/a
prints "list: depth" "tank tank/a tank/a-1 tank/b" sh -c "'$COWBIRD' list -H -o name -d 1 tank | paste -sd ' '"
prints "list: sorted down" "tank/b tank/a/c tank/a-1 tank/a tank pond/x pond" sh -c "'$COWBIRD' list -H -o name -S name | paste -sd ' '"
prints "list: a snapshot below nothing" "tank/a@1" cowbird list -H -o name -r tank/a@1
says "list: header once" 0 "" sh -c "[ \$('$COWBIRD' list | grep -c NAME) = 1 ]"
says "list: wrong type" 1 "operation not applicable to datasets of this type" cowbird list -t filesystem tank/a@1
says "list: unknown type" 2 "invalid type 'cat'" cowbird list -t cat
says "list: unknown column" 2 "invalid property 'cat'" cowbird list -o name,cat tank
says "list: unknown key" 2 "invalid property 'cat'" cowbird list -s cat tank
check "list: nothing before the refusal" sh -c "[ -z \"\$('$COWBIRD' list -o name,cat tank 2>/dev/null)\" ]"
says "list: one is missing, the other is shown" 1 "tank/b" cowbird list -o name tank/b tank/none
says "list: no such pool" 1 "cannot open 'none/x'" cowbird list none/x tank
says "list: none of this type" 0 "no datasets available" cowbird list -t volume
prints "pool list: one table" "pond tank" sh -c "'$COWBIRD' pool list -H -o name | paste -sd ' '"
prints "pool list: two named" "tank" sh -c "'$COWBIRD' pool list -o name tank pond | tail -1"
says "pool status: two named" 0 "pond" cowbird pool status tank pond
says "get: unknown source" 2 "invalid source 'cat'" cowbird get -s cat all tank
says "get: unknown field" 2 "invalid column name 'cat'" cowbird get -o cat all tank

# ---- set, inherit, received values
says "set" 0 "" cowbird set compression=gzip-3 com.me:note=hello tank/a
prints "get: inherited" "tank/a/c	compression	gzip-3	-	inherited from tank/a" cowbird get -H -o all compression tank/a/c
prints "get: two pools" "pond	default tank/a	local" sh -c "'$COWBIRD' get -H -o name,source compression tank/a pond | paste -sd ' '"
says "snapshot property" 0 "" cowbird set com.me:why=before tank/a@1
prints "snapshot property shown" "before" cowbird get -H -o value com.me:why tank/a@1
says "snapshot -o" 0 "" cowbird snapshot -o com.me:why=taken tank/b@0
prints "it has it" "taken" cowbird get -H -o value com.me:why tank/b@0
says "snapshot -o: no other" 1 "user properties" cowbird snapshot -o atime=off tank/b@00
says "destroy" 0 "" cowbird destroy tank/b@0
says "snapshot: no other" 1 "snapshots" cowbird set atime=off tank/a@1
says "inherit: no such" 2 "invalid property" cowbird inherit cat tank/a
says "inherit: cannot" 1 "use 'cowbird set quota=none' to clear" cowbird inherit quota tank/a
says "inherit -r" 0 "" cowbird inherit -r compression tank/a
prints "inherited" "on	default" cowbird get -H -o value,source compression tank/a
send_to "$T/p.zs" -p tank/a@1
receive_from "$T/p.zs" tank/r
says "receive: a promise that cannot be kept" 1 "out of space" sh -c "'$COWBIRD' receive -o reservation=1T tank/s <'$T/p.zs'"
says "nothing is left of it" 1 "does not exist" cowbird list tank/s
receive_from "$T/p.zs" -o refquota=100M tank/s
prints "receive -o" "100M	local" cowbird get -H -o value,source refquota tank/s
prints "received" "hello	received" cowbird get -H -o value,source com.me:note tank/r
says "a local value hides it" 0 "" cowbird set com.me:note=mine tank/r
prints "both" "mine	hello	local" cowbird get -H -o value,received,source com.me:note tank/r
says "inherit" 0 "" cowbird inherit com.me:note tank/r
prints "given up" "-	hello	-" cowbird get -H -o value,received,source com.me:note tank/r
says "inherit -S" 0 "" cowbird inherit -S com.me:note tank/r
prints "back" "com.me:note" cowbird get -H -o property -s received all tank/r

# ---- quotas and reservations
says "quota" 0 "" cowbird set quota=20M refquota=10M tank/a
says "quota too small" 1 "size is less than current used or reserved space" cowbird set quota=1K tank/a
says "reservation too large" 1 "size is greater than available space" cowbird set reservation=2G tank/b
says "reservation" 0 "" cowbird set reservation=50M tank/b
says "create with quota" 0 "" cowbird create -o quota=30M -o refreservation=8M tank/q
prints "get" "30M	local" cowbird get -H -o value,source quota tank/q
prints "used: all that is promised" "8388608" cowbird get -Hp -o value used tank/q
says "create with too much" 1 "out of space" cowbird create -o reservation=4G tank/w
says "bad number" 1 "bad numeric value" cowbird set quota=many tank/a
prints "the parts are the whole" "ok" sh -c "'$COWBIRD' list -H -p -o used,usedsnap,usedds,usedrefreserv,usedchild tank | awk '{ print \$1 == \$2 + \$3 + \$4 + \$5 ? \"ok\" : \$0 }'"
opened
check "df" sh -c "[ \$(df -k --output=size '$T/tank/a' | tail -1) = 10240 ]"
head -c 14M /dev/urandom >"$T/tank/a/big" 2>"$T/.err"
sync "$T/tank/a/big" 2>>"$T/.err"
check "the quota stops a writer, and says why" grep -qi "quota" "$T/.err"
rm -f "$T/tank/a/big"
says "more" 0 "" cowbird set refquota=none tank/a
check "at once" sh -c "head -c 14M /dev/urandom >'$T/tank/a/big' && sync '$T/tank/a/big'"
closed

# ---- diff
opened
rm "$T/tank/a/big" && mkdir "$T/tank/b/dir" && echo 1 >"$T/tank/b/one" && echo 2 >"$T/tank/b/two words"
quiet "snapshot" cowbird snapshot tank/b@3
mv "$T/tank/b/one" "$T/tank/b/dir/uno" && echo more >>"$T/tank/b/two words" && ln -s x "$T/tank/b/link"
dir=$T/tank/b
closed
[ "$MODE" = mounted ] || dir=/tank/b
prints "diff" "$(printf 'M\t/\t%s/\nM\t/\t%s/dir\nR\tF\t%s/one -> %s/dir/uno\nM\tF\t%s/two\\0040words\n+\t@\t%s/link' "$dir" "$dir" "$dir" "$dir" "$dir" "$dir")" \
    cowbird diff -F tank/b@3
prints "diff -Hh" "$(printf 'R\t%s/one\t%s/dir/uno\nM\t%s/two words' "$dir" "$dir" "$dir")" sh -c "'$COWBIRD' diff -Hh tank/b@3 tank/b | grep -e one -e two"
says "diff: not earlier" 1 "earlier" cowbird diff tank/b@3 tank/b@1
says "diff: no snapshot" 1 "snapshot" cowbird diff tank/b
prints "diff leaves nothing" "tank/b@2 tank/b@1 tank/b@3" sh -c "'$COWBIRD' list -H -o name -t snapshot tank/b | paste -sd ' '"

# ---- history
says "history" 0 "cowbird set quota=20M refquota=10M tank/a" cowbird pool history tank
cp "$T/.out" "$T/history"
check "history: nothing that failed" sh -c "! grep -q 'quota=1K' '$T/history'"
check "history: nothing that only looked" sh -c "! grep -q -e ' list' -e ' diff' '$T/history'"
check "history: what was received" grep -q "cowbird receive tank/r" "$T/history"
says "history -i" 0 "finish receiving tank/r" cowbird pool history -i tank
says "history -l" 0 "user $(id -u)" cowbird pool history -l tank
says "dry run" 0 "" cowbird destroy -nv tank/q
check "history: no dry run" sh -c "! '$COWBIRD' pool history tank | grep -q 'destroy -nv'"
cowbird_close_any() { [ "$MODE" = closed ] || quiet "unmount" cowbird unmount tank; quiet "export" cowbird -f "$T/tank.img" pool export tank; }
cowbird_close_any
zdb -e -p "$(pool_dir "$T/tank.img")" -h tank >"$T/.zdb" 2>&1
check "zdb -h reads it" grep -q "cowbird set quota=20M refquota=10M tank/a" "$T/.zdb"
check "zdb -h: internal events" grep -q "receive" "$T/.zdb"
check "zdb -bcc: every checksum verifies, nothing leaked, nothing owned twice" zdb_clean "$T/tank.img" tank
finish
