"""``eqinfo``: Equal-Info Windows (arXiv 2404.03626, section 3.3).

Part of the format (docs/format.md).

Windows have exactly W bits, and coder and M1 are reset at each one. Where the paper pads an
arithmetic code with zeros, a window of up to 20 bits is an entry of a dictionary here, and a longer
one a codeword of a block arithmetic code (Boncelet 1993): no padding is wasted, and every window
decodes to exactly one string. M1 can also be reset at every k-th window only, or never (the paper's
ablation, section 6.1); then all windows are of the second kind.
"""

from __future__ import annotations

from .. import _predict, frame
from .._predict import Watch
from .._trie import Trie
from ..errors import FormatError
from ..models import Model
from . import dictionary


class EqInfo:
    """Windows of ``width`` bits; see ``modes.Mode``.

    reset_every: windows after which M1 is reset; 0: never.
    """

    coding = frame.EQINFO

    def __init__(self, model: Model, width: int, reset_every: int = 1):
        self._model = model
        self._width = width
        self._reset_every = reset_every

    def encode(self, block: bytes, watch: Watch) -> tuple[int, bytes] | None:
        trie = self.dictionary()
        if trie is not None:
            code = trie.encode_bits(self._width, block)
        else:
            code = _predict.eqinfo_encode(
                self._model.predictor,
                self._width,
                block,
                reset_every=self._reset_every,
                watch=watch,
            )
        return None if code is None else (frame.CODED, code)

    def decode(self, code: bytes, size: int, watch: Watch) -> bytes:
        trie = self.dictionary()
        try:
            if trie is not None:
                return trie.decode_bits(self._width, code, size)
            text = _predict.eqinfo_decode(
                self._model.predictor,
                self._width,
                code,
                size,
                reset_every=self._reset_every,
                watch=watch,
            )
        except ValueError as error:
            raise FormatError(str(error)) from error
        if len(text) != size:
            raise FormatError("windows that no encoder writes")
        return text

    def dictionary(self) -> Trie | None:
        """The dictionary of its windows; None if they are too wide or M1 is not reset at each."""
        if self._reset_every != 1 or self._width > frame.MAX_DICTIONARY:
            return None
        return dictionary.of_model(self._model, self._width)
