from collections.abc import Mapping, Sequence
from typing import Any

Buffer = Any

class Predictor:
    def __init__(
        self,
        hidden: int,
        blocks: int,
        embed: int,
        contexts: Sequence[int],
        table_bits: Sequence[int],
        tensors: Mapping[str, Buffer],
    ) -> None: ...

def engine_name() -> str: ...
def block_lanes(size: int, adapt: bool) -> int: ...
def ac_encode(
    predictor: Predictor | None, adapt: bool, text: Buffer, room: int = 0
) -> bytes | None: ...
def ac_decode(
    predictor: Predictor | None, adapt: bool, code: Buffer, size: int, prompt: bytes = b""
) -> bytes: ...
def ac_probabilities(predictor: Predictor | None, adapt: bool, text: Buffer) -> bytearray: ...
def eqinfo_encode(
    predictor: Predictor, width: int, text: Buffer, room: int = 0
) -> bytes | None: ...
def eqinfo_decode(predictor: Predictor, width: int, code: Buffer, size: int) -> bytes: ...
def logits(predictor: Predictor, text: Buffer, lanes: int = 1) -> bytearray: ...
