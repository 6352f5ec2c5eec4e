"""Losses that learn word vectors (negative sampling, noise-contrastive estimation, GloVe), and the vectors."""

import heapq
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from ssl_lessons.errors import InputError


def negative_sampling_loss(positive: Tensor, negative: Tensor) -> Tensor:
    """-log s(positive) - sum_k log s(-negative), mean over the batch.  s: the sigmoid.

    positive [B]: scores u_c . v_w of observed pairs; negative [B, k]: scores of the same words with k noise words.
    Mikolov et al. (2013, "Distributed representations", eq. 4).
    """
    _check(positive, negative)
    return -(logsigmoid(positive) + logsigmoid(-negative).sum(dim=1)).mean()


def nce_loss(
    positive: Tensor, negative: Tensor, log_noise_positive: Tensor, log_noise_negative: Tensor
) -> Tensor:
    """The same classification with the noise known: every score becomes  score - log(k q).

    positive [B], negative [B, k]: scores, read as unnormalised log-probabilities log p(c | w).
    log_noise_positive [B], log_noise_negative [B, k]: log q of the same context words under the noise distribution.
    Noise-contrastive estimation with the normaliser fixed to 1: Gutmann and Hyvarinen (2010), Mnih and Teh
    (2012).
    """
    _check(positive, negative)
    log_k = torch.log(torch.tensor(float(negative.shape[1]), dtype=positive.dtype))
    return negative_sampling_loss(
        positive - log_k - log_noise_positive, negative - log_k - log_noise_negative
    )


def _check(positive: Tensor, negative: Tensor) -> None:
    if positive.ndim != 1 or negative.ndim != 2 or len(positive) != len(negative) or not negative.numel():
        raise InputError(
            f"Scores must be [B] for the pairs and [B, k] for their k >= 1 noise words, "
            f"not {list(positive.shape)} and {list(negative.shape)}."
        )


class Tree(NamedTuple):
    """A binary tree with the words as leaves and V - 1 inner nodes.

    nodes [V, L]: the inner nodes on the way from the root to each word; turns [V, L]: +1 or -1, which way to turn at
    them, 0 after the word is reached.
    """

    nodes: Tensor
    turns: Tensor


def huffman(counts: Tensor) -> Tree:
    """The Huffman tree of words that occur counts [V] times, V >= 2: frequent words get short ways.

    The two rarest groups are joined again and again (Huffman 1952); used for the hierarchical softmax by Mikolov et al.
    (2013, "Efficient estimation", section 3).  Raises InputError for fewer than two words.
    """
    v = len(counts)
    if v < 2:
        raise InputError("huffman() needs at least two words.")
    heap = [(float(n), i) for i, n in enumerate(counts)]
    heapq.heapify(heap)
    parent: dict[int, tuple[int, int]] = {}  # leaf i, or V + inner node -> (inner node above, turn)
    for node in range(v - 1):
        (a, left), (b, right) = heapq.heappop(heap), heapq.heappop(heap)
        parent[left], parent[right] = (node, 1), (node, -1)
        heapq.heappush(heap, (a + b, v + node))
    ways = []
    for word in range(v):
        way, at = [], word
        while at in parent:
            node, turn = parent[at]
            way.append((node, turn))
            at = v + node
        ways.append(way[::-1])
    longest = max(map(len, ways))
    table = torch.tensor([way + [(0, 0)] * (longest - len(way)) for way in ways])
    return Tree(table[..., 0], table[..., 1])


def hierarchical_loss(hidden: Tensor, words: Tensor, inner: Tensor, tree: Tree) -> Tensor:
    """-log p(word) by the hierarchical softmax, mean over the batch, in nats.

    hidden [B, D]; words [B]; inner [V - 1 or more, D]: a vector per inner node.  p(word) is the product over the nodes
    on its way of s(turn * inner . hidden), s the sigmoid, so it sums to 1 over all words at a cost of one dot product
    per node on the way (Morin and Bengio 2005; Mikolov et al. 2013, "Distributed representations", section 2.1).
    """
    turns = tree.turns[words].to(hidden.dtype)
    scores = torch.einsum("bld,bd->bl", inner[tree.nodes[words]], hidden)
    return -(logsigmoid(turns * scores) * turns.abs()).sum(dim=1).mean()


def glove_weight(counts: Tensor, x_max: float = 100.0, alpha: float = 0.75) -> Tensor:
    """f(x) = (x / x_max)^alpha below x_max, 1 above; f(0) = 0 (Pennington et al. 2014, eq. 9)."""
    return (counts / x_max).clamp(max=1) ** alpha


def glove_loss(
    word: Tensor,
    context: Tensor,
    word_bias: Tensor,
    context_bias: Tensor,
    counts: Tensor,
    x_max: float = 100.0,
    alpha: float = 0.75,
) -> Tensor:
    """Sum over pairs that occur of f(X_ij) (w_i . c_j + b_i + d_j - log X_ij)^2 (Pennington et al. 2014, eq. 8).

    word, context [V, D]; word_bias, context_bias [V]; counts X [V, V].  Pairs that never occur cost nothing.
    """
    log = torch.where(
        counts > 0, counts, 1.0
    ).log()  # f(0) = 0 takes the others out; faster than gathering pairs
    error = word @ context.T + word_bias[:, None] + context_bias - log
    return (glove_weight(counts, x_max, alpha) * error.square()).sum()


class WordVectors(nn.Module):
    """Two vectors and a bias per word: `input` v [V, D] as a word, `output` u [V, D] and `bias` [V] as a neighbour.

    As in word2vec, v starts uniform in +-1 / (2 D) and u at zero; the bias starts at zero.
    """

    def __init__(self, vocabulary: int, dim: int, generator: torch.Generator | None = None):
        super().__init__()
        start = (torch.rand(vocabulary, dim, generator=generator) - 0.5) / dim
        self.input, self.output = nn.Parameter(start), nn.Parameter(torch.zeros(vocabulary, dim))
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def context_mean(self, windows: Tensor) -> Tensor:
        """CBOW's hidden layer: the mean of the input vectors of windows [B, C]; -1 marks an empty place: [B, D]."""
        there = (windows >= 0).to(self.input.dtype)
        total = torch.einsum("bc,bcd->bd", there, self.input[windows.clamp(min=0)])
        return total / there.sum(dim=1, keepdim=True).clamp(min=1)

    def score(self, hidden: Tensor, words: Tensor) -> Tensor:
        """u_c . h + bias_c for hidden [B, D] and words [B] or [B, k]: of the shape of `words`."""
        u = self.output[words]
        return (u * (hidden if words.ndim == 1 else hidden[:, None])).sum(dim=-1) + self.bias[words]
