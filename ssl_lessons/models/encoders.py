"""Backbones and heads: a small conv net, ResNet-18 with three stems, a tiny ViT, encoders that see lightness or colour
only, projection heads."""

from __future__ import annotations

import copy
import math

import torch
from einops import rearrange
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.models.blocks import sincos_positions, transformer_blocks
from ssl_lessons.models.settle import settle
from ssl_lessons.views import denormalize
from ssl_lessons.views.color import rgb_to_lab


class ConvNet(nn.Module):
    """Four 3x3 convolutions of stride 2 with BatchNorm and ReLU, then the spatial mean.

    [N, 3, S, S] -> [N, dim]; the channels are width, 2 width, 4 width, dim.  Made for 32 px on two cores.
    strides: of the four convolutions; (2, 2, 1, 1) keeps finer maps, for several times the time.
    """

    def __init__(self, width: int = 32, dim: int = 256, strides: tuple[int, ...] = (2, 2, 2, 2)):
        super().__init__()
        if len(strides) != 4 or min(strides) < 1:
            raise InputError(f"a convnet has four strides, each 1 or more, not {strides!r}")
        channels = (3, width, 2 * width, 4 * width, dim)
        layers = []
        for c_in, c_out, stride in zip(channels, channels[1:], strides, strict=False):
            layers += [nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.dim = dim

    def maps(self, x: Tensor) -> Tensor:
        """The features before the mean: [N, 3, S, S] -> [N, dim, s, s], s = ceil(S / product of the strides)."""
        return self.layers(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.maps(x).mean(dim=(2, 3))


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

    def maps(self, x: Tensor) -> Tensor:
        """The features before the mean: [N, 3, S, S] -> [N, 512, h, w]."""
        net = self.backbone
        x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
        return net.layer4(net.layer3(net.layer2(net.layer1(x))))

    def forward(self, x: Tensor) -> Tensor:
        return self.backbone(x)


def patchify(x: Tensor, patch: int) -> Tensor:
    """Images [N, 3, S, S] as rows of patches [N, T, 3 patch^2], T = (S / patch)^2, left to right, top to bottom.

    Raises InputError unless the sides are multiples of `patch`.
    """
    if x.ndim != 4 or patch < 1 or x.shape[2] % patch or x.shape[3] % patch:
        raise InputError(
            f"patches of {patch} px need images [N, C, H, W] with sides that are multiples of {patch}, "
            f"not {list(x.shape)}"
        )
    return rearrange(x, "n c (h p) (w q) -> n (h w) (c p q)", p=patch, q=patch)


def unpatchify(patches: Tensor, patch: int) -> Tensor:
    """The square images [N, 3, S, S] behind patches [N, T, 3 patch^2]: the inverse of `patchify`."""
    _, t, width = patches.shape
    side = math.isqrt(t)
    if side * side != t or width != 3 * patch * patch:
        raise InputError(
            f"{list(patches.shape)} is not [N, T, {3 * patch * patch}] patches of a square image with T a square number"
        )
    return rearrange(patches, "n (h w) (c p q) -> n c (h p) (w q)", h=side, p=patch, q=patch)


class ViT(nn.Module):
    """A tiny vision transformer (Dosovitskiy et al. 2021): [N, 3, size, size] -> [N, dim].

    The image is cut into T = (size / patch)^2 patches; each becomes a token, a linear map of its pixels plus a fixed
    sine-cosine position.  The feature of an image is the mean of its T normalised output tokens.

    freeze_patches: keep the patch map at its random start (Chen et al. 2021, MoCo v3, section 4.1).  pool: "mean", or
    "cls" for a learned token that goes through the blocks with the others and is itself the feature of the image.
    layer_scale, drop_path: of the blocks, see `transformer_blocks`.
    """

    def __init__(
        self,
        size: int = 32,
        patch: int = 8,
        dim: int = 96,
        depth: int = 4,
        heads: int = 3,
        freeze_patches: bool = False,
        pool: str = "mean",
        layer_scale: float | None = None,
        drop_path: float = 0.0,
    ):
        super().__init__()
        if pool not in ("mean", "cls"):
            raise InputError(f"pool must be 'mean' or 'cls', got {pool!r}")
        if patch < 1 or size % patch:
            raise InputError(f"the image side {size} must be a multiple of the patch side {patch}")
        if heads < 1 or dim % heads:
            raise InputError(f"the width {dim} must be a multiple of the number of heads {heads}")
        self.size, self.patch, self.dim, self.side = size, patch, dim, size // patch
        self.n_tokens = self.side**2
        self.embed = nn.Linear(3 * patch * patch, dim)
        nn.init.xavier_uniform_(self.embed.weight)
        nn.init.zeros_(self.embed.bias)
        self.embed.requires_grad_(not freeze_patches)
        self.register_buffer("positions", sincos_positions(self.side, dim), persistent=False)
        self.blocks = transformer_blocks(dim, depth, heads, layer_scale, drop_path)
        self.norm = nn.LayerNorm(dim)
        self.cls = nn.Parameter(0.02 * torch.randn(dim)) if pool == "cls" else None

    def tokens(self, x: Tensor, mask: Tensor | None = None, mask_token: Tensor | None = None) -> Tensor:
        """Patch embeddings plus positions [N, T, dim] of images [N, 3, size, size].

        mask: bool [N, T]; where it is True, `mask_token` [dim] takes the place of the embedding (the position stays).
        """
        if x.ndim != 4 or x.shape[2:] != (self.size, self.size):
            raise InputError(
                f"this ViT was built for images [N, 3, {self.size}, {self.size}], not {list(x.shape)}: take images of "
                f'that size (--size {self.size}), or a ViT built for yours, build_encoder("vit", size={x.shape[-1]})'
            )
        embedded = self.embed(patchify(x, self.patch))
        if mask is not None:
            embedded = torch.where(mask[:, :, None], mask_token.to(embedded.dtype), embedded)
        return embedded + self.positions

    def encode(self, tokens: Tensor, layers: bool = False) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Blocks and final norm: tokens [N, K, dim] -> [N, K, dim]; with layers, also every block's own output.

        With pool="cls" the learned token comes first: K + 1 tokens come back.
        """
        outputs = []
        if self.cls is not None:
            tokens = torch.cat([self.cls.expand(len(tokens), 1, -1), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
            outputs.append(tokens)
        return (self.norm(tokens), outputs) if layers else self.norm(tokens)

    def patches(
        self,
        x: Tensor,
        keep: Tensor | None = None,
        mask: Tensor | None = None,
        mask_token: Tensor | None = None,
    ) -> Tensor:
        """Output tokens of images [N, 3, size, size]: [N, T, dim], or [N, K, dim] of the kept ones.

        keep: long [N, K], which tokens the blocks see (the others are dropped: MAE, MSN, I-JEPA).
        mask, mask_token: as in `tokens` (all T tokens are seen: BEiT, SimMIM, iBOT, data2vec).
        """
        tokens = self.tokens(x, mask, mask_token)
        return self.encode(tokens if keep is None else take(tokens, keep))[:, self.cls is not None :]

    def maps(self, x: Tensor) -> Tensor:
        """The output tokens in their places: [N, 3, size, size] -> [N, dim, side, side]."""
        return self.patches(x).mT.unflatten(2, (self.side, self.side))

    def forward(self, x: Tensor) -> Tensor:
        return self.patches(x).mean(dim=1) if self.cls is None else self.encode(self.tokens(x))[:, 0]


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """Tokens [N, T, D] at the places index [N, K]: [N, K, D]."""
    return tokens.gather(1, index[:, :, None].expand(-1, -1, tokens.shape[2]))


@torch.no_grad()
def lab_of_views(x: Tensor) -> Tensor:
    """CIE Lab [N, 3, S, S] of normalised views, in full precision also under autocast."""
    with torch.autocast(x.device.type, enabled=False):
        return rgb_to_lab(denormalize(x.float()))


class LabChannels(nn.Module):
    """A plain encoder that sees the lightness only, or the colour only: normalised RGB [N, 3, S, S] -> h [N, dim].

    channels: "L" (three times the same) or "ab" (a, b and an empty channel), scaled to about [-2, 2].
    """

    def __init__(self, encoder: nn.Module, channels: str):
        super().__init__()
        if channels not in ("L", "ab"):
            raise InputError(f"channels must be 'L' or 'ab', got {channels!r}")
        if isinstance(encoder, (LabChannels, SplitChannels)):
            raise InputError(
                "this encoder splits colour from lightness already; give a plain one, such as convnet"
            )
        self.encoder, self.channels, self.dim = encoder, channels, encoder.dim
        self.name = "lab"
        self.options = {
            "channels": channels,
            "of": getattr(encoder, "name", ""),
            **getattr(encoder, "options", {}),
        }

    def forward(self, x: Tensor) -> Tensor:
        L, a, b = lab_of_views(x).unbind(1)
        seen = [(L - 50) / 25] * 3 if self.channels == "L" else [a / 25, b / 25, torch.zeros_like(a)]
        return self.encoder(torch.stack(seen, dim=1).contiguous(memory_format=torch.channels_last))


class SplitChannels(nn.Module):
    """Two halves of one architecture side by side, one for the lightness, one for colour: [N, 3, S, S] -> h [N, 2 dim].

    The split brain of Zhang et al. (2017, https://arxiv.org/abs/1611.09842), eq. 4.
    """

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.light, self.colour = LabChannels(encoder, "L"), LabChannels(fresh_copy(encoder), "ab")
        self.dim = 2 * encoder.dim
        self.name = "split"
        self.options = {name: value for name, value in self.light.options.items() if name != "channels"}

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.light(x), self.colour(x)], dim=1)


def fresh_copy(module: nn.Module) -> nn.Module:
    """The same architecture with newly drawn weights."""
    twin = copy.deepcopy(module)
    for part in twin.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()
    return twin


ENCODERS = {
    "convnet": ConvNet,
    "resnet18": ResNet18,
    "resnet18_3x3": lambda max_pool=True: ResNet18(stem="3x3", max_pool=max_pool),
    "vit": ViT,
    "lab": lambda channels="L", of="convnet", **options: LabChannels(build_encoder(of, **options), channels),
    "split": lambda of="convnet", **options: SplitChannels(build_encoder(of, **options)),
}


def build_encoder(name: str = "convnet", **options) -> nn.Module:
    """An untrained encoder by name, with `.dim` (feature width), `.name` and `.options` (to rebuild it).

    convnet(width=32, dim=256, strides=(2, 2, 2, 2)) · resnet18() · resnet18_3x3(max_pool=True) ·
    vit(size=32, patch=8, dim=96, depth=4, heads=3, freeze_patches=False, pool="mean", layer_scale=None,
    drop_path=0.0) ·
    lab(channels="L", of="convnet", ...) and split(of="convnet", ...), see LabChannels and SplitChannels.
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


def count_parameters(module: nn.Module) -> int:
    """Number of trainable scalars."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def untrained(encoder: nn.Module, seed: int = 0, images: Tensor | None = None) -> nn.Module:
    """A fresh encoder of the same architecture: the baseline every trained one has to beat.

    images: uint8 [N, 3, H, W] of the training set, to settle the BatchNorm statistics on.  Without them the features
    in evaluation mode look collapsed, and the baseline is weaker than it has to be: see `settle`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = build_encoder(encoder.name, **encoder.options)
    return fresh if images is None else settle(fresh, images)
