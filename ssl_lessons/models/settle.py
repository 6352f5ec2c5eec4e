"""Settled BatchNorm: running statistics of an untrained, or barely trained, network, from forward passes alone."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from ssl_lessons.errors import InputError
from ssl_lessons.models.devices import pick_device
from ssl_lessons.views import normalize


def settle(
    network: nn.Module,
    images: Tensor,
    *,
    batch_size: int = 256,
    passes: int = 1,
    device: torch.device | str | None = None,
) -> nn.Module:
    """The same network, with the running statistics of its BatchNorms averaged over `images` in training mode.

    Why: in evaluation mode a BatchNorm subtracts and divides by statistics of the batches it was trained on.  One that
    has seen none subtracts 0 and divides by 1 instead of by the deviation of its input, a small number behind random
    weights: with every layer the differences between images shrink against the biases, the outputs crowd around one
    point, and the network looks collapsed before it was trained.  So settle a network that serves as a baseline.

    network: an encoder, images [N, 3, S, S] -> [N, dim], or a Method, of which `embed` is run and whose momentum
    teachers get the statistics of their students, as in training.  What is not run (a predictor) keeps its own.
    images: uint8 [N, 3, H, W], a tensor or data.StoredPictures; a few hundred do.  They are shuffled, not from the
    global random state, and cut into batches as equal as can be, of at most `batch_size`; every pass shuffles anew, and
    every batch counts the same (torch.optim.swa_utils.update_bn).  device: as in `evaluation.extract_features`.

    Weights, modes, device and random states stay as they were; a network without BatchNorm is not run at all.
    Raises InputError for fewer than two images, a batch_size below 2, passes below 1, and images that are none.
    """
    if batch_size < 2 or passes < 1:
        raise InputError(f"batch_size has to be 2 or more and passes 1 or more, not {batch_size}, {passes}")
    if len(images) < 2:
        raise InputError(f"statistics need at least two images, not {len(images)}: give a few hundred")
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    embed = getattr(network, "embed", None)  # of a ViT, a layer
    run = network if embed is None or isinstance(embed, nn.Module) else embed
    home = next((p.device for p in network.parameters()), torch.device("cpu"))
    device = pick_device(device) if device is not None or home.type == "cpu" else home
    kept = [(m, m.momentum, [b.clone() for b in m.buffers()]) for m in norms]
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.to(device)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            update_bn(_batches(images, batch_size, passes, device), _Runner(network, run))
    finally:
        network.to(home)
        for module, training in modes:
            module.training = training
        for norm, momentum, buffers in kept:
            norm.momentum = momentum
            if not norm.num_batches_tracked:  # reset by update_bn, and not run
                _copy(buffers, norm.buffers())
    for student, teacher in getattr(network, "momentum_pairs", list)():
        _copy(student.buffers(), teacher.buffers())
    return network


class _Runner(nn.Module):
    """All modules of `network`, and `run` for what is called."""

    def __init__(self, network: nn.Module, run):
        super().__init__()
        self.network, self.run = network, run

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)


def _batches(images, batch_size: int, passes: int, device: torch.device) -> Iterator[Tensor]:
    """Normalised batches: as equal as can be, since the variance of a last batch of one does not exist."""
    for seed in range(passes):
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        for rows in order.tensor_split(-(-len(images) // batch_size)):
            yield normalize(images[rows].to(device))


def _copy(sources, targets) -> None:
    for target, source in zip(targets, sources, strict=True):
        target.copy_(source)
