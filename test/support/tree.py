#!/usr/bin/env python3
"""A random directory tree with everything in it, and a canonical listing by which two trees are compared.

  tree.py make SEED DIR [--big] [--narrow]   build a random tree in DIR (made when missing)
  tree.py change SEED DIR [--narrow]         mutate it: overwrite, truncate, punch, rename, delete, replace, ...
  tree.py many N DIR                         a new directory of N entries, most of them empty files
  tree.py list DIR [--no-ns] [--no-xattr]
                                             one line per object, sorted by path
  tree.py diff A B                           compare two listings; exits 1 and shows the first differences

A line: mode uid gid nlink size mtime rdev sha256-or-target xattrs path. A directory's nlink and size are the file
system's own business and are printed as '-'; whether a range of zeros is a hole is not compared.
--narrow keeps times within 31 bits, all that zfs-fuse can show. TREE_TRUSTED=1 adds trusted.* xattrs.
As an ordinary user, what needs root (devices, owners, trusted.*) is left out.
"""
import contextlib
import ctypes
import errno
import hashlib
import os
import random
import socket
import stat
import sys

ROOT = os.geteuid() == 0
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.llistxattr.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]
LIBC.lgetxattr.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]
LIBC.llistxattr.restype = LIBC.lgetxattr.restype = ctypes.c_ssize_t
KB, MB = 1024, 1024 * 1024
NOW = 1700000000  # times are drawn around this, so that a tree depends on its seed alone


# ---- making -------------------------------------------------------------------------------------------------------

class Maker:
    """Random operations under one root. Every random choice comes from self.r, so a seed gives one tree."""

    def __init__(self, seed, root, narrow):
        self.narrow = narrow
        self.r = random.Random(seed)
        self.root = os.fsencode(root)
        self.pool = self.r.randbytes(MB)
        self.n = 0
        # FIFOs and devices with user.* xattrs are refused by Linux; symlinks too.
        self.can_xattr = True

    # -- small choices

    def name(self, prefix=b"f"):
        """Mostly short names, sometimes 255 bytes, UTF-8, or bytes that are no text at all."""
        self.n += 1
        tag = b"%s%d" % (prefix, self.n)
        kind = self.r.randrange(24)
        if kind == 0:
            return tag + b"-" * (255 - len(tag))
        if kind == 1:
            return tag + "-äöü-日本語-🐦".encode()
        if kind == 2:
            return tag + b" with space\tand 'quotes' \\ *?"
        if kind == 3:
            return tag + "é".encode() * ((255 - len(tag)) // 2)
        if kind == 4:
            return b"." + tag
        return tag

    def size(self):
        kind = self.r.randrange(20)
        if kind < 2:
            return 0
        if kind < 8:
            return self.r.randrange(1, 600)
        if kind < 13:
            return self.r.randrange(1, 20 * KB)
        if kind < 16:
            return self.r.choice([512, 4 * KB, 128 * KB, 256 * KB]) + self.r.choice([-1, 0, 1])
        if kind < 19:
            return self.r.randrange(1, 500 * KB)
        return self.r.randrange(MB, 5 * MB)

    def data(self, n):
        """Bytes that compress well, badly or not at all, taken from one random megabyte."""
        kind = self.r.randrange(4)
        if kind == 0:
            unit = b"line %d of a text that repeats\n" % self.r.randrange(1000)
            return (unit * (n // len(unit) + 1))[:n]
        if kind == 1:
            return bytes([self.r.randrange(1, 256)]) * n
        off = self.r.randrange(MB)
        out = self.pool[off:off + n]
        while len(out) < n:
            out += self.pool[:n - len(out)]
        if kind == 2 and n > 64:
            half = n // 2
            out = out[:half] + b"\0" * (n - half)
        return out

    def mtime(self):
        sec = NOW + self.r.randrange(-10 ** 8, 10 ** 7)
        if self.r.randrange(40) == 0:
            far = self.r.choice([0, 1, 2 ** 31 - 1, 2 ** 31 + 5, 2 ** 32 + 5, -5])
            sec = far if 0 <= far < 2 ** 31 or not self.narrow else sec
        return sec * 10 ** 9 + self.r.randrange(10 ** 9)

    # -- one object

    def finish(self, path, link=False):
        """Owner, mode, xattrs, then the times, which every earlier step would change."""
        r = self.r
        uid, gid = r.choice([0, 1, 1000, 65534, 100000]), r.choice([0, 5, 1000, 65534, 2 ** 31 - 2])
        mode = r.choice([0o644, 0o755, 0o600, 0o700, 0o444, 0o000, 0o4755, 0o2755, 0o1777, 0o6711, 0o666])
        if ROOT:
            os.chown(path, uid, gid, follow_symlinks=False)
        if not link:
            st = os.lstat(path)
            if stat.S_ISDIR(st.st_mode) or not ROOT:
                mode |= 0o700 if stat.S_ISDIR(st.st_mode) else 0o600
            os.chmod(path, mode)
        self.xattrs(path, link)
        when = self.mtime()
        os.utime(path, ns=(when, when), follow_symlinks=False)

    def xattrs(self, path, link):
        r = self.r
        if not self.can_xattr or r.randrange(4):
            return
        plain = not link and stat.S_IFMT(os.lstat(path).st_mode) in (stat.S_IFREG, stat.S_IFDIR)
        # A host's ext4 keeps one block of xattrs per object: never more than fits there, or trees would differ.
        room = 3000 - (used_by_xattrs(path) if plain else 0)
        for i in range(r.randrange(1, 4)):
            value = self.data(r.choice([0, 1, 10, 100, 1000, 2500]))
            if plain:
                name = r.choice(["user.a%d", "user.note.%d", "user.ü%d", "user." + "n" * 200 + "%d"]) % i
            elif ROOT and os.environ.get("TREE_TRUSTED") == "1":
                name = "trusted.t%d" % i
            else:
                return
            if plain and ROOT and os.environ.get("TREE_TRUSTED") == "1" and r.randrange(4) == 0:
                name = "trusted.t%d" % i
            room -= len(os.fsencode(name)) + len(value) + 40
            if room < 0:
                return
            try:
                os.setxattr(path, name, value, follow_symlinks=False)
            except OSError as e:
                if e.errno in (errno.EOPNOTSUPP, errno.ENOSYS):
                    self.can_xattr = False
                    return
                raise

    def file(self, path):
        size = self.size()
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            if self.r.randrange(5):
                os.write(fd, self.data(size)) if size < MB else self.write_all(fd, size)
            else:  # sparse: a few pieces, holes between them and perhaps at the end
                top = size * self.r.choice([1, 3, 20])
                for _ in range(self.r.randrange(4)):
                    piece = self.data(self.r.randrange(1, 20 * KB))
                    os.pwrite(fd, piece, self.r.randrange(top + 1))
                os.ftruncate(fd, max(top, 1))
        finally:
            os.close(fd)
        self.finish(path)

    def write_all(self, fd, size):
        while size:
            piece = self.data(min(size, self.r.choice([64 * KB, 128 * KB, 100 * KB])))
            os.write(fd, piece)
            size -= len(piece)

    def symlink(self, path):
        length = self.r.choice([1, 10, 23, 24, 100, 119, 120, 300, 1023])
        target = (b"t/" * 512)[:length - 1] + b"x"
        os.symlink(target, path)
        self.finish(path, link=True)

    def special(self, path):
        kind = self.r.randrange(4)
        if kind == 0 or (kind in (1, 2) and not ROOT):
            os.mkfifo(path)
        elif kind == 1:
            os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(self.r.randrange(1, 500), self.r.randrange(1, 70000)))
        elif kind == 2:
            os.mknod(path, 0o600 | stat.S_IFBLK, os.makedev(self.r.randrange(1, 500), self.r.randrange(1, 300)))
        else:
            try:
                os.mknod(path, 0o600 | stat.S_IFSOCK)
            except OSError:
                os.mkfifo(path)
        self.finish(path)

    def one(self, directory, files):
        """One new object of a random kind in the directory."""
        path = os.path.join(directory, self.name())
        kind = self.r.randrange(20)
        if kind < 13:
            self.file(path)
            files.append(path)
        elif kind < 15:
            self.symlink(path)
        elif kind < 17 and files:
            try:
                os.link(self.r.choice(files), path)
            except OSError as e:
                if e.errno not in (errno.ENOENT, errno.EMLINK):
                    raise
        else:
            self.special(path)

    # -- whole trees

    def make(self, big):
        os.makedirs(self.root, exist_ok=True)
        dirs, files = [self.root], []
        for _ in range(self.r.randrange(12, 24)):
            parent = self.r.choice(dirs)
            if parent.count(b"/") - self.root.count(b"/") < 6 and len(parent) < 2500:
                path = os.path.join(parent, self.name(b"d"))
                os.mkdir(path)
                dirs.append(path)
        for d in dirs:
            for _ in range(self.r.choice([0, 3, 10, 30])):
                self.one(d, files)
        for want in ("file", "symlink", "special"):  # every kind at least once, whatever the seed
            getattr(self, want)(os.path.join(self.root, b"always-" + want.encode()))
        os.link(os.path.join(self.root, b"always-file"), os.path.join(self.root, b"always-link"))
        if big:
            self.many(os.path.join(self.root, b"many"), 6000)
            dirs.append(os.path.join(self.root, b"many"))
            self.many(os.path.join(self.root, b"few"), 900)
            dirs.append(os.path.join(self.root, b"few"))
        for d in sorted(dirs, key=len, reverse=True):
            self.finish(d)

    def many(self, directory, count):
        os.mkdir(directory)
        for i in range(count):
            name = b"entry-%06d" % i if i % 50 else b"entry-%06d-" % i + b"long" * 40
            fd = os.open(os.path.join(directory, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            if i % 7 == 0:
                os.write(fd, b"%d\n" % i)
            os.close(fd)
            os.utime(os.path.join(directory, name), ns=(NOW * 10 ** 9 + i, NOW * 10 ** 9 + i))

    def change(self):
        """A fifth of the tree changes, at most 400 steps. Names new in this round hold the seed, so rounds do not collide."""
        r = self.r
        self.n = r.randrange(10 ** 9, 10 ** 10)
        dirs, files, others = [], [], []
        for d, sub, names in os.walk(self.root):
            sub.sort()
            dirs.append(d)
            for n in sorted(names):
                p = os.path.join(d, n)
                (files if stat.S_ISREG(os.lstat(p).st_mode) else others).append(p)
            others += [os.path.join(d, n) for n in sub if os.path.islink(os.path.join(d, n))]
        count = min(400, max(20, (len(files) + len(others)) // 5))
        for _ in range(count):
            try:
                self.step(dirs, files, others)
            except FileNotFoundError:  # gone with a directory or an earlier rename
                pass
        for d in dirs:
            if os.path.isdir(d):
                when = self.mtime()
                os.utime(d, ns=(when, when))

    def step(self, dirs, files, others):
        r, op = self.r, self.r.randrange(14)
        f = r.choice(files) if files else None
        if op <= 1 and f:
            self.overwrite(f)
        elif op == 2 and f:
            with self.writable(f):
                os.truncate(f, r.choice([0, 1, os.lstat(f).st_size // 2, os.lstat(f).st_size + r.randrange(300 * KB)]))
        elif op == 3 and f:
            self.punch(f)
        elif op == 4 and f:
            with self.writable(f):
                with open(f, "ab") as h:
                    h.write(self.data(r.randrange(1, 200 * KB)))
        elif op == 5 and f:
            self.finish(f)
        elif op == 6 and f:
            os.unlink(f)
            files.remove(f)
        elif op == 7 and others:
            p = r.choice(others)
            os.unlink(p)
            others.remove(p)
            self.one(os.path.dirname(p), files)
        elif op == 8 and f:  # the same name, another kind of object (its object number is freed and may be reused)
            os.unlink(f)
            files.remove(f)
            r.choice([self.symlink, self.special, self.directory])(f)
        elif op == 9 and f:
            to = os.path.join(r.choice(dirs), self.name(b"r"))
            if os.path.isdir(os.path.dirname(to)):
                os.rename(f, to)
                files[files.index(f)] = to
        elif op == 10 and len(files) > 1:
            a, b = r.sample(files, 2)
            if not os.path.samefile(a, b):
                os.rename(a, b)
                files.remove(a)
        elif op == 11 and len(dirs) > 3:
            self.move_dir(dirs, files, others)
        elif op == 12 and f and self.can_xattr:
            for x in sized(LIBC.llistxattr, f).split(b"\0"):
                if x.startswith(b"user."):
                    os.removexattr(f, x)
            self.xattrs(f, False)
        else:
            d = r.choice(dirs)
            if os.path.isdir(d):
                self.one(d, files)

    def directory(self, path):
        os.mkdir(path)
        self.finish(path)

    def move_dir(self, dirs, files, others):
        d, to = self.r.choice(dirs[1:]), self.r.choice(dirs)
        to = os.path.join(to, self.name(b"m"))
        if (to + b"/").startswith(d + b"/") or not os.path.isdir(os.path.dirname(to)) or len(to) > 2500:
            return
        os.rename(d, to)
        for known in (dirs, files, others):
            known[:] = [to + p[len(d):] if p == d or p.startswith(d + b"/") else p for p in known]

    def overwrite(self, path):
        size = os.lstat(path).st_size
        with self.writable(path):
            fd = os.open(path, os.O_WRONLY)
            for _ in range(self.r.randrange(1, 4)):
                os.pwrite(fd, self.data(self.r.choice([1, 100, 4096, 131072])), self.r.randrange(size + 1))
            os.close(fd)

    @contextlib.contextmanager
    def writable(self, path):
        """Lets an ordinary user write to a file whose mode forbids it; afterwards mode (a write clears setuid) and
        times are what the seed says."""
        mode = os.lstat(path).st_mode & 0o7777
        if not ROOT:
            os.chmod(path, mode | 0o600)
        yield
        os.chmod(path, mode)
        when = self.mtime()
        os.utime(path, ns=(when, when))

    def punch(self, path):
        """A hole where data was; where the file system has no hole punching, zeros are written instead."""
        size = os.lstat(path).st_size
        if size < 2:
            return
        off = self.r.randrange(size)
        length = min(size - off, self.r.choice([1, 4096, 131072, 10 ** 6]))
        with self.writable(path):
            fd = os.open(path, os.O_WRONLY)
            if LIBC.fallocate(fd, 3, ctypes.c_long(off), ctypes.c_long(length)) != 0:
                os.pwrite(fd, b"\0" * length, off)
            os.close(fd)


def used_by_xattrs(path):
    names = [n for n in sized(LIBC.llistxattr, path).split(b"\0") if n]
    return sum(len(n) + len(sized(LIBC.lgetxattr, path, n)) + 40 for n in names)


# ---- listing ------------------------------------------------------------------------------------------------------

def quote(b):
    """Bytes as one printable word."""
    return "".join(chr(c) if 33 <= c < 127 and c not in b"\\" else "\\x%02x" % c for c in b)


def sized(call, *args):
    """An xattr call by the rule 'ask for the size, then for the bytes': zfs-fuse answers any other way wrongly."""
    while True:
        n = call(*args, None, 0)
        if n < 0:
            raise OSError(ctypes.get_errno(), "xattr")
        buf = ctypes.create_string_buffer(n + 1)
        got = call(*args, buf, n) if n else 0
        if got >= 0:
            return buf.raw[:got]
        if ctypes.get_errno() != errno.ERANGE:
            raise OSError(ctypes.get_errno(), "xattr")


def xattr_text(path):
    out = []
    try:
        names = sized(LIBC.llistxattr, path)
    except OSError as e:
        if e.errno in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EPERM):
            return "-"
        raise
    for name in sorted(filter(None, names.split(b"\0"))):
        if name.startswith((b"user.", b"trusted.")):
            value = sized(LIBC.lgetxattr, path, name)
            shown = quote(value) if len(value) <= 32 else "sha256:%d:%s" % (len(value), hashlib.sha256(value).hexdigest()[:16])
            out.append("%s=%s" % (quote(name), shown))
    return ",".join(out) or "-"


def content(path, st):
    if stat.S_ISLNK(st.st_mode):
        return "->" + quote(os.readlink(path))
    if not stat.S_ISREG(st.st_mode):
        return "-"
    h = hashlib.sha256()
    with open(path, "rb", buffering=0) as f:
        while True:
            piece = f.read(MB)
            if not piece:
                return h.hexdigest()
            h.update(piece)


def line(path, rel, opts, seen):
    st = os.lstat(path)
    is_dir = stat.S_ISDIR(st.st_mode)
    mtime = "%d" % (st.st_mtime_ns // 10 ** 9)
    if "--no-ns" not in opts:
        mtime += ".%09d" % (st.st_mtime_ns % 10 ** 9)
    # A hard link's content and xattrs are those of the first name met; reading it once is enough.
    if st.st_nlink > 1 and not is_dir and st.st_ino in seen:
        body, xattrs = seen[st.st_ino]
    else:
        body = content(path, st)
        xattrs = "-" if "--no-xattr" in opts else xattr_text(path)
        seen[st.st_ino] = body, xattrs
    rdev = "-"
    if stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
        rdev = "%d:%d" % (os.major(st.st_rdev), os.minor(st.st_rdev))
    size = "-" if is_dir or not (stat.S_ISREG(st.st_mode) or stat.S_ISLNK(st.st_mode)) else str(st.st_size)
    return " ".join(["%06o" % st.st_mode, str(st.st_uid), str(st.st_gid), "-" if is_dir else str(st.st_nlink),
                     size, mtime, rdev, body, xattrs, quote(rel)])


def listing(root, opts):
    root, seen, rows = os.fsencode(root), {}, []
    top_dev = os.lstat(root).st_dev
    stack = [(root, b".")]
    while stack:
        path, rel = stack.pop()
        try:
            rows.append((rel, line(path, rel, opts, seen)))
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                continue
            for name in os.listdir(path):
                sub = os.path.join(path, name)
                # Another dataset mounted inside is not part of this tree.
                if rel != b"." or os.lstat(sub).st_dev == top_dev:
                    stack.append((sub, name if rel == b"." else rel + b"/" + name))
        except OSError as e:
            rows.append((rel, "ERROR %s %s" % (errno.errorcode.get(e.errno, e.errno), quote(rel))))
    return [text for _, text in sorted(rows)]


def diff(a, b):
    rows = []
    for name in (a, b):
        with open(name, encoding="ascii") as f:
            rows.append({text.rsplit(" ", 1)[1]: text for text in f.read().splitlines()})
    bad = [p for p in sorted(set(rows[0]) | set(rows[1])) if rows[0].get(p) != rows[1].get(p)]
    for p in bad[:10]:
        sides = [r.get(p, "(missing) " + p) for r in rows]
        print("- %s\n+ %s" % tuple(t if len(t) < 300 else t[:200] + "..." + t[-90:] for t in sides))
    errors = [t for r in rows for t in r.values() if t.startswith("ERROR")]
    for t in errors[:5]:
        print("unreadable: " + t)
    if bad or errors:
        print("%d of %d objects differ, %d unreadable" % (len(bad), len(set(rows[0]) | set(rows[1])), len(errors)))
    return 1 if bad or errors else 0


def main(argv):
    opts = {a for a in argv if a.startswith("--")}
    args = [a for a in argv if not a.startswith("--")]
    if len(args) == 3 and args[0] == "make":
        Maker(args[1], args[2], "--narrow" in opts).make("--big" in opts)
    elif len(args) == 3 and args[0] == "change":
        Maker("change " + args[1], args[2], "--narrow" in opts).change()
    elif len(args) == 3 and args[0] == "many":
        Maker(0, args[2], True).many(os.fsencode(args[2]), int(args[1]))
    elif len(args) == 2 and args[0] == "list":
        print("\n".join(listing(args[1], opts)))
    elif len(args) == 3 and args[0] == "diff":
        return diff(args[1], args[2])
    else:
        print(__doc__, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
