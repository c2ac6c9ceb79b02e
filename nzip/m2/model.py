"""A decoder-only transformer: pre-norm, rotary positions, tied embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHUNK = 2048  # positions whose logits are in memory at the same time


@dataclass(frozen=True)
class Config:
    """Shape of a model. vocab: number of tokens. context: positions that attention covers."""

    vocab: int
    layers: int
    width: int
    heads: int
    context: int = 256

    @property
    def inner_parameters(self) -> int:
        """Number of weights without embeddings, as the paper counts them."""
        return self.layers * (12 * self.width**2 + 2 * self.width) + self.width

    @property
    def flops(self) -> int:
        """Floating-point operations of the forward pass per token.

        Matrices, the output layer, and attention over half the context.
        """
        matrices = 2 * self.layers * 12 * self.width**2
        return matrices + 2 * self.width * self.vocab + 2 * self.layers * self.context * self.width


class _CrossEntropy(torch.autograd.Function):
    """The sum of the cross-entropies of an output layer, in nats.

    Positions are processed in chunks: all logits of a large vocabulary would not fit in memory.
    With gradients the probabilities, and so the sum, have the precision of ``x``.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        train = ctx.needs_input_grad[0]
        # Rows whose length is a multiple of 64 are multiplied twice as fast.
        vocab, padding = len(weight), -len(weight) % 64
        cast = F.pad(weight.to(x.dtype), (0, 0, 0, padding))
        total = torch.zeros((), dtype=torch.float32, device=x.device)
        dx, dw = (torch.empty_like(x), torch.empty_like(weight)) if train else (x, weight)
        for start in range(0, len(x), CHUNK):
            part, wanted = x[start : start + CHUNK], targets[start : start + CHUNK, None]
            logits = part @ cast.T
            if not train:
                for some, ids in zip(logits.split(64), wanted.split(64), strict=True):
                    exact = some[:, :vocab].float()
                    total += F.cross_entropy(exact, ids[:, 0], reduction="sum")
                continue
            logits[:, vocab:] = float("-inf")
            odds = torch.softmax(logits, 1, out=logits)
            total -= odds.gather(1, wanted).float().log().sum()
            odds[torch.arange(len(part), device=x.device), wanted[:, 0]] -= 1
            dx[start : start + CHUNK] = odds @ cast
            # [width, vocab], since transposing the left side of a product is cheaper.
            part_dw = (part.T.contiguous() @ odds).T[:vocab]
            dw.add_(part_dw) if start else dw.copy_(part_dw)
        if train:
            ctx.save_for_backward(dx, dw)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        dx, dw = ctx.saved_tensors
        return dx * grads[0].to(dx.dtype), dw * grads[0], None


def rotary(context: int, size: int) -> Tensor:
    """Cosines and sines of the rotary angles, float [2, context, size / 2]."""
    frequencies = 10_000.0 ** (-torch.arange(0, size, 2) / size)
    angles = torch.outer(torch.arange(context), frequencies)
    return torch.stack([angles.cos(), angles.sin()])


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotate x, [batch, heads, positions, size], by the angles of its positions."""
    cos, sin = angles.to(x.dtype)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """Attention for q, k and v, [batch, heads, positions, size]; to all of ``k`` unless causal."""
    if q.is_cuda:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    # On a CPU this is more than twice as fast as the fused kernel, above all the backward pass.
    shape = q.shape
    q, k, v = q.flatten(0, 1) * shape[-1] ** -0.5, k.flatten(0, 1).transpose(1, 2), v.flatten(0, 1)
    if causal:
        above = torch.full((shape[2], shape[2]), float("-inf"), dtype=q.dtype, device=q.device)
        scores = torch.baddbmm(above.triu(1)[None], q, k)
    else:
        scores = q @ k
    return (scores.softmax(-1).to(v.dtype) @ v).view(shape)


Cache = list[tuple[Tensor, Tensor]]  # keys and values so far, of each layer


class Block(nn.Module):
    """Attention, then two linear layers with a GELU, each around a normalisation."""

    def __init__(self, config: Config):
        super().__init__()
        w = config.width
        self.heads = config.heads
        self.norm1, self.norm2 = nn.LayerNorm(w, bias=False), nn.LayerNorm(w, bias=False)
        self.qkv = nn.Linear(w, 3 * w, bias=False)
        self.join = nn.Linear(w, w, bias=False)
        self.up = nn.Linear(w, 4 * w, bias=False)
        self.down = nn.Linear(4 * w, w, bias=False)

    def forward(
        self, x: Tensor, angles: Tensor, past: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        batch, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        q, k = rotate(q, angles), rotate(k, angles)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        out = attend(q, k, v, causal=past is None)
        x = x + self.join(out.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.norm2(x)))), (k, v)


class M2(nn.Module):
    """A transformer that predicts each token from those before it."""

    angles: Tensor

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width, bias=False)
        angles = rotary(config.context, config.width // config.heads)
        self.register_buffer("angles", angles, persistent=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                scale = (
                    (2 * config.layers) ** -0.5
                    if name.endswith(("join.weight", "down.weight"))
                    else 1
                )
                nn.init.normal_(weight, std=0.02 * scale)

    def _hidden(self, tokens: Tensor, past: Cache | None) -> tuple[Tensor, Cache]:
        start = past[0][0].shape[2] if past else 0
        angles = self.angles[:, start : start + tokens.shape[1]]
        x, cache = self.embed(tokens), []
        for number, block in enumerate(self.blocks):
            x, kept = block(x, angles, past[number] if past else None)
            cache.append(kept)
        return self.norm(x), cache

    def loss(self, tokens: Tensor, targets: Tensor) -> Tensor:
        """The sum of the losses at all positions, in nats; both int64 [batch, positions]."""
        x, _ = self._hidden(tokens, None)
        if torch.is_autocast_enabled(x.device.type):  # norms give float32
            x = x.to(torch.get_autocast_dtype(x.device.type))
        return _CrossEntropy.apply(x.flatten(0, 1), self.embed.weight, targets.flatten())

    def next(self, tokens: Tensor, past: Cache | None = None) -> tuple[Tensor, Cache]:
        """Predict the token after ``tokens``: (logits, float [batch, vocab], and the new cache).

        past: the cache for the tokens before these; together they are at most ``context``.
        """
        x, cache = self._hidden(tokens, past)
        return F.linear(x[:, -1], self.embed.weight.to(x.dtype)).float(), cache
