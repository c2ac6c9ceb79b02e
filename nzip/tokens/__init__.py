"""Equal-Info Windows as a tokenizer (arXiv 2404.03626): lossless for any bytes, one token a window.

    >>> from nzip.tokens import Tokenizer
    >>> tokenizer = Tokenizer()
    >>> ids = tokenizer.encode("The quick brown fox")
    >>> tokenizer.decode(ids)
    'The quick brown fox'

``Tokenizer`` is a dictionary of all windows of up to 20 bits. ``nzip.tokens.streams`` has the other
tokenizations of the paper, and windows too long for a dictionary; ``nzip.tokens.files`` writes and
reads files of tokens; ``nzip.tokens.export`` writes the tokenizer for other programs.
"""

from .tokenizer import SPECIAL_TOKENS, Tokenizer

__all__ = ["SPECIAL_TOKENS", "Tokenizer"]
