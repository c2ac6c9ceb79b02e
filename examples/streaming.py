"""Using nzip from Python: whole buffers, files and streams.

python examples/streaming.py FILE
"""

import sys

import nzip


def main(path: str) -> None:
    with open(path, "rb") as file:
        text = file.read()

    # Whole buffers, as with gzip.compress.
    packed = nzip.compress(text)
    assert nzip.decompress(packed, max_output=len(text)) == text
    print(f"{path}: {len(text):,} -> {len(packed):,} bytes")

    # Files, as with gzip.open.
    with nzip.open(path + ".nz", "wb") as out:
        out.write(text)
    with nzip.open(path + ".nz", "rt", encoding="utf-8", errors="replace") as lines:
        print("first line:", next(iter(lines), "").rstrip())

    # Streams, one piece at a time: the result does not depend on how the text is cut.
    compressor = nzip.Compressor()
    pieces = [compressor.compress(text[at : at + 1000]) for at in range(0, len(text), 1000)]
    assert b"".join([*pieces, compressor.flush()]) == packed

    decompressor = nzip.Decompressor()
    assert decompressor.decompress(packed) == text
    assert decompressor.eof


if __name__ == "__main__":
    main(sys.argv[1])
