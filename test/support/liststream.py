#!/usr/bin/env python3
"""liststream.py FILE: a package without streams, whose list has a pair of every type of nvlist there is."""
import struct
import sys

MASK = 2**64 - 1
FIXED = {1: 0, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 8, 8: 8, 18: 8, 19: 24, 21: 4, 22: 1, 23: 1}
EACH = {10: 1, 11: 2, 12: 2, 13: 4, 14: 4, 15: 8, 16: 8, 20: 32, 24: 4, 25: 1, 26: 1}


def text(s):
    return struct.pack(">I", len(s)) + s + bytes(-len(s) % 4)


def ints(*v):
    return b"".join(struct.pack(">i", x) for x in v)


def array(*v):
    return struct.pack(">I", len(v)) + ints(*v)


def longs(*v):
    return struct.pack(">I", len(v)) + b"".join(struct.pack(">q", x) for x in v)


def pair(name, kind, n, value, memory=None):
    if memory is None:
        memory = FIXED[kind] if kind in FIXED else n * EACH[kind]
    body = text(name) + struct.pack(">II", kind, n) + value
    return struct.pack(">II", len(body) + 8, (16 + len(name) + 8) // 8 * 8 + (memory + 7) // 8 * 8) + body


def pairs(*p):
    return struct.pack(">II", 0, 1) + b"".join(p) + bytes(8)


def fletcher4(data):
    a = b = c = d = 0
    for (w,) in struct.iter_unpack("<I", data):
        a = (a + w) & MASK
        b = (b + a) & MASK
        c = (c + b) & MASK
        d = (d + c) & MASK
    return struct.pack("<QQQQ", a, b, c, d)


def every_type():
    inner = pairs(pair(b"x", 8, 1, struct.pack(">Q", 77)), pair(b"empty", 19, 1, pairs()))
    return pairs(
        pair(b"boolean", 1, 0, b""), pair(b"byte", 2, 1, ints(5)), pair(b"int16", 3, 1, ints(-5)), pair(b"uint16", 4, 1, ints(500)),
        pair(b"int32", 5, 1, ints(-7)), pair(b"uint32", 6, 1, ints(70000)), pair(b"int64", 7, 1, struct.pack(">q", -9)),
        pair(b"uint64", 8, 1, struct.pack(">Q", 2**60)), pair(b"string", 9, 1, text(b"hello world"), 12),
        pair(b"bytes", 10, 5, b"\1\2\3\4\xff\0\0\0"), pair(b"int16s", 11, 2, array(-1, 2)), pair(b"uint16s", 12, 2, array(1, 300)),
        pair(b"int32s", 13, 2, array(-1, 2)), pair(b"uint32s", 14, 2, array(1, 300)), pair(b"int64s", 15, 2, longs(-1, 2)),
        pair(b"uint64s", 16, 2, longs(1, 300)), pair(b"strings", 17, 2, text(b"a b") + text(b"c"), 22),
        pair(b"hrtime", 18, 1, struct.pack(">q", 1234)), pair(b"list", 19, 1, inner), pair(b"lists", 20, 2, inner + inner),
        pair(b"yes", 21, 1, ints(1)), pair(b"no", 21, 1, ints(0)), pair(b"int8", 22, 1, ints(-3)), pair(b"uint8", 23, 1, ints(200)),
        pair(b"booleans", 24, 2, array(1, 0)), pair(b"int8s", 25, 2, array(-1, 3)), pair(b"uint8s", 26, 2, array(1, 200)))


def record(data):
    return data + bytes(312 - len(data))


packed = b"\1\1\0\0" + every_type()
packed += bytes(-len(packed) % 8)
begin = record(struct.pack("<IIQQQIIQQ", 0, len(packed), 0x2F5BACBAC, 2, 0, 0, 0, 0, 0) + b"test/x@y")
with open(sys.argv[1], "wb") as f:
    f.write(begin + packed + record(struct.pack("<II", 5, 0) + fletcher4(begin + packed)) + record(struct.pack("<II", 5, 0)))
