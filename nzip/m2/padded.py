"""The paper's zero-padded windows, made lossless, for comparison with nzip's.

A code of W bits stands for the longest string whose arithmetic-coding interval holds all codes that
begin with it (section 3.3 and appendix; taken literally, a string and longer ones share codes).
"""

from __future__ import annotations

import numpy as np

from .. import _predict, reference
from ..models import Model


def strings(predictor: _predict.Predictor, width: int) -> tuple[set[bytes], set[bytes]]:
    """The strings that have a code, and all prefixes of these.

    Intervals are computed in units of 2^-62.
    """
    squash = np.array(reference.squash_table(), np.int64)
    unit = 1 << (62 - width)

    def codes(low: int, size: int) -> int:
        return max(0, (low + size) // unit + -low // unit)

    found, beginnings = {bytes([b]) for b in range(256)}, set()
    stack = [(b"", 0, 1 << 62)]
    while stack:
        text, low, size = stack.pop()
        beginnings.add(text)
        raw = np.frombuffer(_predict.logits(predictor, text + b"\0"), np.int16)
        p1 = squash[raw[-256:].astype(np.int64) + 3072]
        lows, sizes = np.array([low]), np.array([size])
        for depth in range(8):
            p = p1[1 << depth : 2 << depth]
            zeros = sizes - ((sizes >> 16) * p + ((sizes & 0xFFFF) * p >> 16))
            lows = np.stack([lows, lows + zeros], axis=1).ravel()
            sizes = np.stack([zeros, sizes - zeros], axis=1).ravel()
        left = codes(low, size)
        for byte in np.flatnonzero(sizes >= unit).tolist():
            part = int(lows[byte]), int(sizes[byte])
            if codes(*part):
                left -= codes(*part)
                stack.append((text + bytes([byte]), *part))
        if left:
            found.add(text)
    return found, beginnings


def windows_of(text: bytes, found: set[bytes], beginnings: set[bytes]) -> list[bytes]:
    """Cut a text into windows, each the longest of the strings that fits."""
    out = []
    at = 0
    while at < len(text):
        end = best = at + 1
        while end <= len(text) and text[at:end] in beginnings:
            if text[at:end] in found:
                best = end
            end += 1
        out.append(text[at:best])
        at = best
    return out


class Padded:
    """A tokenization with one token per window; see ``schemes.Strings``."""

    def __init__(self, model: Model, width: int):
        self._found, self._beginnings = strings(model.predictor, width)
        self._found.discard(b"")
        self._beginnings |= self._found
        self.strings = sorted(self._found)
        self._number = {text: number for number, text in enumerate(self.strings)}

    def encode(self, document: bytes) -> np.ndarray:
        """Encode a document to tokens, int32 [n]."""
        windows = windows_of(document, self._found, self._beginnings)
        return np.array([self._number[window] for window in windows], np.int32)
