"""A pretended GPU: programs run as on a Tesla T4, on a computer without one, and mistakes about devices are refused.

    import pretend_gpu
    pretend_gpu.install()               # for this process, for good, before the first backward pass
    x = torch.randn(3, device="cuda")   # a GpuTensor: its device is cuda:0, its numbers are on the CPU
    x + torch.ones(3)                   # RuntimeError: Expected all tensors to be on the same device, ...

    python -m pretend_gpu program.py    # a whole program (with PYTHONPATH=tests)

and in a test file, with a process of its own per test: `@pretend_gpu.on_a_gpu`.

What it does.  A GpuTensor is a tensor subclass with the device cuda:0, so PyTorch's own dispatcher, autograd, autocast
for CUDA (float16 really happens) and checks are at work, and only the kernels are the CPU's.  Before an operation,
CUDA's rules apply: no operands on two devices, but CPU indices and plain numbers where CUDA takes them; no generator of
the other device; no `.numpy()`; no operator without a CUDA kernel; no products of integers; an index out of range is a
device-side assert.  float16 products, convolutions, pooling and norms are summed in float32 and rounded once, overflow
beyond 65,504 included.  The card has a random state of its own.  `waits` counts, by line, what would make a card wait.

What it does not imitate.  Speed and memory; the last bits of cuDNN and cuBLAS; streams, several GPUs, NCCL;
torch.compile and CUDA graphs; errors that come late; foreach and fused optimisers; child processes; views of pinned
memory; tensors in saved objects other than dicts, lists and tuples.

Needs Linux and a CUDA build of PyTorch 2.15 without a visible GPU; elsewhere `missing` says what is missing.
"""

from __future__ import annotations

import sys

import torch

from . import cuda, engine, generators, kernels, modules
from .process import each, on_a_gpu
from .tensor import GpuTensor
from .waiting import waits

__all__ = ["GpuTensor", "each", "install", "installed", "missing", "on_a_gpu", "waits"]

installed = False


def missing() -> str | None:
    """Why this PyTorch cannot pretend, or None if it can."""
    if installed:
        return None
    if torch.version.cuda is None or not sys.platform.startswith("linux"):
        return "the pretended GPU needs a CUDA build of PyTorch on Linux"
    if torch.cuda.is_available():
        return "there is a real GPU; hide it with CUDA_VISIBLE_DEVICES= to pretend another"
    if not torch.__version__.startswith("2.15."):  # it relies on PyTorch's private parts
        return f"the pretended GPU is written for PyTorch 2.15, this is {torch.__version__}"
    return None


def install() -> None:
    """Let this process see one Tesla T4.  Raises RuntimeError where that is not possible."""
    global installed
    if installed:
        return
    if reason := missing():
        raise RuntimeError(reason)
    engine.open_engine()
    cuda.patch()
    modules.patch()
    torch.Generator = generators.Generator
    torch._C._set_only_lift_cpu_tensors(
        True
    )  # torch.tensor(..., device="cuda"): made here, then seen to move
    torch.backends.cudnn.enabled = False  # its own operators have no CPU kernels, nor has fused attention
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)
    kernels.Everywhere().__enter__()
    installed = True
