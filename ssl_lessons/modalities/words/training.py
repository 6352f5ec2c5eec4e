"""Word vectors learned from a text: batches of examples, the loop, the objectives of word2vec, GloVe."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ssl_lessons import diagnostics
from ssl_lessons.modalities.words import counts, objectives
from ssl_lessons.modalities.words.objectives import WordVectors

EARLY, MEASUREMENTS = (1, 5, 10, 20, 40), 10  # steps at which, and how often per run, somebody may watch


class Batch(NamedTuple):
    """B training examples: word [B], one neighbour each [B], all neighbours [B, 2 window] (-1: none), noise [B, k].

    log_q [V]: the logarithm of the noise distribution, the same in every batch.
    """

    word: Tensor
    neighbour: Tensor
    windows: Tensor
    noise: Tensor
    log_q: Tensor


def batches(
    corpus: counts.Corpus,
    steps: int,
    generator: torch.Generator,
    window: int = 5,
    k: int = 5,
    threshold: float = 0.0,
    size: int = 1024,
) -> Iterator[Batch]:
    """`steps` batches of `size` (word, neighbour) pairs, drawn with replacement, k noise words with each.

    As in word2vec: frequent words are dropped first (threshold; 0 drops none), every word has its own window radius,
    noise words are drawn in proportion to count^(3/4).
    """
    text = counts.subsample(corpus, threshold, generator) if threshold else corpus
    windows = counts.context_windows(text, window, generator)
    row, column = (windows >= 0).nonzero(as_tuple=True)
    q = counts.noise_distribution(corpus.counts).float()
    for _ in range(steps):
        pick = torch.randint(len(row), (size,), generator=generator)
        noise = torch.multinomial(q, size * k, replacement=True, generator=generator).view(size, k)
        r = row[pick]
        yield Batch(text.tokens[r], windows[r, column[pick]], windows[r], noise, q.log())


def learn(
    corpus: counts.Corpus,
    loss_of: Callable[[WordVectors, Batch], Tensor],
    steps: int,
    *,
    dim: int = 40,
    lr: float = 0.03,
    seed: int = 0,
    bias: bool = False,
    watch: Callable[[Tensor], float] | None = None,
    **options,
) -> tuple[WordVectors, list[dict]]:
    """Train word vectors by Adam with a linearly falling learning rate; the model, and what was seen on the way.

    bias: whether the bias of the output words is trained (word2vec has none; probabilities need one).  watch(v) -> a
    measure of quality of the vectors [V, D], taken ten times, and a few times in the first steps.  options: those of
    `batches`.
    """
    generator = torch.Generator().manual_seed(seed)
    model = WordVectors(len(corpus.words), dim, generator)
    model.bias.requires_grad_(bias)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, steps)
    history = []
    for step, batch in enumerate(batches(corpus, steps, generator, **options), start=1):
        loss = loss_of(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if watch and (step % max(1, steps // MEASUREMENTS) == 0 or step in EARLY):
            v = model.input.detach()
            seen = {"quality": watch(v), "spread": diagnostics.spread(v)}
            history.append({"step": step, "loss": loss.item(), **seen})
    return model, history


def skip_gram(model: WordVectors, b: Batch) -> Tensor:
    """A word against its neighbour and k noise words."""
    v = model.input[b.word]
    return objectives.negative_sampling_loss(model.score(v, b.neighbour), model.score(v, b.noise))


def cbow(model: WordVectors, b: Batch) -> Tensor:
    """The mean of the neighbours against the word and k noise words."""
    h = model.context_mean(b.windows)
    return objectives.negative_sampling_loss(model.score(h, b.word), model.score(h, b.noise))


def skip_gram_nce(model: WordVectors, b: Batch) -> Tensor:
    """Skip-gram whose scores are log-probabilities; to be trained with bias=True."""
    v = model.input[b.word]
    scores = model.score(v, b.neighbour), model.score(v, b.noise)
    return objectives.nce_loss(*scores, b.log_q[b.neighbour], b.log_q[b.noise])


def skip_gram_softmax(model: WordVectors, b: Batch) -> Tensor:
    """Skip-gram with the whole denominator; to be trained with bias=True."""
    return F.cross_entropy(model.input[b.word] @ model.output.T + model.bias, b.neighbour)


def skip_gram_tree(corpus: counts.Corpus) -> Callable[[WordVectors, Batch], Tensor]:
    """Skip-gram with the hierarchical softmax on the Huffman tree of the corpus: an objective for `learn`."""
    tree = objectives.huffman(corpus.counts)
    return lambda model, b: objectives.hierarchical_loss(model.input[b.word], b.neighbour, model.output, tree)


def no_negatives(model: WordVectors, b: Batch) -> Tensor:
    """Skip-gram that is never shown a wrong neighbour; it collapses."""
    return -F.logsigmoid(model.score(model.input[b.word], b.neighbour)).mean()


def fit_glove(
    X: Tensor, dim: int = 40, steps: int = 300, lr: float = 0.05, x_max: float = 100.0, seed: int = 0
) -> list[Tensor]:
    """GloVe on a table of counts X [V, V], by Adam on the whole table: w [V, D], c [V, D], their biases b, d [V]."""
    generator = torch.Generator().manual_seed(seed)
    start = [(torch.rand(len(X), dim, generator=generator) - 0.5) / dim for _ in range(2)]
    leaves = [t.requires_grad_() for t in (*start, torch.zeros(len(X)), torch.zeros(len(X)))]
    optimizer = torch.optim.Adam(leaves, lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        objectives.glove_loss(*leaves, X, x_max).backward()
        optimizer.step()
    return [t.detach() for t in leaves]
