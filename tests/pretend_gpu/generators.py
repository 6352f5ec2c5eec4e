"""Random numbers: generators of either device, and the card's own global state."""

from __future__ import annotations

import contextlib
import weakref

import torch

from .tensor import CARD, is_card, with_index

_addresses: set[int] = set()  # of their C++ objects: operations see new Python objects around these


class Generator(torch._C.Generator):
    """torch.Generator for both devices; the card's is one of the CPU that says otherwise."""

    def __new__(cls, device="cpu"):
        device = with_index(device)
        generator = super().__new__(cls) if is_card(device) else super().__new__(cls, device)
        if is_card(device):
            _addresses.add(generator._cdata)
            weakref.finalize(generator, _addresses.discard, generator._cdata)
        return generator

    def __init__(self, device="cpu"):
        """All is done in __new__."""

    @property
    def device(self):
        return CARD if on_card(self) else torch.device("cpu")


def on_card(generator: torch._C.Generator) -> bool:
    return generator._cdata in _addresses


card = torch._C.Generator()  # the global state of torch.cuda


@contextlib.contextmanager
def of_the_card():
    """Inside, the global random state is the card's: for operations that take no generator."""
    before = torch.default_generator.get_state()
    torch.default_generator.set_state(card.get_state())
    try:
        yield
    finally:
        card.set_state(torch.default_generator.get_state())
        torch.default_generator.set_state(before)


def set_rng_state(state: torch.Tensor, device=None) -> None:
    if state.device.type != "cpu" or state.dtype != torch.uint8:
        raise TypeError("RNG state must be a torch.ByteTensor")
    card.set_state(state)
