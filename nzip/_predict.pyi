from collections.abc import Mapping, Sequence
from typing import Any

Buffer = Any

class Predictor:
    ahead: bool
    def __init__(
        self,
        hidden: int,
        blocks: int,
        embed: int,
        contexts: Sequence[int],
        ways: int,
        buckets: int,
        tensors: Mapping[str, Buffer],
        starts: Mapping[int, tuple[Buffer, Buffer]] | None = None,
    ) -> None: ...

class Stopped(Exception): ...

class Watch:
    done: int
    stopped: bool
    def stop(self) -> None: ...

def engine_name() -> str: ...
def block_lanes(size: int, profile: int) -> int: ...
def start_shape(profile: int) -> tuple[int, int, int]: ...
def ac_learn(
    predictor: Predictor,
    profile: int,
    text: Buffer,
    weights: Buffer,
    maps: Buffer,
    fresh: bool,
    watch: Watch | None = None,
) -> None: ...
def ac_encode(
    predictor: Predictor | None,
    profile: int,
    text: Buffer,
    room: int = 0,
    watch: Watch | None = None,
) -> bytes | None: ...
def ac_decode(
    predictor: Predictor | None,
    profile: int,
    code: Buffer,
    size: int,
    prompt: bytes = b"",
    watch: Watch | None = None,
) -> bytes: ...

class Warm:
    most: int
    def __init__(
        self,
        predictor: Predictor,
        profile: int,
        prior: Buffer,
        block: int,
        watch: Watch | None = None,
    ) -> None: ...
    def encode(
        self, text: Buffer, keep: bool = True, room: int = 0, watch: Watch | None = None
    ) -> bytes | None: ...
    def decode(
        self, code: Buffer, size: int, keep: bool = True, watch: Watch | None = None
    ) -> bytes: ...

def warm_size(prior: int, block: int) -> int: ...
def ac_probabilities(
    predictor: Predictor | None, profile: int, text: Buffer, watch: Watch | None = None
) -> bytearray: ...
def eqinfo_encode(
    predictor: Predictor,
    width: int,
    text: Buffer,
    room: int = 0,
    reset_every: int = 1,
    watch: Watch | None = None,
) -> bytes | None: ...
def eqinfo_decode(
    predictor: Predictor,
    width: int,
    code: Buffer,
    limit: int,
    reset_every: int = 1,
    watch: Watch | None = None,
) -> bytes: ...
def eqinfo_starts(
    predictor: Predictor,
    width: int,
    text: Buffer,
    reset_every: int = 1,
    watch: Watch | None = None,
) -> bytearray: ...
def eqinfo_tree(
    predictor: Predictor, width: int, watch: Watch | None = None
) -> tuple[bytearray, bytearray]: ...
def logits(
    predictor: Predictor, text: Buffer, lanes: int = 1, watch: Watch | None = None
) -> bytearray: ...
def outputs(predictor: Predictor, text: Buffer, watch: Watch | None = None) -> bytearray: ...
