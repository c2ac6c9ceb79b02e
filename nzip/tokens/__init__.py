"""Tokenizers by dictionaries closed under prefixes: lossless for any bytes.

They are counted on texts, or the Equal-Info Windows of arXiv 2404.03626 under a model.

    >>> from nzip.tokens import Tokenizer
    >>> tokenizer = Tokenizer()
    >>> ids = tokenizer.encode("The quick brown fox")
    >>> tokenizer.decode(ids)
    'The quick brown fox'

``Tokenizer`` is such a dictionary; ``nzip.tokens.count`` counts one. ``nzip.tokens.tokenizations``
has the other tokenizations of the paper, and windows too long for a dictionary;
``nzip.tokens.tokenfile`` writes and reads files of tokens; ``nzip.tokens.export`` writes the
tokenizer for other programs.
"""

from .tokenizer import SPECIAL_TOKENS, Tokenizer

__all__ = ["SPECIAL_TOKENS", "Tokenizer"]
