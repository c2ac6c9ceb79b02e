from collections.abc import Sequence

TRAIL: int
CANDIDATES: int

class Shape:
    def __init__(
        self, steps: int, lanes: int, hidden: int, embed: int, bf16: bool, quantise: bool
    ) -> None: ...
    def normalise_forward(
        self, start: int, product: int, scale: int, bias: int, out: int, inverse: int, unit: int
    ) -> None: ...
    def normalise_backward(
        self, gradient: int, x: int, inverse: int, first: bool, dx: int, copy: int, sums: int
    ) -> None: ...
    def recurrence_forward(
        self, product: int, scale: int, bias: int, hs: int, shown: int
    ) -> None: ...
    def recurrence_backward(
        self,
        gradient: int,
        product: int,
        scale: int,
        bias: int,
        hs: int,
        dz: int,
        dbias: int,
        carry: int,
    ) -> None: ...
    def tree_loss(
        self,
        unit: int,
        embedded: int,
        text: int,
        out: int,
        bias: int,
        factor: float,
        dunit: int,
        dembedded: int,
        dout: int,
        dbias: int,
    ) -> float: ...
    def embed_backward(self, embedded: int, more: int, gradient: int) -> None: ...
    def to_act(self, start: int, count: int, to: int) -> None: ...

class Places:
    def __init__(self, contexts: Sequence[int], buckets: int, ways: int, embed: int) -> None: ...
    def count(self, text: int, steps: int, lanes: int, trails: int, candidates: int) -> None: ...
    def find(
        self, check: int, text: int, steps: int, lanes: int, trails: int, rows: int
    ) -> None: ...
    def sum(
        self, table: int, rows: int, n: int, bits: int, quantise: bool, embedded: int
    ) -> None: ...
    def gather(
        self,
        rows: int,
        gradient: int,
        n: int,
        part: int,
        parts: int,
        place: int,
        sums: int,
        touched: int,
        count: int,
        capacity: int,
    ) -> int: ...
    def update(
        self,
        table: int,
        state: int,
        place: int,
        sums: int,
        touched: int,
        count: int,
        rate: float,
    ) -> None: ...
