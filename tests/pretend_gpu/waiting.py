"""How often the card waits: every number read back, every copy between the devices, by line of the program.

A card works through a queue of kernels.  A copy from memory that is not pinned, `.item()`, or a result whose size only
the card knows makes the program wait until the queue is empty; a card that waits in every step is not busy.
"""

from __future__ import annotations

import collections
import os
import sys

import torch
from torch import Tensor

from .rules import INDEXING, Operator
from .tensor import GpuTensor

waits: collections.Counter = collections.Counter()  # (what, "file:line") -> times

# The size of the result, or whether all went well, is known to the card alone.
ASKS_BACK = {
    "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "bincount", "equal",
    "_linalg_check_errors",
}  # fmt: skip
_NOT_THE_PROGRAM = (
    os.path.dirname(torch.__file__), os.path.dirname(__file__), os.path.dirname(os.__file__) + os.sep, "<frozen",
)  # fmt: skip


def note(op: Operator, args: tuple, kwargs: dict, target_is_card: bool) -> None:
    """Count this operation if a card would have to wait for it."""
    what = _why(op, args, kwargs, target_is_card)
    if what is not None:
        waits[what, _line()] += 1


def _why(op: Operator, args: tuple, kwargs: dict, target_is_card: bool) -> str | None:
    if op.name == "_local_scalar_dense":
        return "a number is read"
    if op.name in ("copy_", "_to_copy"):
        source = args[1] if op.name == "copy_" else args[0]
        behind = (
            target_is_card and op.argument("non_blocking", args, kwargs) and hasattr(source, "lies_pinned")
        )
        if isinstance(source, GpuTensor) != target_is_card and not behind:
            return "copy to the card" if target_is_card else "copy to the CPU"
    if op.name in INDEXING and any(_waits_for(index) for index in args[1] if index is not None):
        return "index from the CPU or mask"
    if op.name in ASKS_BACK:
        return op.name
    if op.name == "repeat_interleave" and kwargs.get("output_size") is None:
        return op.name
    return None


def _waits_for(index: Tensor) -> bool:
    return not isinstance(index, GpuTensor) or index.dtype in (torch.bool, torch.uint8)


def _line() -> str:
    """The line of the program (not of PyTorch or another library) that led here."""
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(_NOT_THE_PROGRAM) and "site-packages" not in name:
            return f"{os.path.basename(name)}:{frame.f_lineno}"
        frame = frame.f_back
    return "backward pass"  # in autograd's own thread
