"""A ``Tokenizer`` in the formats of other programs.

The dictionary is closed under prefixes, and the next window is the longest entry that the text
begins with: greedy longest match. RWKV's tokenizer does just that. For Hugging Face's, a regular
expression that follows the dictionary's trie cuts the text into windows, each of which is then a
word of the vocabulary. It takes time linear in the length of the text, unlike their WordPiece,
which also does longest match.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .tokenizer import Tokenizer


def byte_characters() -> list[str]:
    """The characters that byte-level tokenizers write bytes as (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(others)) for b in range(256)]


def _check(tokenizer: Tokenizer) -> None:
    if tokenizer.align is not None or tokenizer.lookahead:
        raise ValueError(
            "windows that are aligned or looked ahead for are not the longest match; other programs"
            " cannot make them"
        )


Node = dict[int, Any]  # of a trie: byte -> what follows it


def _trie(strings: list[bytes]) -> Node:
    root: Node = {}
    for string in strings:
        node = root
        for byte in string:
            node = node.setdefault(byte, {})
    return root


def _pattern(node: Node, characters: list[str]) -> str:
    """A regular expression for the longest path down from a node, which may be empty.

    If a node has many children, they are split in halves that a lookahead tells apart, so that a
    match takes few attempts per byte.
    """

    def escaped(byte: int) -> str:
        character = characters[byte]
        return character if character.isalnum() else "\\" + character

    def one_of(some: list[int]) -> str:
        texts = "".join(map(escaped, some))
        return texts if len(some) == 1 else f"[{texts}]"

    def branches(some: list[int]) -> str:
        if len(some) <= 4:
            return "|".join(escaped(b) + _pattern(node[b], characters) for b in some)
        half = len(some) // 2
        return f"(?={one_of(some[:half])})(?:{branches(some[:half])})|{branches(some[half:])}"

    if not node:
        return ""
    ends = [byte for byte in node if not node[byte]]
    parts = [one_of(ends)] if ends else []
    if len(ends) < len(node):
        parts.append(branches([byte for byte in node if node[byte]]))
    return f"(?:{'|'.join(parts)})?"


def tokenizer_json(tokenizer: Tokenizer) -> dict[str, Any]:
    """The content of a ``tokenizer.json`` for Hugging Face ``tokenizers``, with the same numbers.

    Unlike here, text that spells a special token becomes that token, unless the program that uses
    it sets ``encode_special_tokens``. Raises ValueError for windows with alignment or lookahead.
    """
    _check(tokenizer)
    characters = byte_characters()
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
    level["use_regex"] = False
    pattern = _pattern(_trie(tokenizer.vocabulary()), characters).removesuffix("?")
    cut = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [level, cut]},
        "post_processor": None,
        "decoder": level,
        "model": {
            "type": "WordLevel",
            "unk_token": "<|unknown|>",  # cannot occur: every byte is an entry
            "vocab": vocabulary,
        },
    }


def save_tokenizer_json(tokenizer: Tokenizer, path: str | os.PathLike[str]) -> None:
    """Write ``tokenizer_json`` to a file. Raises ValueError, and OSError."""
    Path(path).write_text(json.dumps(tokenizer_json(tokenizer), ensure_ascii=False), "utf-8")


def to_transformers(tokenizer: Tokenizer) -> Any:
    """Make a fast tokenizer of Hugging Face ``transformers`` that gives the same numbers.

    That includes text that spells a special token. Raises ValueError for windows with alignment or
    lookahead, and ImportError without ``transformers``.
    """
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
        split_special_tokens=True,
    )


def save_rwkv(tokenizer: Tokenizer, path: str | os.PathLike[str]) -> None:
    """Write a vocabulary file for RWKV's "World" tokenizer: lines of ``number string bytes``.

    There the number 0 ends a text, so all numbers are one higher than here. Raises ValueError for
    windows with alignment or lookahead, and OSError.
    """
    _check(tokenizer)
    lines = []
    for number, entry in enumerate(tokenizer.vocabulary(), 1):
        try:
            written = repr(entry.decode("utf-8"))
        except UnicodeDecodeError:
            written = repr(entry)
        lines.append(f"{number} {written} {len(entry)}\n")
    Path(path).write_text("".join(lines), "utf-8")
