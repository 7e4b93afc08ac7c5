#!/usr/bin/env python3
"""Fills a file system and knows what it was promised.

  filler.py fill SEED DIR LOG     files of random sizes until ENOSPC. Each that was written and closed without an error goes to LOG
                                  ("NAME SHA256"), fsynced ones at once, the others when syncfs has returned. Exits 0 after ENOSPC
                                  (or EDQUOT) and 1 after any other error; prints which call said it
  filler.py check DIR LOG...      every file of the logs is there, whole; every other can be read
  filler.py small SEED DIR N      N files of 512 to 4096 bytes, stopping at ENOSPC
  filler.py big SEED FILE MIB     one large file of records of 128 KiB, fsynced at every 16; stops at ENOSPC. Prints how many were
                                  acknowledged by fsync, and the SHA-256 of those
"""
import ctypes
import errno
import hashlib
import os
import random
import sys

FULL = (errno.ENOSPC, errno.EDQUOT)


def write_file(path, data, sync):
    """Returns the name of the call that said the disk is full, or None."""
    call = "open"
    fd = -1
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        call = "write"
        done = 0
        while done < len(data):
            done += os.write(fd, data[done:done + 65536])
        call = "fsync"
        if sync:
            os.fsync(fd)
        call = "close"
        fd, old = -1, fd
        os.close(old)
    except OSError as e:
        if fd >= 0:
            try:
                os.close(fd)
            except OSError:
                pass
        if e.errno not in FULL:
            sys.exit("%s %s: %s" % (call, path, e.strerror))
        return call
    return None


def fill(seed, root, log):
    r = random.Random(seed)
    waiting = []
    out = open(log, "a", encoding="utf-8")
    for i in range(100000):
        name = "%s-%d" % (seed, i)
        data = r.randbytes(r.choice([1, 600, 4096, 70000, 131072, 500000, 1500000]))
        sync = r.randrange(3) == 0
        full = write_file(os.path.join(root, name), data, sync)
        if full:
            break
        entry = "%s %s\n" % (name, hashlib.sha256(data).hexdigest())
        if sync:
            out.write(entry)
            out.flush()
        else:
            waiting.append(entry)
    else:
        sys.exit("never full")
    fd = os.open(root, os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).syncfs(fd) == 0:
        out.writelines(waiting)
    out.close()
    print("%s: full at file %d, said %s" % (seed, i, full))


def check(root, *logs):
    bad = 0
    promised = {}
    for log in logs:
        with open(log, encoding="utf-8") as f:
            promised.update(x.split() for x in f)
    for name, digest in promised.items():
        try:
            with open(os.path.join(root, name), "rb") as f:
                data = f.read()
        except OSError as e:
            print("%s: %s" % (name, e.strerror))
            bad += 1
            continue
        if hashlib.sha256(data).hexdigest() != digest:
            print("%s: %d bytes, not what was written" % (name, len(data)))
            bad += 1
    for d, _, names in os.walk(root):
        for n in names:
            with open(os.path.join(d, n), "rb") as f:
                while f.read(1 << 20):
                    pass
    print("%d files promised, %d bad" % (len(promised), bad))
    sys.exit(bad != 0 or not promised)


def small(seed, root, n):
    r = random.Random(seed)
    for i in range(int(n)):
        if write_file(os.path.join(root, "s%d" % i), r.randbytes(r.randrange(512, 4097)), False):
            break
    print("%d small files" % i)


def big(seed, path, mib):
    r = random.Random(seed)
    digest = hashlib.sha256()
    acked = 0, digest.hexdigest()
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        for i in range(int(mib) * 8):
            data = r.randbytes(131072)
            os.pwrite(fd, data, i * 131072)
            digest.update(data)
            if i % 16 == 15:
                os.fsync(fd)
                acked = i + 1, digest.hexdigest()
        os.close(fd)
    except OSError as e:
        if e.errno not in FULL:
            raise
    print(*acked)


{"fill": fill, "check": check, "small": small, "big": big}[sys.argv[1]](*sys.argv[2:])
