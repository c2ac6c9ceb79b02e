"""Trains several networks and their shared tables on one GPU, in a given time.

    python tools/gpu_train.py SHARDS OUT --seconds 600

continues from the models in the package. The run watches SHARDS and adds shards as they arrive, so
training can begin before all of them are there. docs/training.md describes the procedure.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import queue
import threading
import time
from collections import deque
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from nzip import models
from nzip.corpus import documents
from nzip.train import _cell
from nzip.train.data import PIECE, Corpus, relaid, source_name
from nzip.train.gpu import Network, SharedTables
from nzip.train.loop import Options, rate_at
from nzip.train.model import M1, SIZES, Config
from nzip.train.modelfile import load, save, save_tables

# By source: its share of the bytes read, and the share of its pieces that are laid out differently.
MIX = {
    "wiki": 26.0, "prose": 20.0, "web": 14.0, "docs": 11.0, "code": 10.5, "lang": 6.5,
    "data": 6.0, "news": 4.0, "misc": 3.2, "logs": 1.4,
}  # fmt: skip
RELAY = {"prose": 0.4, "wiki": 0.08, "web": 0.08, "docs": 0.05, "misc": 0.1}
ENGLISH = ("wiki", "prose", "web", "news")
# By network: its share of the tables' gradient.
NETWORKS = {"nano": 0.3, "small": 0.3, "base": 0.25, "large": 0.15}
STATE_BATCH = 10240  # the tables' states are for mean gradients over this many bytes
HELD_STEPS, HELD_LANES = 128, 32  # of each source


def read_shard(path: Path) -> tuple[str, bytes, list[tuple[int, int, int]], bytes]:
    """(source, bytes, pieces, held-out text). A piece is its offset, its length, and the index in
    the list of the same text laid out differently; -1 if there is none, -2 for that twin
    itself. The first documents of a source's first shard are held out."""
    name = source_name(path)
    held, skip = Corpus.hold_out(path) if path.name.startswith(f"{name}-00") else (b"", 0)
    rng = np.random.default_rng(len(path.name))
    share = 2 * RELAY.get(name, 0.0)  # only one of the two is drawn
    out, pieces, size = [], [], 0
    for document in documents(path, skip=skip):
        for start in range(0, len(document), PIECE):
            piece = document[start : start + PIECE]
            other = relaid(piece, rng) if rng.random() < share else piece
            twins = [piece] if other == piece else [piece, other]
            for i, twin in enumerate(twins):
                pieces.append((size, len(twin), len(pieces) + 1 if len(twins) > i + 1 else -1 - i))
                out.append(twin)
                size += len(twin)
    return name, b"".join(out), pieces, held


class Text:
    """Batches from the shards in a folder. Each lane reads pieces of documents, drawn by source."""

    def __init__(
        self, folder: Path, model: M1, args: argparse.Namespace, readers: ProcessPoolExecutor
    ):
        steps, lanes, reset, parts = args.steps, args.lanes, args.reset, args.parts
        self.steps, self.lanes, self.reset, self.parts = steps, lanes, reset, parts
        self.folder = folder
        self.bytes = np.empty(2_000_000_000, np.uint8)  # pages are allocated as it fills
        self.filled = 0
        self.pieces: dict[str, np.ndarray] = {}
        self.held: dict[str, bytes] = {}
        self.seen: set[Path] = set()
        self.order: dict[str, list[int]] = {}
        self.rng = np.random.default_rng(1)
        self.places, self.check = model.config.tables.places(), model.check.numpy()
        self.contexts = len(model.config.tables.contexts)
        self.trails = np.zeros((lanes, _cell.TRAIL), np.uint8)
        self.at = np.zeros(lanes, np.int64)
        self.end = np.zeros(lanes, np.int64)
        self.offsets = np.arange(steps)
        self.pool = ThreadPoolExecutor(parts)
        self.readers = readers
        self.pending: list = []

    def take_in(self, wait: bool = False) -> None:
        """Start reading the shards that have arrived, and add those that have been read."""
        for path in sorted(self.folder.glob("*.txt.zst")):
            if path not in self.seen:
                self.seen.add(path)
                self.pending.append(self.readers.submit(read_shard, path))
        for job in list(self.pending):
            if not wait and not job.done():
                continue
            self.pending.remove(job)
            name, data, pieces, held = job.result()
            self.bytes[self.filled : self.filled + len(data)] = np.frombuffer(data, np.uint8)
            new = np.array(pieces, np.int64)
            new[:, 0] += self.filled
            old = self.pieces.get(name, np.empty((0, 3), np.int64))
            new[new[:, 2] > 0, 2] += len(old)
            self.filled += len(data)
            self.pieces[name] = np.concatenate([old, new])
            self.order.pop(name, None)
            if held:
                self.held = {**self.held, name: held}  # others may be reading it

    def _piece(self) -> tuple[int, int]:
        """Start and end of a piece, cut to whole segments."""
        names = list(self.pieces)
        # Shares are shares of bytes: a source with long pieces is drawn less often.
        if len(self.order) < len(names):
            self.odds = np.empty(len(names))
            for i, name in enumerate(names):
                used = self.pieces[name][:, 1] // self.steps * self.steps
                self.odds[i] = MIX[name] / max(1.0, float(used[used > 0].mean()))
            self.odds /= self.odds.sum()
        while True:
            name = names[self.rng.choice(len(names), p=self.odds)]
            pieces = self.pieces[name]
            if not self.order.get(name):
                whole = (pieces[:, 2] != -2) & (pieces[:, 1] >= self.steps)
                self.order[name] = self.rng.permutation(np.flatnonzero(whole)).tolist()
            number = self.order[name].pop()
            twin = int(pieces[number, 2])
            if twin > 0 and self.rng.random() < 0.5:
                number = twin
            start, length, _ = pieces[number]
            if length >= self.steps:
                return int(start), int(start + length // self.steps * self.steps)

    def find(self, text: np.ndarray, trails: np.ndarray, rows: np.ndarray) -> None:
        """Rows, int32 [parts, steps, lanes / parts, contexts], of text, uint8 [lanes, steps]."""
        parts = len(rows)
        share = len(text) // parts

        def one(part: int) -> None:
            mine = np.ascontiguousarray(text[part * share : (part + 1) * share].T)
            self.places.find(
                self.check.ctypes.data, mine.ctypes.data, *mine.shape,
                trails[part * share :].ctypes.data, rows[part].ctypes.data,
            )  # fmt: skip

        list(self.pool.map(one, range(parts)))

    def next(self, text: np.ndarray, fresh: np.ndarray, rows: np.ndarray) -> None:
        """A batch: text, uint8 [steps, lanes]; fresh, bool [lanes]; rows as find() gives them."""
        fresh[:] = self.rng.random(self.lanes) < self.reset
        for lane in np.flatnonzero(self.at >= self.end):
            self.at[lane], self.end[lane] = self._piece()
            fresh[lane] = True
        read = self.bytes[self.at[:, None] + self.offsets]
        self.at += self.steps
        self.trails[fresh] = 0
        self.find(read, self.trails, rows)
        text[:] = read.T


class Slot:
    """Memory for one batch, which the GPU reads."""

    def __init__(self, text: Text, pinned: bool):
        steps, lanes = text.steps, text.lanes
        shape = (text.parts, steps, lanes // text.parts, text.contexts)
        self.text = torch.empty(steps, lanes, dtype=torch.uint8, pin_memory=pinned)
        self.fresh = torch.empty(lanes, dtype=torch.bool, pin_memory=pinned)
        self.rows = torch.empty(shape, dtype=torch.int32, pin_memory=pinned)


def fill(text: Text, empty: queue.Queue, full: queue.Queue) -> None:
    """Fill empty slots until None arrives."""
    looked = 0.0
    while (slot := empty.get()) is not None:
        if time.monotonic() - looked > 1:
            text.take_in()
            looked = time.monotonic()
        text.next(slot.text.numpy(), slot.fresh.numpy(), slot.rows.numpy())
        full.put(slot)


class Run:
    """The networks, the tables and their optimisers."""

    def __init__(self, names: list[str], args: argparse.Namespace):
        self.args, self.device = args, torch.device(args.device)
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        steps, lanes = args.steps, args.lanes
        self.models: dict[str, M1] = {}
        self.networks: dict[str, Network] = {}
        torch.manual_seed(1)
        first = load(models.load(args.first), frozen=False)
        for name in names:
            if name in args.fresh:
                hidden, blocks = SIZES[name]
                model = M1(Config(hidden, blocks, first.config.tables))
            else:
                model = load(models.load(args.model.format(name)), frozen=False)
            self.networks[name] = Network(model, steps, lanes, args.device, dtype)
            model.table = first.table
            self.models[name] = model
        self.model = first
        state = torch.full((len(first.table),), args.state)
        if args.states:
            state = torch.load(args.states, weights_only=True).float() * args.keep
        contexts = len(first.config.tables.contexts)
        table = first.table.data.to(self.device)
        self.tables = SharedTables(table, state.to(self.device), contexts, steps * lanes, dtype)
        self.adams = {
            name: torch.optim.Adam(n.weights.values(), lr=1e-3, betas=(0.9, 0.99), fused=True)
            for name, n in self.networks.items()
        }
        self.sums = {name: torch.zeros((), device=self.device) for name in names}

    def step(self, slot: Slot, progress: float) -> None:
        """Read a batch and learn from it."""
        args = self.args
        text = slot.text.to(self.device, non_blocking=True).view(-1)
        keep = (~slot.fresh.to(self.device, non_blocking=True)).float()[None, :, None]
        rows = slot.rows.to(self.device, non_blocking=True).transpose(0, 1).reshape(len(text), -1)
        embedded = self.tables.embed(rows)
        rate = rate_at(int(progress * 1_000_000), 1_000_000, args.options)
        for number, (name, network) in enumerate(self.networks.items()):
            network.quantise()
            network.h *= keep
            self.sums[name] += network.forward(embedded, text, network.h).sum() / len(text)
            network.backward(self.tables, NETWORKS[name], number == 0)
            grads = [w.grad for w in network.weights.values() if w.grad is not None]
            torch._foreach_mul_(grads, 1 / len(text))
            torch.nn.utils.clip_grad_norm_(network.weights.values(), 1.0, foreach=True)
            adam = self.adams[name]
            adam.param_groups[0]["lr"] = args.rate * rate * math.sqrt(192 / network.hidden)
            adam.step()
        self.tables.scatter(rows)
        self.tables.update(1 / STATE_BATCH, args.table_rate * rate)

    def held_out(self, text: Text) -> dict[str, dict[str, float]]:
        """Bits per byte of held-out text, by network and source."""
        lanes, names = HELD_LANES * len(text.held), list(text.held)
        steps = min(HELD_STEPS, self.args.steps)
        lanes = min(lanes, self.args.steps * self.args.lanes // steps) // HELD_LANES * HELD_LANES
        length = min(self.args.held, *(len(t) // HELD_LANES for t in text.held.values()))
        length = length // steps * steps
        data = np.stack([
            np.frombuffer(t, np.uint8)[: HELD_LANES * length].reshape(HELD_LANES, length)
            for t in text.held.values()
        ]).reshape(-1, length)[:lanes]  # fmt: skip
        trails = np.zeros((lanes, _cell.TRAIL), np.uint8)
        rows = np.empty((1, steps, lanes, text.contexts), np.int32)
        nats = {name: torch.zeros(lanes, device=self.device) for name in self.networks}
        states = {
            name: torch.zeros(n.blocks, lanes, n.hidden, device=self.device)
            for name, n in self.networks.items()
        }
        for start in range(0, length, steps):
            part = np.ascontiguousarray(data[:, start : start + steps])
            text.find(part, trails, rows)
            read = torch.from_numpy(np.ascontiguousarray(part.T)).view(-1).to(self.device)
            embedded = self.tables.embed(torch.from_numpy(rows[0]).flatten(0, 1).to(self.device))
            for name, network in self.networks.items():
                got = network.forward(embedded, read, states[name])
                nats[name] += got.view(steps, lanes).sum(0)
        out = {}
        for name, total in nats.items():
            bits = total.view(-1, HELD_LANES).mean(1).cpu() / length / math.log(2)
            out[name] = dict(zip(names, bits.tolist(), strict=False))
        return out

    def write(self, folder: Path) -> None:
        """Write the model files, and the state from which a longer run could continue."""
        folder.mkdir(parents=True, exist_ok=True)
        self.model.table.data = self.tables.table.cpu()
        tables = folder / f"{self.args.tables}.safetensors"
        save_tables(self.model, tables, self.args.tables)
        digest = hashlib.sha256(tables.read_bytes()).hexdigest()
        floats = {}
        for name, network in self.networks.items():
            model = self.models[name]
            model.config.frozen = digest
            for key, parameter in model.dense().items():
                parameter.data.copy_(network.weights[key])
            full = self.args.name.format(name)
            save(model, folder / f"{full}.safetensors", full)
            floats[name] = {k: p.data for k, p in model.dense().items()}
        state = self.tables.state.cpu().bfloat16()
        torch.save({"networks": floats, "state": state}, folder / "floats.pt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("shards", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--fresh", default="large", help="networks that start from scratch")
    parser.add_argument("--model", default="{}-3", help="the model that a network continues from")
    parser.add_argument("--name", default="{}-3", help="the name of the result")
    parser.add_argument("--first", default="base-3", help="model with the tables to continue from")
    parser.add_argument("--tables", default="tables-3", help="name of the tables")
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--lanes", type=int, default=1024)
    parser.add_argument("--reset", type=float, default=1 / 64)
    parser.add_argument("--rate", type=float, default=3.5e-3, help="for 192 units")
    parser.add_argument("--table-rate", type=float, default=0.135)
    parser.add_argument("--state", type=float, default=1e-4, help="initial state of all rows")
    parser.add_argument("--states", type=Path, help="file of the rows' states")
    parser.add_argument("--keep", type=float, default=0.5, help="factor applied to those states")
    parser.add_argument("--decay", type=float, default=0.5)
    parser.add_argument("--parts", type=int, default=8, help="threads that look up rows")
    parser.add_argument("--report", type=float, default=30, help="seconds between reports")
    parser.add_argument("--held", type=int, default=2048, help="bytes per lane of held-out text")
    parser.add_argument("--device", default="cuda")
    args = parser.parse_args()
    args.fresh = args.fresh.split(",")
    # Steps out of a million: progress follows the clock.
    args.options = Options(warmup=10_000, decay=args.decay)
    pinned = args.device == "cuda"
    began = time.monotonic()
    readers = ProcessPoolExecutor(args.parts)
    readers.submit(int).result()  # start them before CUDA
    run = Run(args.networks.split(","), args)
    text = Text(args.shards, run.model, args, readers)
    text.take_in(wait=True)
    empty: queue.Queue = queue.Queue()
    full: queue.Queue = queue.Queue()
    for _ in range(6):
        empty.put(Slot(text, pinned))
    threading.Thread(target=fill, args=(text, empty, full), daemon=True).start()
    print(f"ready after {time.monotonic() - began:.1f} s", flush=True)
    used: deque = deque()
    began = reported = time.monotonic()
    step = last = 0
    waited = synced = 0.0
    size = args.steps * args.lanes
    while True:
        now = time.monotonic()
        progress = (now - began) / args.seconds
        if now - reported > args.report or progress >= 1 or step == 20:
            means = {name: s.item() / (step - last) / math.log(2) for name, s in run.sums.items()}
            for total in run.sums.values():
                total.zero_()
            speed = (step - last) * size / (time.monotonic() - reported)
            for network in run.networks.values():
                network.quantise()
            held = run.held_out(text)
            english = {
                n: sum(h[k] for k in ENGLISH if k in h) / max(1, len(set(h) & set(ENGLISH)))
                for n, h in held.items()
            }
            row = {
                "seconds": round(now - began, 1), "step": step, "bytes": step * size,
                "speed": round(speed), "idle": round(waited / max(1, step - last), 5),
                "ahead": round(synced / max(1, step - last), 5),
                "bpb": means, "english": english, "held": held, "shards": len(text.seen),
                "memory": torch.cuda.max_memory_allocated() if pinned else 0,
            }  # fmt: skip
            print(json.dumps(row), flush=True)
            reported, last, waited, synced = time.monotonic(), step, 0.0, 0.0
        if progress >= 1:
            break
        asked = time.monotonic()
        slot = full.get()
        waited += time.monotonic() - asked
        run.step(slot, progress)
        step += 1
        event = torch.cuda.Event() if pinned else None
        if event is not None:
            event.record()
        used.append((slot, event))
        if len(used) > 3:
            slot, event = used.popleft()
            if event is not None:
                asked = time.monotonic()
                event.synchronize()
                synced += time.monotonic() - asked
            empty.put(slot)
    empty.put(None)
    run.write(args.out)
    print(f"written after {time.monotonic() - began:.1f} s", flush=True)
    readers.shutdown(cancel_futures=True)


if __name__ == "__main__":
    main()
