#!/usr/bin/env python3
"""The manifests that come with the stored streams, and what a mount says.

  manifest.py diff WANT DIR       DIR has exactly the files of manifest WANT; exits 1 and shows the first differences
  manifest.py xattrs DIR          the files xa10 .. xa3000 have their xattrs
  manifest.py volume DUMP STREAM  SHA-256 of object 1 as the WRITE records of STREAM give it (DUMP: streamtool dump)

A directory's size and links are the file system's own business; a manifest cuts a symlink's target at 70 characters and leaves
names as they are, a line each.
"""
import hashlib
import os
import re
import stat
import sys


def line(root, rel):
    path = os.path.join(root, rel)
    s = os.lstat(path)
    content = "-"
    if stat.S_ISREG(s.st_mode):
        digest = hashlib.sha256()
        with open(path, "rb") as f:
            for block in iter(lambda: f.read(1 << 20), b""):
                digest.update(block)
        content = digest.hexdigest()
    elif stat.S_ISLNK(s.st_mode):
        content = "->" + os.readlink(path)[:70]
    return normal("%06o %d:%d links=%d size=%d mtime=%d.%09d %s %s" % (
        s.st_mode, s.st_uid, s.st_gid, s.st_nlink, s.st_size, s.st_mtime_ns // 10**9, s.st_mtime_ns % 10**9,
        content, rel))


def normal(text):
    if text.startswith("04"):
        text = re.sub(r"links=\d+ size=\d+", "links=- size=-", text, count=1)
    return text


def diff(want, root):
    with open(want, encoding="utf-8", errors="surrogateescape") as f:
        wanted = sorted(normal(x.rstrip("\n")) for x in f)
    got = [line(root, ".")]
    for d, dirs, files in os.walk(root, onerror=sys.exit):
        got += [line(root, os.path.relpath(os.path.join(d, n), root)) for n in dirs + files]
    got.sort()
    missing, extra = set(wanted) - set(got), set(got) - set(wanted)
    for x in sorted(missing)[:10]:
        print("missing:", x)
    for x in sorted(extra)[:10]:
        print("instead:", x)
    return got != wanted


def xattrs(root):
    bad = False
    for n in (10, 100, 1000, 3000):
        path = os.path.join(root, "xa%d" % n)
        have = {k: len(os.getxattr(path, k)) for k in os.listxattr(path)}
        if have != {"user.b": 1, "user.test": n} or os.getxattr(path, "user.b") != b"2":
            print(path, have)
            bad = True
    return bad


def volume(dump, stream):
    data = bytearray()
    with open(dump, encoding="utf-8") as f, open(stream, "rb") as s:
        for x in f:
            m = re.match(r"\d+ @(\d+) WRITE object 1 type \d+ offset (\d+) length (\d+) compression 0 ", x)
            if m:
                at, off, n = map(int, m.groups())
                s.seek(at + 312)
                data.extend(bytes(max(0, off + n - len(data))))
                data[off:off + n] = s.read(n)
    data.extend(bytes((16 << 20) - len(data)))
    print(hashlib.sha256(data).hexdigest())
    return False


sys.exit({"diff": diff, "xattrs": xattrs, "volume": volume}[sys.argv[1]](*sys.argv[2:]))
