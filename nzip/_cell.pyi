from collections.abc import Sequence

def recurrence_forward(
    shape: Sequence[int], first: int, last: int, quantise: bool, z: int, hs: int, y: int, /
) -> None: ...
def recurrence_backward(
    shape: Sequence[int], first: int, last: int, dy: int, z: int, hs: int, dz: int, dh: int, /
) -> None: ...
def normalise_forward(
    shape: Sequence[int], first: int, last: int, quantise: bool, x: int, inverse: int, y: int, /
) -> None: ...
def normalise_backward(
    shape: Sequence[int], first: int, last: int, grad: int, x: int, inverse: int, dx: int, /
) -> None: ...
