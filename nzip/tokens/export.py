"""A ``Tokenizer`` in the formats of other programs.

Every window but the root has a codeword that means "stop here", so the dictionary is closed under
prefixes, and the encoder's window is the longest entry that the text starts with: greedy longest
match. That is what WordPiece does without a continuation prefix, and what RWKV's tokenizer does.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .tokenizer import Tokenizer


def _byte_characters() -> list[str]:
    """The characters that byte-level tokenizers write bytes as (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(others)) for b in range(256)]


def _check(tokenizer: Tokenizer) -> None:
    if tokenizer.align is not None:
        raise ValueError("aligned windows are no longest match; other programs cannot make them")


def tokenizer_json(tokenizer: Tokenizer) -> dict[str, Any]:
    """The content of a ``tokenizer.json`` for Hugging Face ``tokenizers``: the same numbers.

    There, unlike here, text that spells a special token becomes that token.
    """
    _check(tokenizer)
    characters = _byte_characters()
    vocabulary = {
        "".join(characters[b] for b in text): k for k, text in enumerate(tokenizer.vocabulary())
    }
    added = [
        {
            "id": number,
            "content": name,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for name, number in tokenizer.special_tokens.items()
    ]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {**level, "use_regex": False},
        "post_processor": None,
        "decoder": {**level, "use_regex": False},
        "model": {
            "type": "WordPiece",
            "unk_token": "<|unknown|>",  # cannot occur: every byte is an entry
            "continuing_subword_prefix": "",
            "max_input_chars_per_word": 1 << 40,
            "vocab": vocabulary,
        },
    }


def save_tokenizer_json(tokenizer: Tokenizer, path: str | os.PathLike[str]) -> None:
    """Write a ``tokenizer.json``."""
    Path(path).write_text(json.dumps(tokenizer_json(tokenizer), ensure_ascii=False), "utf-8")


def to_transformers(tokenizer: Tokenizer) -> Any:
    """A fast tokenizer of Hugging Face ``transformers`` that gives the same numbers."""
    from tokenizers import Tokenizer as Fast
    from transformers import PreTrainedTokenizerFast

    names = list(tokenizer.special_tokens)
    make: Any = PreTrainedTokenizerFast  # its constructor is not typed
    return make(
        tokenizer_object=Fast.from_str(json.dumps(tokenizer_json(tokenizer))),
        eos_token=names[0],
        pad_token=names[1],
        bos_token=names[2],
        clean_up_tokenization_spaces=False,
    )


def save_rwkv(tokenizer: Tokenizer, path: str | os.PathLike[str]) -> None:
    """Write a vocabulary file in the form of RWKV's "World" tokenizer: a line ``number string
    bytes`` each. There the number 0 ends a text, so all numbers are one higher than here."""
    _check(tokenizer)
    lines = []
    for number, entry in enumerate(tokenizer.vocabulary(), 1):
        try:
            written = repr(entry.decode("utf-8"))
        except UnicodeDecodeError:
            written = repr(entry)
        lines.append(f"{number} {written} {len(entry)}\n")
    Path(path).write_text("".join(lines), "utf-8")
