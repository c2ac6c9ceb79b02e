"""Writes made-up media, for which no free files are at hand: a recording and a picture.

    python benchmarks/made.py FOLDER

sound.wav has 16-bit stereo samples of decaying notes with noise; picture.bmp has 24-bit pixels of
shaded shapes with grain. Both are the same bytes on every run.
"""

from __future__ import annotations

import struct
import sys
import wave
from pathlib import Path

import numpy as np

RATE = 44_100  # samples per second
SECONDS = 4
WIDTH, HEIGHT = 480, 360


def sound(path: Path) -> None:
    rng = np.random.default_rng(1)
    time = np.arange(RATE * SECONDS) / RATE
    sides = rng.normal(0, 12, (2, time.size))
    for start in np.arange(0, SECONDS, 0.25):
        pitch = 220 * 2 ** (rng.integers(0, 24) / 12)
        left = rng.uniform(0.2, 0.8)
        since = np.maximum(time - start, 0)
        for harmonic in range(1, 6):
            note = np.sin(2 * np.pi * pitch * harmonic * since) * np.exp(-since * 4 * harmonic)
            sides += np.outer([left, 1 - left], note * (time >= start) * 6000 / harmonic)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.clip(sides.T, -32768, 32767).astype("<i2").tobytes())


def picture(path: Path) -> None:
    rng = np.random.default_rng(2)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.stack([90 + x / 6 + y / 9, 120 + y / 4, 200 - x / 5], axis=-1)
    for _ in range(25):
        middle, radius = rng.uniform(0, [WIDTH, HEIGHT]), rng.uniform(10, 90)
        distance = np.hypot(x - middle[0], y - middle[1]) / radius
        shade = np.clip(1.3 - distance, 0, 1)[..., None]
        pixels = np.where(distance[..., None] < 1, rng.uniform(40, 255, 3) * shade, pixels)
    grain = rng.normal(0, 2.5, (HEIGHT, WIDTH, 1)) + rng.normal(0, 1, pixels.shape)
    body = np.clip(pixels + grain, 0, 255).astype(np.uint8).tobytes()
    head = struct.pack("<2sIIIIiiHHIIiiII", b"BM", 54 + len(body), 0, 54, 40,
                       WIDTH, HEIGHT, 1, 24, 0, len(body), 2835, 2835, 0, 0)  # fmt: skip
    path.write_bytes(head + body)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    sound(folder / "sound.wav")
    picture(folder / "picture.bmp")
