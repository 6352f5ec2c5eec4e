"""Backbones and heads: a small conv net, ResNet-18 with three stems, projection heads, safetensors in and out."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ssl_lessons.errors import InputError


class ConvNet(nn.Module):
    """Four 3x3 stride-2 convolutions with BatchNorm and ReLU, then the spatial mean.

    [N, 3, S, S] -> [N, dim]; the channels are width, 2 width, 4 width, dim.  Made for 32 px on two cores.
    """

    def __init__(self, width: int = 32, dim: int = 256):
        super().__init__()
        channels = (3, width, 2 * width, 4 * width, dim)
        layers = []
        for c_in, c_out in zip(channels, channels[1:], strict=False):
            layers += [nn.Conv2d(c_in, c_out, 3, 2, 1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).mean(dim=(2, 3))


class ResNet18(nn.Module):
    """torchvision's ResNet-18 (He et al. 2016) without its classifier: [N, 3, S, S] -> [N, 512], untrained.

    stem: "imagenet" (7x7 stride 2) or "3x3" (3x3 stride 1, the usual choice for small images).
    max_pool: keep the stem's 3x3 stride-2 max-pool.
    """

    dim = 512

    def __init__(self, stem: str = "imagenet", max_pool: bool = True):
        super().__init__()
        if stem not in ("imagenet", "3x3"):
            raise InputError(f"stem must be 'imagenet' or '3x3', got {stem!r}")
        from torchvision.models import resnet18  # slow to import, and only needed here

        self.backbone = resnet18(weights=None)
        self.backbone.fc = nn.Identity()
        if stem == "3x3":
            self.backbone.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
            nn.init.kaiming_normal_(self.backbone.conv1.weight, mode="fan_out", nonlinearity="relu")
        if not max_pool:
            self.backbone.maxpool = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.backbone(x)


ENCODERS = {
    "convnet": ConvNet,
    "resnet18": ResNet18,
    "resnet18_3x3": lambda max_pool=True: ResNet18(stem="3x3", max_pool=max_pool),
}


def build_encoder(name: str = "convnet", **options) -> nn.Module:
    """An untrained encoder by name, with `.dim` (feature width), `.name` and `.options` (to rebuild it).

    convnet(width=32, dim=256) · resnet18() · resnet18_3x3(max_pool=True).
    Raises InputError for an unknown name or option.
    """
    if name not in ENCODERS:
        raise InputError(f"unknown encoder {name!r}; choose from {', '.join(ENCODERS)}")
    try:
        encoder = ENCODERS[name](**options)
    except TypeError as error:
        raise InputError(f"encoder {name!r} does not take these options: {error}") from None
    encoder.name, encoder.options = name, options
    return encoder


def projection_head(
    in_dim: int, hidden_dim: int, out_dim: int, layers: int = 2, batch_norm: bool = True
) -> nn.Sequential:
    """An MLP [N, in_dim] -> [N, out_dim]: `layers` linear maps with (BatchNorm and) ReLU between them.

    The last layer is linear, without ReLU (SimCLR, Chen et al. 2020, section 2.1); layers=1 is a linear head.
    """
    modules = []
    for i in range(layers - 1):
        modules.append(nn.Linear(in_dim if i == 0 else hidden_dim, hidden_dim, bias=not batch_norm))
        modules += [nn.BatchNorm1d(hidden_dim), nn.ReLU()] if batch_norm else [nn.ReLU()]
    modules.append(nn.Linear(hidden_dim if layers > 1 else in_dim, out_dim))
    return nn.Sequential(*modules)


def save_encoder(encoder: nn.Module, folder: str | Path, image_size: int) -> None:
    """Write `encoder.safetensors` and the small `encoder.json` that rebuilds the network around it."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {k: v.detach().cpu().contiguous() for k, v in encoder.state_dict().items()}
    save_file(weights, str(folder / "encoder.safetensors"))
    card = {"name": encoder.name, "options": encoder.options, "image_size": image_size, "dim": encoder.dim}
    (folder / "encoder.json").write_text(json.dumps(card, indent=2) + "\n")


def load_encoder(folder: str | Path) -> tuple[nn.Module, int]:
    """The encoder saved in `folder` and the image size it was trained at.

    Raises InputError when the folder holds no encoder, or a damaged one.
    """
    card_path, weights_path = Path(folder) / "encoder.json", Path(folder) / "encoder.safetensors"
    if not card_path.is_file() or not weights_path.is_file():
        raise InputError(
            f"{folder} holds no encoder.json and encoder.safetensors; give a `pretrain --out` folder"
        )
    try:
        card = json.loads(card_path.read_text())
        encoder, image_size = build_encoder(card["name"], **card["options"]), int(card["image_size"])
        encoder.load_state_dict(load_file(str(weights_path)))
    except (ValueError, TypeError, KeyError, SafetensorError, RuntimeError) as error:
        raise InputError(f"the encoder in {folder} is damaged ({error}); export it again") from None
    return encoder, image_size


def count_parameters(module: nn.Module) -> int:
    """Number of trainable scalars."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def untrained(encoder: nn.Module, seed: int = 0) -> nn.Module:
    """A fresh encoder of the same architecture: the baseline every trained one has to beat."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_encoder(encoder.name, **encoder.options)
