"""Let PyTorch's autograd engine work with tensors of a card that is not there."""

from __future__ import annotations

import atexit
import ctypes
from pathlib import Path

import torch


def open_engine() -> None:
    """A device guard that does nothing comes with PyTorch (for its fake tensors).  The engine further asks the CUDA
    hooks whether the device has a context, and without a card they throw.  So the hooks get a table of virtual methods
    in which that one answers yes.  It is the third after the destructor, which takes two entries
    (ATen/detail/AcceleratorHooksInterface.h); two words lie before the table that belong to it.
    """
    torch._C._ensureCUDADeviceGuardSet()
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
    get_hooks = library._ZN2at6detail12getCUDAHooksEv  # at::detail::getCUDAHooks()
    get_hooks.restype = ctypes.c_void_p
    hooks = ctypes.c_void_p.from_address(get_hooks())  # an object of C++ starts with the pointer to its table
    word, entries = ctypes.sizeof(ctypes.c_void_p), 128
    table, original = (ctypes.c_void_p * entries)(), hooks.value
    ctypes.memmove(table, original - 2 * word, entries * word)
    has_context = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_int8)(lambda this, index: True)
    table[2 + 2 + 2] = ctypes.cast(has_context, ctypes.c_void_p).value
    hooks.value = ctypes.addressof(table) + 2 * word

    def restore(table=table, has_context=has_context):  # which also keeps both alive until then
        hooks.value = original

    atexit.register(restore)
