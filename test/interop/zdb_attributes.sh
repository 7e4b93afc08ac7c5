#!/usr/bin/env bash
# zdb shows every attribute of our files as the mount does: owner, mode, size, links, parent, times, a symlink's target, a device's
# number, extended attributes in both forms. (Of version 4 it shows neither targets nor our device numbers.)
# test: 1, 2
SEED=${1:-${SEED:-1}}
# shellcheck source=peers.sh
. "$(dirname "$0")/peers.sh"
need cowbird fuse zdb
attrs() { timeout "$LIMIT" python3 "$TOP/test/support/zdb_attrs.py" "$@"; }

cowbird_pool tank 2G -o compatibility=openzfs
for fs in five dir; do
    opts=()
    [ $fs = dir ] && opts=(-o xattr=dir)
    quiet "create" cowbird create "${opts[@]}" tank/$fs
    quiet "tree" tree make "$SEED.$fs" "$T/tank/$fs" --narrow
    quiet "change" tree change "$SEED.$fs" "$T/tank/$fs" --narrow
    for n in 20 60 130 160 400 1000; do # around the bonus's end
        ln -s "$(head -c $n /dev/zero | tr '\0' x)" "$T/tank/$fs/link-$n"
        python3 -c 'import os, sys
n, f = int(sys.argv[1]), sys.argv[2]
open(f, "w").close()
os.setxattr(f, "user.x", b"v" * n)
os.chmod(f, 0o604)
os.mknod(f + "-dev", 0o60640, os.makedev(8, n))' $n "$T/tank/$fs/x-$n"
    done
    check "version 5" [ "$(cowbird get -H -o value version tank/$fs)" = 5 ]
    attrs list "$T/tank/$fs" >"$T/$fs.json"
done
cowbird_close tank
for fs in five dir; do
    zdb -e -p "$(pool_dir "$T/tank.img")" -dddd tank/$fs >"$T/objects" 2>&1
    check "zdb agrees with every attribute in $fs" attrs compare "$T/$fs.json" "$T/objects"
done
check "zdb -bcc" zdb_clean "$T/tank.img" tank
finish
