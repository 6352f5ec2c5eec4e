"""Where a network runs: the GPU when there is one, unless another device is asked for."""

from __future__ import annotations

import torch

from ssl_lessons.errors import InputError


def pick_device(name: str | torch.device | None = None) -> torch.device:
    """The device called `name`: "cpu", "cuda", "cuda:1", "mps"; None is the GPU (cuda) when there is one, else the CPU.

    Raises InputError for another name, or one that torch does not find on this machine.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise InputError(f"device must be cpu, cuda or mps, got {str(name)!r}")
    found = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= found[device.type]:
        raise InputError(
            f"torch finds no {device} here; choose another device, or leave it out (the GPU, else the CPU)"
        )
    return device
