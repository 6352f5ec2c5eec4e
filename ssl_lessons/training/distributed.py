"""Several processes train one model: who am I, which rows are mine, and everyone's rows with gradient.

torchrun starts N copies of one program, its ranks.  Each holds the whole model and takes N-th parts of every batch.
A loss that compares images needs the embeddings of all ranks (`gather`), BatchNorm the statistics of all ranks
(`synchronise_batch_norm`), and the optimiser the gradient of all ranks (`data_parallel`).  On one process all of
this does nothing.
"""

from __future__ import annotations

import os
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from ssl_lessons.errors import InputError
from ssl_lessons.training.launch import launched


@contextmanager
def process_group(device: torch.device):
    """Join the other ranks while inside: NCCL on GPUs, one per rank, gloo on CPUs.  Nothing to do on one process.

    Raises InputError when a machine runs more ranks than it has GPUs.
    """
    if not launched():
        yield
        return
    if device.type == "cuda":
        local, gpus = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if local >= gpus:
            raise InputError(
                f"process {local + 1} of this machine has no GPU of its own, there are {gpus}: "
                f"start torchrun with --nproc-per-node={gpus}, or rehearse on the CPU with --device cpu"
            )
        torch.cuda.set_device(local)  # from here on, "cuda" means this one
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def world_size() -> int:
    """How many ranks there are; 1 outside of `process_group`."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if world_size() > 1 else 0


def is_main() -> bool:
    """Whether this is rank 0, the one that prints and writes."""
    return rank() == 0


def barrier() -> None:
    """Wait until every rank is here."""
    if world_size() > 1:
        dist.barrier()


@contextmanager
def one_per_machine_first():
    """One rank of every machine goes through the block first (and downloads what is missing), then the others."""
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    if not first:
        barrier()
    try:
        yield
    finally:
        if first:
            barrier()


def from_main(work):
    """What work() returns on rank 0, the only one to call it, on every rank.  Its errors are raised on every rank."""
    if world_size() == 1:
        return work()
    box = [None]
    if is_main():
        try:
            box = [(work(), None)]
        except Exception as error:  # noqa: BLE001 - whatever it is, the others must not wait for a result
            box = [(None, error)]
    dist.broadcast_object_list(box)
    result, error = box[0]
    if error is not None:
        raise error
    return result


def mean(*values: float) -> list[float]:
    """The mean over the ranks of each value; NaN when one of them is."""
    if world_size() == 1:
        return list(values)
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    total = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return (total / world_size()).tolist()


def my_rows(n: int) -> slice:
    """The rows of a batch of n that are this rank's.

    Ranks hold consecutive parts, so that `gather` puts the rows back in the order of the batch.
    Raises InputError unless the ranks divide n.
    """
    ranks = world_size()
    if n % ranks:
        raise InputError(
            f"a batch of {n} cannot be shared by {ranks} processes: make it a multiple of {ranks}"
        )
    return slice(rank() * n // ranks, (rank() + 1) * n // ranks)


def gather(z: Tensor) -> Tensor:
    """The rows of all ranks: [N, D] on each of W ranks -> [W N, D] on every rank, with gradient.

    N must be the same on every rank.  Where the world size enters: every rank computes a loss from the gathered
    rows, so a row of this rank has a gradient on each of the W ranks, and the backward pass sums these.
    DistributedDataParallel then takes the mean of the parameters' gradients over the ranks.  Sum and mean together
    give the gradient of the mean of the ranks' losses: for the loss of the joined batch, which is the same on every
    rank, exactly the gradient of one process.  (A gather that hands back its own slice alone loses the sum, and the
    gradient of such a loss comes out W times too small.)
    """
    return z if world_size() == 1 else _Gather.apply(z)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        z = z.contiguous()
        parts = [torch.empty_like(z) for _ in range(world_size())]
        dist.all_gather(parts, z)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient):
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[my_rows(len(total))]


class JoinedBatchNorm(_BatchNorm):
    """BatchNorm over the rows of all ranks, for CPUs, where torch's own SyncBatchNorm does not run.

    x: [N, C, ...], as many rows on every rank; computed in float32 at least.  Mean and variance are means of the
    ranks' means, and `gather` carries the gradient through both.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        precise = x.to(torch.promote_types(x.dtype, torch.float32))
        others, shape = [d for d in range(x.ndim) if d != 1], [1, -1] + [1] * (x.ndim - 2)
        average = gather(precise.mean(others)[None]).mean(0)
        centred = precise - average.view(shape)
        variance = gather(centred.square().mean(others)[None]).mean(0)
        self._remember(average, variance, count=world_size() * x.numel() // x.shape[1])
        y = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(x.dtype)

    @torch.no_grad()
    def _remember(self, average: Tensor, variance: Tensor, count: int) -> None:
        """Move the running statistics, as torch does: towards the variance over n - 1."""
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(average.to(self.running_mean), share)
        self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var), share)

    def _check_input_dim(self, x: Tensor) -> None:
        """Any number of dimensions will do."""


def synchronise_batch_norm(model: nn.Module, device: torch.device) -> None:
    """Make every BatchNorm of the model, in place, use the statistics of the joined batch."""
    if world_size() == 1:
        return
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.__class__ = JoinedBatchNorm  # the same weights and statistics, another forward


def data_parallel(model: nn.Module, device: torch.device) -> nn.Module:
    """The model with gradients averaged over the ranks in every backward pass; the model itself on one process.

    Weights start as those of rank 0.  Buffers are left alone: synchronised BatchNorm keeps them equal.  A method
    compares the rows of all ranks from now on.
    """
    if world_size() == 1:
        return model
    model.gather = gather
    gpu = device.type == "cuda"
    # By default DDP regroups the gradients after its first step, and from three ranks on the grouping decides the order
    # of summation: a resumed run could differ in the last bit.  The search for unused parameters keeps the groups.
    return DistributedDataParallel(
        model,
        device_ids=[torch.cuda.current_device()] if gpu else None,
        broadcast_buffers=False,
        find_unused_parameters=not gpu and world_size() > 2,
    )
