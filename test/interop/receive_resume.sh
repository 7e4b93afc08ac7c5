#!/usr/bin/env bash
# Receives that are cut off, by the stream's end and by kill -9 between txgs, go on from their token; into unmounted and mounted file
# systems, full and incremental; or are thrown away. OpenZFS's library reads the tokens, and zdb finds no leak.
# test: 1
SEED=${1:-${SEED:-1}}
# shellcheck source=peers.sh
. "$(dirname "$0")/peers.sh"
need cowbird fuse zdb

cowbird_pool tank 1G -o compatibility=openzfs
quiet "set" cowbird set atime=off tank # reading would change what is received into
quiet "create" cowbird create tank/src
quiet "tree" tree make "$SEED" "$T/tank/src"
head -c 6000000 /dev/urandom >"$T/tank/src/random"
quiet "snapshot" cowbird snapshot tank/src@1
tree list "$T/tank/src" >"$T/1.list"
quiet "change" tree change "$SEED" "$T/tank/src"
head -c 5000000 /dev/urandom >"$T/tank/src/random2"
quiet "snapshot" cowbird snapshot tank/src@2
tree list "$T/tank/src" >"$T/2.list"
send_to "$T/full.zs" tank/src@1
send_to "$T/inc.zs" -i @1 tank/src@2

token() { cowbird get -H -o value receive_resume_token "$1"; }

# What libzfs makes of a token: its object.
libzfs_object() {
    LD_LIBRARY_PATH=$OZ_LIBS python3 - "$1" "$OZ_LIBS" <<'PY'
import ctypes, glob, sys
load = lambda n: ctypes.CDLL(sorted(glob.glob(sys.argv[2] + "/" + n))[0], mode=ctypes.RTLD_GLOBAL)
nv, zfs = load("libnvpair.so.*"), load("libzfs.so.*")
zfs.zfs_send_resume_token_to_nvlist.restype = ctypes.c_void_p
zfs.zfs_send_resume_token_to_nvlist.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
nv.nvlist_lookup_uint64.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
handle, v = ctypes.create_string_buffer(1 << 16), ctypes.c_uint64()
l = zfs.zfs_send_resume_token_to_nvlist(handle, sys.argv[1].encode())
sys.exit(0 if l and nv.nvlist_lookup_uint64(l, b"object", ctypes.byref(v)) == 0 and v.value > 0 else 1)
PY
}

# go_on FS LIST: to the end; FS is then what the list says.
go_on() {
    local t
    t=$(token "$1")
    [ "$t" != - ] || return 1
    cowbird send -t "$t" >"$T/rest.zs" || return 1
    cowbird receive -s "$1" <"$T/rest.zs" || return 1
    [ "$(token "$1")" = - ] || return 1
    is_tree "$1" "$2"
}
is_tree() { tree list "$T/$1" >"$T/.is" && tree diff "$2" "$T/.is"; }

# The stream is cut, again and again.
for part in 30 70; do
    fs=tank/cut$part
    head -c $(($(stat -c %s "$T/full.zs") * part / 100)) "$T/full.zs" | cowbird receive -s "$fs" >/dev/null 2>&1
    check "libzfs reads the token of $fs" libzfs_object "$(token "$fs")"
    check "a full stream cut at $part % goes on" go_on "$fs" "$T/1.list"
    head -c $(($(stat -c %s "$T/inc.zs") * part / 100)) "$T/inc.zs" | cowbird receive -s "$fs" >/dev/null 2>&1
    check "an increment into a mounted one cut at $part % leaves it as it was" \
        is_tree "$fs" "$T/1.list"
    check "and goes on" go_on "$fs" "$T/2.list"
done

# The program dies in the middle, some txgs after the beginning.
for kind in full inc; do
    fs=tank/kill
    mkfifo "$T/pipe.$kind"
    cowbird receive -s $fs <"$T/pipe.$kind" >/dev/null 2>&1 &
    { head -c 4500000 "$T/$kind.zs"; sleep 7; } >"$T/pipe.$kind" &
    sleep 6.5
    cowbird_crash "$T/tank"
    wait
    cowbird mount tank "$T/tank" >/dev/null 2>&1
    list=$T/1.list
    [ $kind = inc ] && list=$T/2.list
    check "killed in the middle of a $kind stream: it goes on" go_on $fs "$list"
done

# Given up.
head -c 2000000 "$T/full.zs" | cowbird receive -s tank/gone >/dev/null 2>&1
check "receive -A throws it away" cowbird receive -A tank/gone
check "and it is gone" eval "! cowbird list tank/gone >/dev/null 2>&1"
receive_from "$T/full.zs" tank/gone2
head -c 2000000 "$T/inc.zs" | cowbird receive -s tank/gone2 >/dev/null 2>&1
check "destroy -r takes what was kept along" cowbird destroy -r tank/gone2

cowbird_close tank
check "no leak" zdb_clean "$T/tank.img" tank
finish
