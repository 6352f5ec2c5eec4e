"""Which images a step sees, and how they reach the device.

On a GPU nothing here makes the host wait for the device: what is copied there is copied from pinned memory, behind the
work that is already queued.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_lessons.views import Policy, apply, draw
from ssl_lessons.views.constants import to_device


class Batch(NamedTuple):
    """uint8 images [N, 3, H, W] of this rank, their labels [N] (or None) and places [N] in the set, on the device."""

    images: Tensor
    labels: Tensor | None
    index: Tensor


def seed_for(*parts) -> int:
    """A seed from a few words and numbers, the same on every machine (Python's own hash is not)."""
    return zlib.crc32("/".join(map(str, parts)).encode())


def epoch_order(n: int, epoch: int, seed: int) -> Tensor:
    """The shuffle of 0..n-1 that epoch `epoch` runs through."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed_for(seed, "epoch", epoch)))


def batch_indices(n: int, batch_size: int, step: int, seed: int) -> Tensor:
    """The images of batch `step`: epochs are shuffles of 0..n-1 without the incomplete last batch."""
    epoch, position = divmod(step, n // batch_size)
    return epoch_order(n, epoch, seed)[position * batch_size : (position + 1) * batch_size]


def resident(images, device: torch.device):
    """The images on the device when they take less than half of its free memory, else where they are."""
    if device.type != "cuda" or images.numel() >= torch.cuda.mem_get_info(device)[0] / 2:
        return images
    return images.to(device)


class Batches:
    """The batches of a run: `batches.get(step)`, or within `for step, batch in batches(start, steps)` read ahead.

    images: uint8 [N, 3, H, W], in memory, on the device, or stored pictures.  rows: this rank's part of a batch.
    While the device works on a batch, a thread reads the next one, where there is something to read: images that are
    neither in memory nor on the device of the run.
    """

    def __init__(
        self, images, labels: Tensor | None, batch_size: int, seed: int, rows: slice, device: torch.device
    ):
        self.images, self.batch_size, self.seed, self.rows, self.device = (
            images,
            batch_size,
            seed,
            rows,
            device,
        )
        self.labels = None if labels is None else labels.to(device)
        self.ahead = not isinstance(images, Tensor) or images.device.type != device.type
        self._epoch, self._order = -1, None

    def get(self, step: int) -> Batch:
        """The batch of one step."""
        index = self._index(step)
        return self._batch(index, self._read(index))

    def __call__(self, start: int, steps: int) -> Iterator[tuple[int, Batch]]:
        """(step, batch) for the steps from `start` to `steps` - 1, in order."""
        if not self.ahead:
            yield from ((step, self.get(step)) for step in range(start, steps))
            return
        with ThreadPoolExecutor(1) as reader:
            following = None
            for step in range(start, steps + 1):
                here = following
                if step < steps:
                    # The thread only copies.  Anything of torch's that works in parallel would give it threads of its
                    # own, and with more of them than cores, those of the training no longer wait awake.
                    index = self._index(step)
                    following = index, reader.submit(self._read, index)
                if here is not None:
                    yield step - 1, self._batch(here[0], here[1].result())

    def _index(self, step: int) -> Tensor:
        epoch, position = divmod(step, len(self.images) // self.batch_size)
        if epoch != self._epoch:
            order = epoch_order(len(self.images), epoch, self.seed)
            self._epoch, self._order = epoch, order if self.ahead else to_device(order, self.device)
        return self._order[position * self.batch_size : (position + 1) * self.batch_size][self.rows]

    def _read(self, index: Tensor) -> Tensor:
        return to_device(self.images[index], self.device)

    def _batch(self, index: Tensor, images: Tensor) -> Batch:
        index = to_device(index, self.device)
        return Batch(images, None if self.labels is None else self.labels[index], index)


def views_of(
    images: Tensor, policies: Sequence[Policy], n: int, rows: slice, generator: torch.Generator
) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """The views of `images`, which are the `rows` of a batch of n, and what was drawn for each: the same ones whoever
    else sees the other rows.

    The random numbers are drawn for all n images, 38 each, which costs next to nothing; the views of other rows are
    never made.
    """
    views, used = [], []
    for policy in policies:
        parameters = draw(policy, n, images.shape[2:], generator)
        used.append({name: value[rows] for name, value in parameters.items()})
        views.append(apply(images, policy, used[-1]))
    return [v.contiguous(memory_format=torch.channels_last) for v in views], used
