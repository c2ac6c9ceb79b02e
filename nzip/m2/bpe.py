"""Byte-pair encoding as a baseline, by Hugging Face's ``tokenizers``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from ..tokens.export import byte_characters


class Bpe:
    """Byte-level BPE, after splitting the text as GPT-2 does; lossless for any bytes."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer = tokenizer
        back = {character: byte for byte, character in enumerate(byte_characters())}
        entries = (str(tokenizer.id_to_token(i)) for i in range(tokenizer.get_vocab_size()))
        self.strings = [bytes(back[c] for c in entry) for entry in entries]
        self._single = {s[0]: i for i, s in enumerate(self.strings) if len(s) == 1}

    @classmethod
    def trained(cls, documents: list[bytes], size: int, folder: Path | None = None) -> Bpe:
        """Train a BPE of ``size`` entries on the documents, or read it from the folder."""
        path = folder / f"bpe-{size}.tokenizer.json" if folder else None
        if path and path.exists():
            return cls(Tokenizer.from_file(str(path)))
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        texts = (document.decode("utf-8", "ignore") for document in documents)
        tokenizer.train_from_iterator(texts, trainer)
        if path:
            tokenizer.save(str(path))
        return cls(tokenizer)

    def encode(self, document: bytes) -> np.ndarray:
        """Encode a document to tokens, int32 [n]; one per byte if it is not UTF-8."""
        try:
            ids = self._tokenizer.encode(document.decode()).ids
        except UnicodeDecodeError:
            ids = [self._single[byte] for byte in document]
        return np.array(ids, np.int32)
