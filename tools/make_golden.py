"""Adds golden frames: writes those of the table below that do not exist yet; never changes one.

python tools/make_golden.py
"""

from __future__ import annotations

import csv
import hashlib
import random
from pathlib import Path

import nzip
from nzip import frame

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
CORPUS = Path(__file__).parents[1] / "examples" / "corpus"
CUT = ("level=1 block_size=65536", None)
CUT_PRIOR = ("level=1 block_size=65536 prior=access.log", None)
FIELDS = ["file", "size", "sha256", "options", "what"]


def exchanged(data: bytes) -> bytes:
    """A frame whose first two blocks are in the wrong order."""
    _, at = frame.parse_header(data)
    middle = frame.parse_block(data, at).end
    end = frame.parse_block(data, middle).end
    return data[:at] + data[middle:end] + data[at:middle] + data[end:]


def frames() -> list[tuple[str, bytes, str, bytes | None, str]]:
    """(name, content, options, the frame unless the encoder writes it, what it tests)."""
    english = (CORPUS / "compression.txt").read_bytes()
    log = (CORPUS / "access.log").read_bytes()
    every = bytes(range(256))
    script = "Ελληνικά, Русский, 中文, 日本語, 한국어, العربية, हिन्दी, 🙂 ".encode()
    calls = b"".join(
        b"\x8b\xc3\xe8%s\x90" % (90000 - 8 * i).to_bytes(4, "little") for i in range(1500)
    )
    noise = random.Random(1).randbytes(2 * (1 << 16) + 100)
    wave = [abs(i % 90 - 45) for i in range(3000)]
    picture = bytes(
        40 + w + i // 90 + noise[3 * i + k] % 5 + 50 * k
        for i, w in enumerate(wave)
        for k in range(3)
    )
    sound = b"".join(
        (w * (side * 300 - 100) + noise[i] % 32).to_bytes(2, "little", signed=True)
        for i, w in enumerate(wave)
        for side in range(2)
    )
    runs = bytes(1 << 19) + b"\x01" * (1 << 19) + b"\x02" * 100
    rows: list[tuple[str, bytes, str, bytes | None, str]] = [
        ("good-ac", english, "mode=ac", None, "M1 and mixing, English"),
        ("good-ac-small", english[:300], "mode=ac", None, "a short text"),
        ("good-ac-plain", english[:2000], "mode=ac adapt=no", None, "M1 alone"),
        ("good-ac-lanes", (log * 3)[:70_000], "mode=ac adapt=no", None, "lanes"),
        ("good-ac-x86", calls, "mode=ac", None, "a binary: no M1, and the filter for x86 code"),
        ("good-ac-x86-light", calls, "level=1", None, "the same, light"),
        ("good-ac-x86-deep", calls, "level=9", None, "the same, deep"),
        ("good-ac-pixels", picture, "level=9", None, "a binary: pixels"),
        ("good-ac-samples", sound, "level=9", None, "a binary: samples of sound"),
        ("good-ac-numbers-light", log[:5000], "level=1", None, "numbers in lines, light"),
        ("good-ac-numbers", log[:5000], "", None, "the same, full"),
        ("good-ac-numbers-deep", log[:5000], "level=9", None, "the same, deep"),
        ("good-ac-lines", english[:2000].replace(b"\n", b"\r\n"), "", None, "lines with CR LF"),
        ("good-prior", log[:700], "prior=access.log", None, "with a prior"),
        ("good-prior-1", english[:500], "level=1 prior=access.log", None, "another level"),
        ("good-ac-scripts", script * 12, "mode=ac", None, "many scripts"),
        ("good-ac-binary", every * 2, "mode=ac", None, "all values"),
        ("good-static", english[:3000], "mode=static", None, "static"),
        ("good-stored", every, "mode=static", None, "a stored block"),
        ("good-run", bytes(100_000), "mode=static", None, "a run, long check"),
        ("good-two-blocks", bytes(1 << 19) + english[:500], "mode=static", None, "two blocks"),
        ("good-three-blocks", runs, "mode=static", None, "three blocks, each a run"),
        ("good-blocks-ac", (english * 30)[:150_000], *CUT, "three blocks, each learned from"),
        ("good-blocks-stored", noise, *CUT, "three blocks, stored"),
        ("good-blocks-prior", (log * 9)[:140_000], *CUT_PRIOR, "three blocks with a prior"),
        ("good-blocks-eqinfo", (english * 80)[:540_000], "mode=eqinfo", None, "two of windows"),
        ("good-empty", b"", "mode=ac", None, "no content"),
    ]
    for level in range(1, 10):
        rows.append((f"good-level-{level}", english[:800], f"level={level}", None, "a level"))
    for window in (8, 16, 24, 32, 64):
        text = english[:1500] if window > 8 else english[:200]
        rows.append(
            (f"good-eqinfo-{window}", text, f"mode=eqinfo window={window}", None, "windows")
        )
    for every in (0, 2):
        options = f"mode=eqinfo window=24 reset_every={every}"
        rows.append((f"good-eqinfo-every-{every}", english[:1500], options, None, "fewer resets"))
    sound = nzip.compress(english[:200])
    stored = nzip.compress(noise, level=1, block_size=1 << 16)
    joined = frame.skippable(b"note") + sound + nzip.compress(b"two", "static") + bytes(20)
    rows += [
        ("good-frames", english[:200] + b"two", "", joined, "skippable frame, two frames, padding"),
        ("bad-cut", b"", "", sound[:-1], "the content check cut short"),
        ("bad-crc", b"", "", sound[:12] + bytes([sound[12] ^ 1]) + sound[13:], "a flipped bit"),
        ("bad-garbage", b"", "", sound + b"garbage", "garbage after the frame"),
        (
            "bad-huge",
            b"",
            "",
            b"\x8fNZ\x14\xf9\xff\xff\xff\x7f" + bytes(9),
            "a block above the limit",
        ),
        ("bad-order", b"", "", exchanged(stored), "the first two of three blocks exchanged"),
        ("bad-type", b"", "", b"\x8fNZ\x14\x0f" + bytes(9), "the reserved type of block"),
        ("unsupported-version", b"", "", b"\x8fNZ\x24\x01" + bytes(6), "version 2"),
        ("unsupported-coding", b"", "", b"\x8fNZ\x1f\x01" + bytes(6), "coding 15"),
    ]
    return rows


if __name__ == "__main__":
    table = GOLDEN / "frames.csv"
    known = list(csv.DictReader(table.open())) if table.exists() else []
    names = {row["file"] for row in known}
    for name, content, options, data, what in frames():
        if f"{name}.nz" in names:
            continue
        if data is None:
            settings: dict[str, object] = {}
            for option in options.split():
                key, _, value = option.partition("=")
                if key == "prior":
                    settings[key] = nzip.Prior(CORPUS / value)
                    continue
                settings[key] = {"adapt": False}.get(key, int(value) if value.isdigit() else value)
            data = nzip.compress(content, **settings)
        (GOLDEN / f"{name}.nz").write_bytes(data)
        good = name.startswith("good")
        known.append(
            {
                "file": f"{name}.nz",
                "size": str(len(content)) if good else "",
                "sha256": hashlib.sha256(content).hexdigest() if good else "",
                "options": options,
                "what": what,
            }
        )
    with table.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(known)
