"""torch.cuda and torch.accelerator as of a computer with one Tesla T4."""

from __future__ import annotations

import collections
import contextlib
import time
import types

import torch

from . import generators
from .tensor import CARD

NAME, CAPABILITY, MEMORY = "Tesla T4", (7, 5), 15 * 2**30  # no bfloat16 in hardware: autocast uses float16

PROPERTIES = types.SimpleNamespace(
    name=NAME, major=CAPABILITY[0], minor=CAPABILITY[1], total_memory=MEMORY, multi_processor_count=40, warp_size=32
)  # fmt: skip


class Event:
    def __init__(self, *args, **kwargs):
        self.time = None

    def record(self, stream=None):
        self.time = time.perf_counter()

    def elapsed_time(self, end: Event) -> float:
        return 1000 * (end.time - self.time)

    def synchronize(self):
        """Everything is done when it is asked for."""

    def query(self) -> bool:
        return True


class Stream:
    device = CARD

    def __init__(self, *args, **kwargs):
        """There is one."""

    def synchronize(self):
        """Everything is done when it is asked for."""

    def wait_stream(self, other):
        """There is no other."""


def _answers(value=None):
    return lambda *args, **kwargs: value


def _seed(seed: int) -> None:
    generators.card.manual_seed(int(seed))


ANSWERS = {
    "is_available": True, "device_count": 1, "current_device": 0, "is_initialized": True, "_is_in_bad_fork": False,
    "get_device_name": NAME, "get_device_capability": CAPABILITY, "get_device_properties": PROPERTIES,
    "get_arch_list": ["sm_75"], "is_tf32_supported": False, "is_current_stream_capturing": False,
    "mem_get_info": (MEMORY - 2**29, MEMORY), "memory_stats": collections.defaultdict(int), "memory_summary": "",
    "memory_allocated": 0, "max_memory_allocated": 0, "memory_reserved": 0, "max_memory_reserved": 0,
    "current_stream": Stream(), "default_stream": Stream(),
    "init": None, "_lazy_init": None, "set_device": None, "synchronize": None, "empty_cache": None, "ipc_collect": None,
    "reset_peak_memory_stats": None,
}  # fmt: skip

FUNCTIONS = {
    "is_bf16_supported": lambda including_emulation=True: including_emulation,
    "manual_seed": _seed,
    "manual_seed_all": _seed,
    "initial_seed": lambda: generators.card.initial_seed(),
    "get_rng_state": lambda device=None: generators.card.get_state(),
    "get_rng_state_all": lambda: [generators.card.get_state()],
    "set_rng_state": generators.set_rng_state,
    "set_rng_state_all": lambda states: generators.set_rng_state(states[0]),
    "Event": Event,
    "Stream": Stream,
    "stream": lambda stream: contextlib.nullcontext(),
    "device": lambda device: contextlib.nullcontext(),
}


def patch() -> None:
    for name, value in {**{n: _answers(v) for n, v in ANSWERS.items()}, **FUNCTIONS}.items():
        for module in (torch.cuda, torch.cuda.random):
            if hasattr(module, name):
                setattr(module, name, value)
    torch.accelerator.is_available = _answers(True)
    torch.accelerator.device_count = _answers(1)
    torch.accelerator.current_accelerator = _answers(torch.device("cuda"))
    torch.accelerator.synchronize = _answers()
