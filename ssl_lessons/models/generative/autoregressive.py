"""Models that write p(x) = prod_t p(x_t | x_<t): NADE, PixelCNN, the row LSTM, a tiny GPT, any-order prediction.

Images are int64 [N, H, W] with values 0..levels-1, read in raster order (left to right, top to bottom); every image
model returns logits [N, levels, H, W] and sees, for a pixel, only the pixels before it.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons.errors import InputError


def log_prob(model: nn.Module, x: Tensor) -> Tensor:
    """log p(x) in nats [N] of images or sequences x [N, ...], for a model that returns logits [N, levels, ...]."""
    return -F.cross_entropy(model(x), x, reduction="none").flatten(1).sum(dim=1)


def bits_per_symbol(model: nn.Module, x: Tensor) -> float:
    """-log2 p(x) per pixel or character, the mean over x [N, ...]: log2(levels) for a uniform guess."""
    with torch.no_grad():
        return float(-log_prob(model, x).mean() / math.log(2) / x[0].numel())


@torch.no_grad()
def sample_images(model: nn.Module, n: int, side: int, generator: torch.Generator) -> Tensor:
    """n images [n, side, side], one pixel at a time in raster order: side^2 passes through the network."""
    x = torch.zeros(n, side, side, dtype=torch.long)
    for row in range(side):
        for column in range(side):
            p = model(x)[:, :, row, column].softmax(dim=1)
            x[:, row, column] = torch.multinomial(p, 1, generator=generator)[:, 0]
    return x


@torch.no_grad()
def continued(
    model: nn.Module, x: Tensor, length: int, generator: torch.Generator, temperature: float = 1.0
) -> Tensor:
    """Symbols x [N, T] and what a model with logits [N, K, T] draws after them, one after the other: [N, length]."""
    if not 0 < x.shape[1] < length or temperature <= 0:
        raise InputError("continued needs at least one symbol, fewer than length, and a temperature above 0.")
    while x.shape[1] < length:
        blank = torch.zeros_like(x[:, :1])  # the place to be predicted: a model never looks at it
        p = (model(torch.cat([x, blank], dim=1))[..., -1] / temperature).softmax(dim=1)
        x = torch.cat([x, torch.multinomial(p.cpu(), 1, generator=generator).to(x)], dim=1)
    return x


def _scaled(x: Tensor, model: nn.Module) -> Tensor:
    """Pixel values 0..levels-1 [N, H, W] as one channel in [-1, 1]: [N, 1, H, W]; floats pass unchanged."""
    if not x.is_floating_point():
        x = 2 * x.to(model.out.weight.dtype) / (model.levels - 1) - 1
    return x[:, None]


# ---- NADE --------------------------------------------------------------------------------------------------


class NADE(nn.Module):
    """Neural autoregressive distribution estimator of binary vectors (Larochelle and Murray 2011, section 3).

    h_d = s(c + sum_{k<d} W_k x_k),  p(x_d = 1 | x_<d) = s(b_d + V_d . h_d):  the hidden layers of all D conditionals
    share one matrix W, so that the sums grow by one term per dimension.  int64 [N, D] -> logits [N, 2, D].
    """

    def __init__(self, visible: int, hidden: int):
        super().__init__()
        self.W = nn.Parameter(torch.randn(visible, hidden) / math.sqrt(visible))
        self.V = nn.Parameter(torch.randn(visible, hidden) / math.sqrt(hidden))
        self.b, self.c = nn.Parameter(torch.zeros(visible)), nn.Parameter(torch.zeros(hidden))

    def states(self, x: Tensor) -> Tensor:
        """h_1 .. h_D and the state after the last dimension: [N, D + 1, H]."""
        terms = x[:, :, None].to(self.W.dtype) * self.W
        sums = torch.cat([torch.zeros_like(terms[:, :1]), terms.cumsum(dim=1)], dim=1)
        return torch.sigmoid(self.c + sums)

    def forward(self, x: Tensor) -> Tensor:
        one = self.b + (self.states(x)[:, :-1] * self.V).sum(dim=2)
        return torch.stack([torch.zeros_like(one), one], dim=1)


# ---- convolutions ------------------------------------------------------------------------------------------


class MaskedConv2d(nn.Conv2d):
    """A k x k convolution whose weights at and after the centre, in raster order, are zero (van den Oord et al. 2016).

    kind "A" also blocks the centre (the first layer must not see the pixel it predicts), "B" lets it through.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, kind: str):
        if kernel % 2 == 0 or kind not in ("A", "B"):
            raise InputError(
                f"a masked convolution needs an odd kernel and kind A or B, got {kernel}, {kind!r}"
            )
        super().__init__(c_in, c_out, kernel, padding=kernel // 2)
        mask = torch.zeros(kernel * kernel)
        mask[: kernel * kernel // 2 + (kind == "B")] = 1
        self.register_buffer("mask", mask.view(kernel, kernel), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class PixelCNN(nn.Module):
    """A stack of masked convolutions (van den Oord et al. 2016, "Pixel recurrent neural networks", section 3.5).

    Its receptive field has a blind spot: pixels above and to the right that no path of masked convolutions reaches.
    """

    def __init__(self, levels: int = 2, width: int = 32, depth: int = 4, kernel: int = 3):
        super().__init__()
        self.levels = levels
        self.first = MaskedConv2d(1, width, kernel, "A")
        self.layers = nn.ModuleList(MaskedConv2d(width, width, kernel, "B") for _ in range(depth - 1))
        self.out = nn.Conv2d(width, levels, 1)

    def hidden(self, x: Tensor) -> list[Tensor]:
        """The features after every layer, [N, width, H, W] each."""
        found = [F.elu(self.first(_scaled(x, self)))]
        for layer in self.layers:
            found.append(found[-1] + F.elu(layer(found[-1])))
        return found

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.hidden(x)[-1])


class GatedPixelCNN(nn.Module):
    """Two stacks and a gate (van den Oord et al. 2016, "Conditional image generation with PixelCNN decoders").

    The vertical stack sees all rows above, left and right; the horizontal stack sees its own row to the left and is
    fed by the vertical one: together every earlier pixel, without a blind spot (section 2.2).  Gate: tanh(a) s(b).
    """

    def __init__(self, levels: int = 2, width: int = 24, depth: int = 4, kernel: int = 3):
        super().__init__()
        if kernel % 2 == 0:
            raise InputError(f"the kernel must be odd, got {kernel}")
        self.levels, self.reach = levels, kernel // 2
        inputs = [1] + [width] * (depth - 1)
        half = kernel // 2 + 1
        self.vertical = nn.ModuleList(nn.Conv2d(c, 2 * width, (half, kernel)) for c in inputs)
        self.horizontal = nn.ModuleList(nn.Conv2d(c, 2 * width, (1, half)) for c in inputs)
        self.down = nn.ModuleList(nn.Conv2d(2 * width, 2 * width, 1) for _ in inputs)
        self.mix = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in inputs)
        self.out = nn.Conv2d(width, levels, 1)

    def hidden(self, x: Tensor) -> list[Tensor]:
        """The horizontal stack's features after every layer, [N, width, H, W] each."""
        r, found = self.reach, []
        v = h = _scaled(x, self)
        for i, (vertical, horizontal, down, mix) in enumerate(
            zip(self.vertical, self.horizontal, self.down, self.mix, strict=True)
        ):
            # Only zeros are padded, above and to the left, so row r of `rows` has seen rows up to and including r.
            rows = vertical(F.pad(v, (r, r, r, 0)))
            above = F.pad(rows, (0, 0, 1, 0))[:, :, :-1]  # one row down: strictly above
            left = (
                F.pad(h, (r + 1, 0, 0, 0))[..., :-1] if i == 0 else F.pad(h, (r, 0, 0, 0))
            )  # kind A, then B
            gated = _gate(horizontal(left) + down(above))
            h = mix(gated) if i == 0 else h + mix(gated)
            v = _gate(rows)
            found.append(h)
        return found

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.elu(self.hidden(x)[-1]))


def _gate(z: Tensor) -> Tensor:
    a, b = z.chunk(2, dim=1)
    return torch.tanh(a) * torch.sigmoid(b)


class RowLSTM(nn.Module):
    """PixelRNN with row LSTM layers (van den Oord et al. 2016, "Pixel recurrent neural networks", section 3.1, eq. 3).

    A whole row is one step of the LSTM.  Input to state: a masked convolution along the row; state to state: an
    unmasked one over the state of the row above.  Its context is a triangle that widens upwards.
    """

    def __init__(self, levels: int = 2, width: int = 24, depth: int = 2, kernel: int = 3):
        super().__init__()
        if kernel % 2 == 0:
            raise InputError(f"the kernel must be odd, got {kernel}")
        self.levels, self.width, self.kernel = levels, width, kernel
        self.first = MaskedConv2d(1, width, kernel, "A")
        self.input = nn.ModuleList(
            nn.Conv1d(width, 4 * width, kernel // 2 + 1) for _ in range(depth)
        )  # kind B: centre and left
        self.state = nn.ModuleList(
            nn.Conv1d(width, 4 * width, kernel, padding=kernel // 2, bias=False) for _ in range(depth)
        )
        self.out = nn.Conv2d(width, levels, 1)

    def _layer(self, x: Tensor, to_state: nn.Module, from_state: nn.Module) -> Tensor:
        h = c = torch.zeros_like(x[:, :, 0])
        rows = []
        for row in x.unbind(dim=2):
            z = to_state(F.pad(row, (self.kernel // 2, 0))) + from_state(h)
            o, f, i, g = z.chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            rows.append(h)
        return torch.stack(rows, dim=2)

    def hidden(self, x: Tensor) -> list[Tensor]:
        """The features after every layer, [N, width, H, W] each."""
        found = [self.first(_scaled(x, self))]
        for to_state, from_state in zip(self.input, self.state, strict=True):
            found.append(found[-1] + self._layer(found[-1], to_state, from_state))
        return found

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.elu(self.hidden(x)[-1]))


def receptive_field(model: nn.Module, side: int, row: int, column: int, draws: int = 4) -> Tensor:
    """Which input pixels the output at (row, column) depends on: bool [side, side], by gradients at random inputs."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(draws, side, side, generator=generator).requires_grad_()
    model(x)[:, :, row, column].square().sum().backward()
    return x.grad.abs().sum(dim=0) > 0


# ---- transformers ------------------------------------------------------------------------------------------


class Block(nn.Module):
    """Pre-norm transformer block, attention then MLP; `queries` [N, Q, D] look at `memory` [N, M, D] through a mask.

    blocked: bool [Q, M], True where a query must not look.  With queries = memory this is self-attention.
    """

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, queries: Tensor, memory: Tensor, blocked: Tensor) -> Tensor:
        keys = self.norm1(memory)
        seen, _ = self.attention(self.norm1(queries), keys, keys, attn_mask=blocked, need_weights=False)
        queries = queries + seen
        return queries + self.mlp(self.norm2(queries))


class GPT(nn.Module):
    """A causal transformer (Radford et al. 2018; for pixels Chen et al. 2020): int64 [N, ...] -> logits [N, V, ...].

    Sequences [N, T] or images [N, H, W], read in raster order.  Token t is predicted from tokens before t: the input is
    shifted by one behind a learned start token, and attention never looks ahead.
    """

    def __init__(self, symbols: int, length: int, dim: int = 64, depth: int = 2, heads: int = 4):
        super().__init__()
        self.symbols = symbols
        self.embed = nn.Embedding(symbols, dim)
        self.start = nn.Parameter(0.02 * torch.randn(dim))
        self.positions = nn.Parameter(0.02 * torch.randn(length, dim))
        nn.init.normal_(self.embed.weight, std=0.1)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm, self.out = nn.LayerNorm(dim), nn.Linear(dim, symbols)

    def hidden(self, x: Tensor) -> list[Tensor]:
        """Activations [N, T, D] before the first block and after every block; row t has seen tokens before t."""
        tokens = self.embed(x.flatten(1))
        h = (
            torch.cat([self.start.expand(len(x), 1, -1), tokens[:, :-1]], dim=1)
            + self.positions[: tokens.shape[1]]
        )
        later = torch.ones(h.shape[1], h.shape[1], dtype=torch.bool, device=h.device).triu(1)
        found = [h]
        for block in self.blocks:
            found.append(block(found[-1], found[-1], later))
        return found

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.norm(self.hidden(x)[-1])).mT.reshape(len(x), self.symbols, *x.shape[1:])


class AnyOrderLM(nn.Module):
    """XLNet's idea in miniature (Yang et al. 2019, section 2.3): predict the tokens in any order, two streams.

    The content stream of a token has seen the token itself and those before it *in the order*; the query stream knows
    its place only, and looks at the content of tokens strictly before it.  int64 [N, T], order -> logits [N, V, T].
    """

    def __init__(self, symbols: int, length: int, dim: int = 64, depth: int = 2, heads: int = 4):
        super().__init__()
        self.embed = nn.Embedding(symbols, dim)
        self.start, self.query = (nn.Parameter(0.02 * torch.randn(dim)) for _ in range(2))
        self.positions = nn.Parameter(0.1 * torch.randn(length, dim))
        nn.init.normal_(self.embed.weight, std=0.1)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm, self.out = nn.LayerNorm(dim), nn.Linear(dim, symbols)

    def streams(self, x: Tensor, order: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Query and content [N, T, D] after the last block.  order [T]: a permutation; None: left to right."""
        n, t = x.shape
        order = torch.arange(t) if order is None else order
        if sorted(order.tolist()) != list(range(t)):
            raise InputError(f"order must be a permutation of 0..{t - 1}, not {order.tolist()}")
        rank = order.argsort()  # rank[i]: when position i is predicted
        before = torch.cat(
            [torch.ones(t, 1, dtype=torch.bool), rank[None] < rank[:, None]], dim=1
        )  # start: always
        upto = before | torch.eye(t, t + 1, dtype=torch.bool).roll(1, dims=1)  # and the token itself
        upto = torch.cat([torch.eye(1, t + 1, dtype=torch.bool), upto])  # the start token sees itself only
        content = torch.cat([self.start.expand(n, 1, -1), self.embed(x) + self.positions[:t]], dim=1)
        query = (self.query + self.positions[:t]).expand(n, -1, -1)
        for block in self.blocks:
            query, content = block(query, content, ~before), block(content, content, ~upto)
        return query, content[:, 1:]

    def forward(self, x: Tensor, order: Tensor | None = None) -> Tensor:
        return self.out(self.norm(self.streams(x, order)[0])).mT
