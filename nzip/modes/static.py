"""``static``: one fixed byte distribution per block, from the block's own counts.

Part of the format (docs/format.md). It is the paper's StaticAC (arXiv 2404.03626, section 3.2),
with the counts stored in each block.
"""

from __future__ import annotations

from .. import _coder, frame
from .._predict import Watch
from ..errors import FormatError


class Static:
    """Arithmetic coding under byte frequencies; see ``modes.Mode``."""

    coding = frame.STATIC

    def encode(self, block: bytes, watch: Watch) -> tuple[int, bytes] | None:
        code = _coder.static_encode(block)
        return None if code is None else (frame.CODED, code)

    def decode(self, code: bytes, size: int, watch: Watch) -> bytes:
        try:
            return _coder.static_decode(code, size)
        except ValueError as error:
            raise FormatError(str(error)) from error
