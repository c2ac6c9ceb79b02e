"""Generates text with a trained M2, one token at a time, and measures the speed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import FormatError
from ..tokens import tokenizations
from .data import kind_of
from .loop import load_model, sample
from .schemes import Scheme


def generate(
    path: Path, size: int, prompt: bytes = b"", seed: int = 1, temperature: float = 1.0
) -> tuple[bytes, dict[str, Any]]:
    """Generate up to ``size`` bytes of text with a model that ``nzip m2`` trained.

    Returns the text and its speed: tokens, bytes, seconds, and bytes/s. A prompt is cut to whole
    windows. The text ends early if the model ends the document, or if tokens add nothing to it
    any more, as after an invalid one of a gzip stream.
    """
    model, settings = load_model(path)
    tokenizer = Scheme.from_settings(settings)
    end = tokenizer.vocab - 1
    ids = tokenizer.encode(prompt).tolist() if prompt else []
    torch.set_num_threads(1)
    began = time.monotonic()
    made: list[int] = []
    text = b""
    idle = 0  # rounds in a row without more text
    while len(text) < size and idle < 4:
        more, _ = sample(model, [end, *ids, *made], 64, seed + len(made), temperature, end)
        ended = more[-1] == end
        made += more[:-1] if ended else more
        before = len(text)
        text = decode(tokenizer, np.array([*ids, *made]))[len(prompt) :]
        idle = 0 if len(text) > before else idle + 1
        if ended:
            break
    seconds = time.monotonic() - began
    figures = {
        "tokens": len(made),
        "bytes": len(text),
        "seconds": round(seconds, 3),
        "bytes/s": round(len(text) / seconds, 1) if seconds else 0.0,
    }
    return text[:size], figures


def decode(tokenizer: Scheme, ids: np.ndarray) -> bytes:
    """Decode tokens to text of unknown length, as far as they are valid."""
    stream = tokenizer.stream
    if stream is None:
        return b"".join(tokenizer.texts(ids))
    tokens = ids.astype(kind_of(stream)).tobytes()
    if isinstance(stream, tokenizations.Windows):
        return stream.decode_all(tokens)
    if isinstance(stream, tokenizations.Bytes):
        return tokens
    if isinstance(stream, tokenizations.Gzip):
        import zlib

        try:
            return zlib.decompressobj().decompress(tokenizations.swap(tokens, stream.token_bits))
        except zlib.error:
            return b""
    # One code for the whole text: find as many bytes as its bits encode.
    size = 16
    while True:
        try:
            text = stream.decode(tokens, size)
        except FormatError:
            return b""
        if len(stream.encode(text)) >= len(tokens) or size > 1 << 16:
            return text
        size *= 2


def speed(path: Path, figures: dict[str, Any]) -> str:
    """The figures of ``generate`` as a line of text."""
    return (
        f"{path.name}: {figures['bytes']:,} bytes in {figures['tokens']:,} tokens and"
        f" {figures['seconds']:.2f} s, {figures['bytes/s']:,.0f} bytes per second"
    )
