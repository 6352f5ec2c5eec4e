"""One small transformer for sentences: both ways or left to right by a flag, and a decoder that reads another one."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.words import language


class Block(nn.Module):
    """Attention, then two layers of a perceptron, each added to what comes in after a layer norm (pre-norm)."""

    def __init__(self, width: int, heads: int, reads: bool = False, dropout: float = 0.0):
        super().__init__()
        self.heads, self.drop = heads, nn.Dropout(dropout)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2 + reads))
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.query, self.memory, self.read = (
            (nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width))
            if reads
            else (None,) * 3
        )
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(
        self, x: Tensor, see: Tensor, memory: Tensor | None = None, there: Tensor | None = None
    ) -> Tensor:
        """x [B, T, D]; see: bool, True where row t may look at column s, broadcast to [B, heads, T, T].

        memory [B, S, D] and there, bool [B, 1, 1, S]: what a decoder reads, and which of it is no padding.
        """
        x = x + self.drop(self.out(self._attend(*self.qkv(self.norms[0](x)).chunk(3, dim=-1), see)))
        if memory is not None:
            x = x + self.read(
                self._attend(self.query(self.norms[2](x)), *self.memory(memory).chunk(2, dim=-1), there)
            )
        return x + self.drop(self.mlp(self.norms[1](x)))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, see: Tensor) -> Tensor:
        q, k, v = (z.unflatten(-1, (self.heads, -1)).transpose(1, 2) for z in (q, k, v))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=see).transpose(1, 2).flatten(2)


class Transformer(nn.Module):
    """ids [B, T] -> states [B, T, width]; `logits` turns states into scores of all words.

    Word, position and segment vectors are added (Devlin et al. 2019, section 3); the scores are dot products with the
    same word vectors, plus a bias.  causal: a word sees itself and what stands before it; otherwise all words of the
    sentence see one another.  Padding is never seen.  reads: with cross-attention to a `memory` (a decoder).
    dropout: of the embedded words and of what each half of a block adds, in training mode.
    """

    def __init__(
        self, vocabulary: int = len(language.VOCABULARY), width: int = 64, heads: int = 4, depth: int = 2,
        length: int = language.PAIR_LENGTH + 1, causal: bool = False, reads: bool = False,
        dropout: float = 0.0,
    ):  # fmt: skip
        super().__init__()
        if width % heads or min(vocabulary, width, heads, depth, length) < 1:
            raise InputError(f"width {width} must be a multiple of heads {heads}, and all sizes at least 1.")
        self.width, self.causal, self.length = width, causal, length
        self.word, self.place = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.segment = nn.Embedding(2, width)
        for table in (self.word, self.place, self.segment):
            nn.init.normal_(
                table.weight, std=0.1
            )  # larger than BERT's 0.02: the network is small and trained briefly
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, reads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def layers(self, ids: Tensor, memory: Tensor | None = None, there: Tensor | None = None) -> list[Tensor]:
        """The states after the word vectors and after every block, the last one normed: depth + 1 of [B, T, width]."""
        b, t = ids.shape
        if t > self.length:
            raise InputError(f"This network has {self.length} positions, the text has {t} words.")
        x = self.word(ids) + self.place.weight[:t] + self.segment(language.segments(ids))
        real = (ids != language.PAD)[:, None, None, :]
        see = real & torch.ones(t, t, dtype=torch.bool, device=ids.device).tril() if self.causal else real
        states = [self.drop(x)]
        for block in self.blocks:
            states.append(block(states[-1], see, memory, there))
        return [*states[:-1], self.norm(states[-1])]

    def forward(self, ids: Tensor, memory: Tensor | None = None, there: Tensor | None = None) -> Tensor:
        return self.layers(ids, memory, there)[-1]

    def logits(self, states: Tensor) -> Tensor:
        """[..., width] -> [..., vocabulary]."""
        return states @ self.word.weight.T + self.bias


def multiply_adds(width: int, depth: int, tokens: int, outputs: int, predicted: float) -> float:
    """Multiplications of one forward pass over `tokens` words: 12 width^2 per word and block, attention, the output.

    outputs: scores per predicted word (the vocabulary, or 1); predicted: how many of the words are predicted.
    """
    per_word = depth * (12 * width**2 + 2 * tokens * width)
    return tokens * per_word + predicted * outputs * width
