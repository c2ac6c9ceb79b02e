"""In Triton's interpreter, the kernels for training compute the same as the loop on a CPU."""

import os

import numpy as np
import pytest

os.environ.setdefault("TRITON_INTERPRET", "1")
torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from nzip.train import gpu, step  # noqa: E402
from nzip.train.model import M1, Config, Tables  # noqa: E402
from nzip.train.step import Lanes, Prepared, Rows  # noqa: E402

STEPS, LANES = 6, 4


@pytest.fixture
def model() -> M1:
    torch.manual_seed(1)
    tables = Tables(embed=48, contexts=[1, 2, 9], buckets=60)
    model = M1(Config(hidden=48, blocks=2, tables=tables))
    model.table.data.normal_(std=0.4)
    model.out.data.normal_(std=0.2)
    model.check.random_(-100, 100)
    return model


def close(mine: torch.Tensor, wanted: torch.Tensor) -> bool:
    return bool((mine - wanted).abs().max() <= 2e-3 * wanted.abs().max())


def test_forward_and_backward_are_those_of_the_loop(
    model: M1, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step, "bfloat16_is_fast", lambda: False)  # compared in float32
    table = model.table.data
    tables = gpu.SharedTables(
        table.clone(), torch.zeros(len(table)), 3, STEPS * LANES, torch.float32
    )
    network = gpu.Network(model, STEPS, LANES, "cpu", torch.float32)
    network.quantise()
    lanes = Lanes(model, STEPS, LANES, torch.float32)
    rng = np.random.default_rng(2)
    prepared = Prepared(model)
    for _ in range(2):  # the second continues where the first ended
        for grad in lanes.grads.values():
            grad.zero_()
        text = rng.integers(97, 110, (STEPS, LANES), np.uint8)
        lanes.forward(text, prepared, 4)
        nats = lanes.loss(text, prepared, 1.0)
        lanes.backward(prepared)
        read = torch.from_numpy(text).view(-1)
        got = network.forward(tables.embed(lanes.rows), read, network.h)
        assert got.sum().item() == pytest.approx(nats, rel=1e-5)
        assert close(network.h, lanes.h)
    network.backward(tables, 1.0, True)
    network.backward(tables, 1.0, False)
    assert close(tables.gradient, 2 * lanes.dembedded)
    for name, weight in network.weights.items():
        assert close(weight.grad, lanes.grads[name]), name


def test_rows_move_as_they_do_on_a_cpu(model: M1) -> None:
    table = model.table.data
    state = torch.rand(len(table))
    tables = gpu.SharedTables(table.clone(), state.clone(), 3, 30, torch.float32)
    rows = torch.randint(0, len(table), (30, 3), dtype=torch.int32)
    tables.gradient.normal_()
    updates = Rows(model, 90, 1)
    updates.state.copy_(state)
    updates.update(0, [(rows, tables.gradient.clone())], 0.3)
    tables.scatter(rows)
    tables.update(1.0, 0.3)
    assert close(tables.table, table)
    assert close(tables.state, updates.state)
    assert not tables.sums.any()
