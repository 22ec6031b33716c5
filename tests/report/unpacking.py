"""The block of the page, read in Python as its text says: the slow reference of ``table.js``."""

from __future__ import annotations

import base64
import json
import re
import struct
import zlib

MISSING, INFINITE = 2**31 - 1, 2**31 - 2


def _text(column: dict, code: int) -> str:
    if "values" in column:
        return column["values"][code]
    if code == MISSING:
        return "–"
    if abs(code) == INFINITE:
        return "∞" if code > 0 else "−∞"
    sign, size = "-" if code < 0 else "", abs(code)
    if column["scientific"]:
        exponent, mantissa = divmod(size, 10_000)
        return f"{sign}{mantissa / 1000:.3f}e{exponent - 400:+03d}" if size else "0"
    whole, rest = divmod(size, 10 ** column["digits"])
    return f"{sign}{whole}" + (f".{rest:0{column['digits']}d}" if column["digits"] else "")


def unpack(block: str) -> dict[str, dict[str, list[str]]]:
    """Tables by name, their columns by name, and cells as they are shown."""
    data = zlib.decompress(base64.b64decode(block))
    (length,) = struct.unpack_from("<I", data)
    at, tables = 4 + length, {}
    for name, table in json.loads(data[4:at]).items():
        tables[name], n = {}, table["length"]
        for column in table["columns"]:
            words = [int.from_bytes(bytes(data[at + n * byte + row] for byte in range(4)), "little") for row in range(n)]
            codes = [-(word >> 1) - 1 if word & 1 else word >> 1 for word in words]
            for row in range(1, n if column["delta"] else 0):
                codes[row] += codes[row - 1]
            tables[name][column["name"]] = [_text(column, code) for code in codes]
            at += 4 * n
    assert at == len(data)
    return tables


def block_of(page: str) -> dict[str, dict[str, list[str]]]:
    """The tables in a page."""
    return unpack(re.search(r'<script type="text/plain" id="block">([^<]+)</script>', page)[1])
