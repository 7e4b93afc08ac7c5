# SPDX-License-Identifier: BSD-2-Clause
"""zdb_attrs.py - what the attributes of files are, by the mount and by zdb.

  zdb_attrs.py list DIR                what stat, readlink and the xattrs say: one line per file, by object number
  zdb_attrs.py compare LIST OBJECTS    OBJECTS: the output of `zdb -dddd POOL/FS`. Exit 1, and what differs.

Times in zdb's output are local and in whole seconds; it shows each object once, so does a list: hard links are one file.
"""
import json
import os
import re
import stat
import sys
import time

NUMBERS = {"uid": 10, "gid": 10, "mode": 8, "size": 10, "links": 10}


def attributes(path):
    st = os.lstat(path)
    a = {"uid": st.st_uid, "gid": st.st_gid, "mode": st.st_mode, "size": st.st_size, "links": st.st_nlink,
         "mtime": int(st.st_mtime), "ctime": int(st.st_ctime)}
    if stat.S_ISLNK(st.st_mode):
        a["target"] = os.readlink(path)
    if stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
        a["rdev"] = os.major(st.st_rdev) << 20 | os.minor(st.st_rdev)
    a["xattrs"] = sorted(os.listxattr(path, follow_symlinks=False))
    return st.st_ino & ((1 << 48) - 1), a


def listing(top):
    files = dict([attributes(top)])
    parents = {}
    for folder, dirs, names in os.walk(top):
        dirs[:] = [d for d in dirs if d != ".zfs"]
        here = os.lstat(folder).st_ino & ((1 << 48) - 1)
        for name in dirs + names:
            number, a = attributes(os.path.join(folder, name))
            files[number] = a
            if stat.S_ISDIR(a["mode"]): # a file's parent is any that it has or had a name in
                parents.setdefault(number, []).append(here)
    for number, above in parents.items():
        files[number]["parents"] = above
    return files


def zdb_objects(path):
    objects, now, lines = {}, None, iter(open(path, errors="surrogateescape"))
    for line in lines:
        line = line.rstrip("\n")
        if re.match(r"\s+Object\s+lvl", line):
            now = {"xattrs": []}
            objects[int(next(lines).split()[0])] = now
        elif now is not None and line.startswith("\t\t") and now.get("in_xattrs"):
            now["xattrs"].append(line[2:].split(" =")[0])
        elif now is not None and re.match(r"\t([\w ]+):?\s+\S", line):
            key, value = line.strip().split(None, 1)
            now["in_xattrs"] = line.startswith("\tSA xattrs:")
            if key in NUMBERS or key in ("parent", "xattr"):
                now[key] = int(value, NUMBERS.get(key, 10))
            elif key == "rdev":
                now[key] = int(value, 16)
            elif key in ("mtime", "ctime"):
                now[key] = int(time.mktime(time.strptime(value)))
            elif key == "target":
                now[key] = value
    return objects


def compare(files, objects):
    bad = 0
    for number, a in sorted((int(k), v) for k, v in files.items()):
        z = objects.get(number)
        if z is None:
            print("object %d: zdb does not show it" % number)
            bad += 1
            continue
        for key, value in a.items():
            if key == "parents":
                same = z.get("parent") in value
            elif key == "xattrs": # those in directory form are objects of their own
                same = sorted(z["xattrs"]) == value or ("xattr" in z and set(z["xattrs"]) <= set(value))
            else:
                same = z.get(key) == value
            if not same:
                print("object %d: %s: %r, zdb %r" % (number, key, value, z.get("parent" if key == "parents" else key)))
                bad += 1
    print("%d files compared" % len(files))
    return 1 if bad or len(files) < 10 else 0


if sys.argv[1] == "list":
    json.dump(listing(sys.argv[2]), sys.stdout)
else:
    sys.exit(compare(json.load(open(sys.argv[2])), zdb_objects(sys.argv[3])))
