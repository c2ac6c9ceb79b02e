"""Tokenizers that are lossless for any bytes, by dictionaries that hold all prefixes of an entry.

A dictionary is counted on texts, or holds the Equal-Info Windows of arXiv 2404.03626 under a model.

    >>> from nzip.tokens import Tokenizer
    >>> tokenizer = Tokenizer()
    >>> ids = tokenizer.encode("The quick brown fox")
    >>> tokenizer.decode(ids)
    'The quick brown fox'

``Tokenizer`` uses a dictionary, and ``nzip.tokens.count`` counts one. ``nzip.tokens.tokenizations``
has the paper's other tokenizations, and windows too long for a dictionary;
``nzip.tokens.tokenfile`` writes and reads token files; ``nzip.tokens.export`` writes a tokenizer
for other programs.
"""

from .tokenizer import SPECIAL_TOKENS, Tokenizer

__all__ = ["SPECIAL_TOKENS", "Tokenizer"]
