"""``eqinfo``: Equal-Info Windows (arXiv 2404.03626, section 3.3).

Windows of exactly W bits, coder and M1 reset at each one. Where the paper pads an arithmetic code
with zeros, a window here is one codeword of a block arithmetic code (Boncelet 1993), so that
nothing is wasted on padding and every window decodes to exactly one string.
"""

from __future__ import annotations

from .. import _predict, frame
from ..errors import FormatError


class EqInfo:
    """Windows of ``width`` bits; see ``modes.Mode``."""

    coding = frame.EQINFO

    def __init__(self, predictor: _predict.Predictor, width: int):
        self._predictor = predictor
        self._width = width

    def encode(self, block: bytes) -> tuple[int, bytes] | None:
        code = _predict.eqinfo_encode(self._predictor, self._width, block)
        return None if code is None else (frame.CODED, code)

    def decode(self, code: bytes, size: int) -> bytes:
        try:
            return _predict.eqinfo_decode(self._predictor, self._width, code, size)
        except ValueError as error:
            raise FormatError(str(error)) from error
