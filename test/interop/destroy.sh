#!/bin/bash
# Bookmarks, and what destroy says it gives back, through the commands: once on a closed pool, once on a mounted one. zdb judges.
# test:
# shellcheck source=peers.sh
. "$(dirname "$0")/peers.sh"
need cowbird fuse zdb

used() { cowbird get -Hp -o value used "$1"; }
claim() { check "$1" [ "$2" = "$3" ]; }
refused() { local what=$1 words=$2; shift 2; if cowbird "$@" >"$T/out" 2>&1; then not_ok "$what: exits 0"; else check "$what" grep -q "$words" "$T/out"; fi; }

cowbird_pool p 128M -o compatibility=openzfs
for how in closed mounted; do
    fs=p/$how
    quiet "create" cowbird create "$fs"
    for i in 1 2 3 4; do
        head -c 300000 /dev/urandom >"$T/p/$how/f$i"
        head -c 200000 /dev/urandom >"$T/p/$how/same"
        quiet "snapshot" cowbird snapshot "$fs@$i"
    done
    [ $how = closed ] && quiet "unmount" cowbird unmount p
    check "$how: bookmark of a snapshot" cowbird bookmark "$fs@2" "$fs#two"
    check "$how: and of a bookmark, in short" cowbird bookmark "$fs#two" '#copy'
    refused "$how: a name is given once" 'bookmark exists' bookmark "$fs@3" "$fs#two"
    refused "$how: a source must be there" 'does not exist' bookmark "$fs@9" "$fs#nine"
    claim "$how: list -t bookmark" "$(cowbird list -H -t bookmark -o name "$fs" | tr '\n' ' ')" "$fs#copy $fs#two "
    claim "$how: get guid" "$(cowbird get -Hp -o value guid "$fs#copy")" "$(cowbird get -Hp -o value guid "$fs@2")"
    # any set of snapshots: what is said is what comes back
    for set in 3 1,4 2; do
        said=$(cowbird destroy -nvp "$fs@$set" | sed -n 's/^reclaim\t//p')
        before=$(used "$fs")
        check "$how: destroy @$set" cowbird destroy "$fs@$set"
        claim "$how: @$set gave back $said bytes" "$((before - $(used "$fs")))" "$said"
    done
    check "$how: the bookmark outlives its snapshot" cowbird get guid "$fs#two"
    check "$how: destroy of a bookmark" cowbird destroy "$fs#two"
    refused "$how: it is gone" 'does not exist' destroy "$fs#two"
    said=$(cowbird destroy -nvp "$fs" | sed -n 's/^reclaim\t//p')
    claim "$how: all of a file system comes back" "$said" "$(used "$fs")"
    if [ $how = closed ]; then
        check "zdb agrees, with a bookmark" zdb_clean "$T/p.img" p
        quiet "mount" cowbird mount p "$T/p"
    fi
done
check "destroy of file systems with bookmarks" sh -c "'$COWBIRD' destroy p/closed && '$COWBIRD' destroy p/mounted"
claim "nothing is left to be freed" "$(cowbird pool get -Hp -o value freeing p) $(cowbird pool get -Hp -o value leaked p)" "0 0"

# Empty buckets of deadlists name one object; the feature counts them. zdb lists the buckets.
quiet "create" cowbird create p/many
for i in $(seq 20); do
    head -c 100000 /dev/urandom >"$T/p/many/f$((i % 3))"
    quiet "snapshot" cowbird snapshot "p/many@$i"
done
check "clone, promote, destroy of some" sh -c "'$COWBIRD' clone p/many@10 p/twin && '$COWBIRD' promote p/twin &&
    '$COWBIRD' destroy p/twin@5,7 && '$COWBIRD' destroy p/many@15"
cowbird_close p
mos() { zdb -e -p "$(pool_dir "$T/p.img")" -dddd p "$@" 2>"$T/err"; }
key() { sed -n "s/^.*$1 = \([0-9]*\).*/\1/p"; }
empty=$(mos 1 | key empty_bpobj)
count=$(mos "$(mos 1 | key features_for_write)" | key com.delphix:empty_bpobj)
claim "$count buckets share an empty list" "$(mos | grep -cE "mintxg [0-9]+ -> obj $empty *$")" "$count"
check "and they are many" [ "$count" -gt 100 ]
check "zdb agrees" zdb_clean "$T/p.img" p
finish
