"""``ac``: the whole block in one arithmetic-coded stream.

Part of the format (docs/format.md), except for the choice to leave M1 out of a block.

M1's prediction is mixed with n-gram and match models that learn from the block, in one of three
profiles; or M1 is used alone, which is the paper's AC (arXiv 2309.10668, section 2).
"""

from __future__ import annotations

from .. import _predict, frame
from .._predict import Watch
from ..models import Model
from ..prior import Prior

SAMPLES, SAMPLE = 8, 512  # number and bytes of the pieces of a block that M1 is tried on
M1_LIMIT = 10.0  # bits per byte: more than any text needs, and less than binaries do


class Ac:
    """Arithmetic coding of a block; see ``modes.Mode``."""

    def __init__(self, model: Model | None, coding: int, prior: Prior | None = None):
        """coding: one of ``frame.MIXED`` or AC_PLAIN. A prior needs one of MIXED, and a model."""
        self._model, self._prior = model, prior
        self._predictor = model.predictor if model else None
        self.coding = coding
        self._profile = 0 if coding == frame.AC_PLAIN else coding

    def encode(self, block: bytes, watch: Watch) -> tuple[int, bytes] | None:
        if self._prior and self._model:
            code = self._prior.encode_block(self._model, self._profile, block, watch)
            return None if code is None else (frame.CODED, code)
        alone = self._profile > 0 and not self._m1_helps(block)
        predictor = None if alone else self._predictor
        code = _predict.ac_encode(predictor, self._profile, block, watch=watch)
        return None if code is None else (frame.WITHOUT_M1 if alone else frame.CODED, code)

    def _m1_helps(self, block: bytes) -> bool:
        """False for data that M1 cannot predict, such as binaries, where it would waste time."""
        if len(block) < SAMPLES * SAMPLE:
            return True
        starts = range(0, len(block), len(block) // SAMPLES)
        sample = b"".join(block[start : start + SAMPLE] for start in starts)
        code = _predict.ac_encode(self._predictor, 0, sample, 2 * len(sample))
        return code is not None and 8 * len(code) < M1_LIMIT * len(sample)

    def decode(self, code: bytes, size: int, watch: Watch) -> bytes:
        if self._prior and self._model:
            return self._prior.decode_block(self._model, self._profile, code, size, watch)
        return _predict.ac_decode(self._predictor, self._profile, code, size, watch=watch)
