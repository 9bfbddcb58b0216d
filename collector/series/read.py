#!/usr/bin/env python3
"""Prints the samples of a month's file of the series store as JSON lines, without
Kenshin: FORMAT.md says what it reads. Usage: read.py series-2026-11.db"""
import decimal, json, sqlite3, struct, sys, zlib

decimal.getcontext().prec = 5000  # exact: nothing is rounded
QUALITIES = "good not-available stale out-of-range decreased exception timeout clock-unsynced".split()

class Reader:
    def __init__(self, b): self.b, self.i = b, 0
    def take(self, n): self.i += n; assert self.i <= len(self.b); return self.b[self.i - n:self.i]
    def u(self):
        v = k = 0
        while True:
            c = self.take(1)[0]
            v |= (c & 127) << k; k += 7
            if c < 128: return v
    def text(self): return self.take(self.u()).decode()

def signed(v): v &= (1 << 64) - 1; return v - (1 << 64) if v >> 63 else v
def unzigzag(u): return (u >> 1) ^ -(u & 1)

def column(r):
    """Codes and numbers of a column, in the order of its rows."""
    c, out, before = Reader(r.take(r.u())), [], {}
    runs = [(c.u(), c.u()) for _ in range(c.u())]
    order, base, width = c.u(), unzigzag(c.u()), c.u()
    planes = [c.take(sum(n for n, _ in runs)) for _ in range(width)]
    for count, code in runs:
        for _ in range(count):
            d = sum(plane[len(out)] << 8 * k for k, plane in enumerate(planes))
            v, step = before.get(code, (0, 0))
            w = signed(base + d if order == 0 else unzigzag(d) + v + (step if order > 1 else 0))
            before[code] = w, signed(w - v)
            out.append((code, w))
    return out

def value(code, v, texts):
    kind, arg = code & 7, code >> 3
    if kind == 5: return QUALITIES[arg], "", texts[v]
    if kind == 4: return "good", texts[v], ""
    if kind == 3: d, e = texts[v].split("e"); number = decimal.Decimal(d).scaleb(int(e))
    if kind == 0: number = decimal.Decimal(v).scaleb(unzigzag(arg))
    if kind == 1: number = decimal.Decimal(struct.unpack(">f", struct.pack(">I", v))[0]).scaleb(unzigzag(arg))
    if kind == 2: number = decimal.Decimal(struct.unpack(">d", struct.pack(">q", v))[0]).scaleb(unzigzag(arg))
    return "good", format(number.normalize() if number else decimal.Decimal(0), "f"), ""

for edge, device, day, data in sqlite3.connect(sys.argv[1]).execute("SELECT edge, device, day, data FROM chunks ORDER BY edge, device, day, id"):
    r = Reader(zlib.decompress(data[5:], -15) if data[4] else data[5:])  # the first four bytes are CRC-32C
    assert r.u() == 1, "format of a chunk"
    for _ in range(r.u()):
        points = [(r.text(), r.text(), r.u()) for _ in range(r.u())]
        epochs = [r.take(16).hex() for _ in range(r.u())]
        texts = [r.text() for _ in range(r.u())]
        rows = r.u()
        at, seq, epoch = column(r), column(r), column(r)
        for (name, unit, _), cells in zip(points, [column(r) for _ in points]):
            for i, (code, v) in enumerate(cells):
                quality, text, reason = value(code, v, texts)
                print(json.dumps({"key": f"{edge}/{device}/{name}", "at": at[i][1], "quality": quality, "value": text, "unit": unit,
                                  "reason": reason, "epoch": epochs[epoch[i][1]], "seq": seq[i][1] % (1 << 64)}, ensure_ascii=False))
