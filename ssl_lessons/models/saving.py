"""An encoder as two files: its weights (safetensors) and the small card that rebuilds the network around them."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from ssl_lessons.errors import InputError
from ssl_lessons.models.encoders import build_encoder
from ssl_lessons.storage import write_together

# What torch.compile and DataParallel call the module they wrap; it shows in the names of the weights.
_WRAPPERS = ("_orig_mod", "module")


def _unwrap(module: nn.Module) -> nn.Module:
    while len(children := dict(module.named_children())) == 1 and set(children) <= set(_WRAPPERS):
        (module,) = children.values()
    return module


def _unwrapped_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {".".join(p for p in k.split(".") if p not in _WRAPPERS): v for k, v in weights.items()}


def save_encoder(encoder: nn.Module, folder: str | Path, image_size: int) -> None:
    """Write `encoder.safetensors` and the small `encoder.json` that rebuilds the network around it.

    A wrapped encoder (torch.compile, DataParallel) is saved as the one inside.  Both files are written whole before
    either takes its place.  Raises InputError for a network without the name and options of `build_encoder`, for one
    with a parametrization, and where the folder cannot be written.
    """
    folder, plain = Path(folder), _unwrap(encoder)
    if not hasattr(plain, "name") or not hasattr(plain, "options"):
        raise InputError(
            "save an encoder made by build_encoder: its name and options are needed to rebuild it"
        )
    if changed := [n for n, m in plain.named_modules() if is_parametrized(m)]:
        raise InputError(
            f"{changed[0] or 'the encoder'} has a parametrization (weight or spectral norm), which the saved encoder "
            "would lack: remove it first with torch.nn.utils.parametrize.remove_parametrizations"
        )
    weights = {k: v.detach().cpu().contiguous() for k, v in plain.state_dict().items()}
    content = save(_unwrapped_names(weights))
    card = {"name": plain.name, "options": plain.options, "image_size": image_size, "dim": plain.dim}
    write_together(
        {
            folder / "encoder.safetensors": lambda path: path.write_bytes(content),
            folder / "encoder.json": lambda path: path.write_text(json.dumps(card, indent=2) + "\n"),
        }
    )


def load_encoder(folder: str | Path) -> tuple[nn.Module, int]:
    """The encoder saved in `folder` and the image size it was trained at.

    Raises InputError when the folder holds no encoder, a damaged one, or one that may not be read.
    """
    card_path, weights_path = Path(folder) / "encoder.json", Path(folder) / "encoder.safetensors"
    try:
        card = json.loads(card_path.read_bytes())
        weights = _unwrapped_names(load(weights_path.read_bytes()))
        encoder, image_size = build_encoder(card["name"], **card["options"]), int(card["image_size"])
        encoder.load_state_dict(weights)
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{folder} holds no encoder.json and encoder.safetensors; give a `pretrain --out` folder"
        ) from None
    except OSError as error:
        raise InputError(
            f"the encoder in {folder} cannot be read: {error.strerror}; check the permissions of its files"
        ) from None
    except (ValueError, TypeError, KeyError, SafetensorError, RuntimeError) as error:
        raise InputError(f"the encoder in {folder} is damaged ({error}); export it again") from None
    return encoder, image_size
