#!/usr/bin/env python3
"""forge.py IN OUT NAME=NEW...: a stream without sums of records (streamtool nosum), with directory entries changed.

NEW is another name of at most the same length, or @ROOT: the entry leads to the root directory. Only small directories (micro ZAPs)
are changed; the checksum of END is made right again.
"""
import struct
import sys

MASK = 2**64 - 1
ENTRY_VALUE = 14  # bytes from an entry's number to its name


def fletcher4(data):
    a = b = c = d = 0
    for (w,) in struct.iter_unpack("<I", data):
        a = (a + w) & MASK
        b = (b + a) & MASK
        c = (c + b) & MASK
        d = (d + c) & MASK
    return struct.pack("<QQQQ", a, b, c, d)


def entry(data, name):
    at = data.find(b"\0\0" + name + b"\0")
    if at < 0:
        sys.exit("forge: no entry %r" % name)
    return at + 2


with open(sys.argv[1], "rb") as f:
    stream = bytearray(f.read())
for change in sys.argv[3:]:
    name, new = (x.encode() for x in change.split("=", 1))
    at = entry(stream, name)
    if new == b"@ROOT":
        root = entry(stream, b"ROOT") - ENTRY_VALUE
        (number,) = struct.unpack_from("<Q", stream, root)
        struct.pack_into("<Q", stream, at - ENTRY_VALUE, 4 << 60 | number)
    else:
        stream[at:at + len(name)] = new + bytes(len(name) - len(new))
end = len(stream) - 312
stream[end + 8:end + 40] = fletcher4(stream[:end])
with open(sys.argv[2], "wb") as f:
    f.write(stream)
