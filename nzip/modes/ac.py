"""``ac``: the whole block in one arithmetic-coded stream.

M1's prediction and, unless ``adapt`` is off, n-gram and match models that learn from the block,
mixed. With ``adapt`` off this is the paper's AC (arXiv 2309.10668, section 2): M1 alone.
"""

from __future__ import annotations

from .. import _predict, frame


class Ac:
    """Arithmetic coding of a block; see ``modes.Mode``."""

    def __init__(self, predictor: _predict.Predictor | None, adapt: bool):
        self._predictor = predictor
        self._adapt = adapt
        if predictor is None:
            self.coding = frame.AC_ADAPTIVE
        else:
            self.coding = frame.AC if adapt else frame.AC_PLAIN

    def encode(self, block: bytes) -> bytes | None:
        return _predict.ac_encode(self._predictor, self._adapt, block)

    def decode(self, code: bytes, size: int) -> bytes:
        return _predict.ac_decode(self._predictor, self._adapt, code, size)
