"""A small eye, two readers (a bag of words, a transformer), and two towers that meet in one space."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons.errors import InputError
from ssl_lessons.modalities.pairs import captions
from ssl_lessons.modalities.words.transformer import Block


class PictureNet(nn.Module):
    """Pictures [N, channels, 24, 24], uint8 or float -> [N, dim]; three convolutions of stride 2, and all places.

    maps(pictures) -> [N, 64, 3, 3], what stands where, before the places are mixed.
    """

    def __init__(self, dim: int = 128, channels: int = 3):
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(channels, 24, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(24, 48, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(48, 64, 3, 2, 1), nn.ReLU(),
        )  # fmt: skip
        self.flat, self.dim = nn.Linear(64 * 9, dim), dim

    def maps(self, pictures: Tensor) -> Tensor:
        return self.convs(to_float(pictures))

    def forward(self, pictures: Tensor) -> Tensor:
        return F.relu(self.flat(self.maps(pictures).flatten(1)))


class BagOfWords(nn.Module):
    """Captions, ids [N, L] -> [N, dim]: the mean of their words' vectors.  The order of the words is gone."""

    def __init__(self, dim: int = 64, vocabulary: int = len(captions.VOCABULARY)):
        super().__init__()
        self.words, self.dim = nn.Embedding(vocabulary, dim), dim

    def forward(self, ids: Tensor) -> Tensor:
        return _mean_of_words(self.words(ids), ids)


class Sentence(nn.Module):
    """Captions, ids [N, L] -> [N, dim]: word and position vectors, blocks of a transformer, the mean over the words."""

    def __init__(
        self, dim: int = 64, depth: int = 1, heads: int = 4, vocabulary: int = len(captions.VOCABULARY),
        length: int = captions.LONGEST,
    ):  # fmt: skip
        super().__init__()
        self.words, self.places = nn.Embedding(vocabulary, dim), nn.Embedding(length, dim)
        nn.init.normal_(self.places.weight, std=0.3)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm, self.dim = nn.LayerNorm(dim), dim

    def forward(self, ids: Tensor) -> Tensor:
        if ids.shape[1] > len(self.places.weight):
            raise InputError(
                f"this reader has {len(self.places.weight)} positions, the captions {ids.shape[1]}"
            )
        x = self.words(ids) + self.places.weight[: ids.shape[1]]
        see = (ids != captions.PAD)[:, None, None, :]
        for block in self.blocks:
            x = block(x, see)
        return _mean_of_words(self.norm(x), ids)


class Towers(nn.Module):
    """An eye and a reader, each followed by a linear map into one space of `dim` dimensions.

    picture(pictures) and text(ids) -> [N, dim]; `scale` (learned, kept below 100 as in CLIP) and `bias` (learned, for
    SigLIP, whose paper begins at -10).
    """

    def __init__(
        self, eye: nn.Module, reader: nn.Module, dim: int = 32, scale: float = 10.0, bias: float = -10.0
    ):
        super().__init__()
        self.eye, self.reader = eye, reader
        self.from_eye, self.from_reader = (
            nn.Linear(eye.dim, dim, bias=False),
            nn.Linear(reader.dim, dim, bias=False),
        )
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    @property
    def scale(self) -> Tensor:
        return self.log_scale.clamp(max=math.log(100)).exp()

    def picture(self, pictures: Tensor) -> Tensor:
        return self.from_eye(self.eye(pictures))

    def text(self, ids: Tensor) -> Tensor:
        return self.from_reader(self.reader(ids))


def towers(seed: int = 0, reader: type[nn.Module] = Sentence, dim: int = 32, bias: float = -10.0) -> Towers:
    """Fresh towers: PictureNet and a reader, their weights drawn from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Towers(PictureNet(), reader(), dim, bias=bias)


def to_float(pictures: Tensor) -> Tensor:
    """uint8 -> float, about -1 to 1; floats stay as they are."""
    return pictures.float() / 127.5 - 1 if pictures.dtype == torch.uint8 else pictures


@torch.no_grad()
def apply(module, inputs: Tensor, of: nn.Module, batch: int = 500) -> Tensor:
    """module(inputs), batch by batch, in evaluation mode of the network `of`, on its device; the answer on the CPU."""
    of.eval()
    device = next(of.parameters()).device
    return torch.cat([module(part.to(device)).cpu() for part in inputs.split(batch)])


def _mean_of_words(x: Tensor, ids: Tensor) -> Tensor:
    real = (ids != captions.PAD).to(x.dtype)[:, :, None]
    return (x * real).sum(dim=1) / real.sum(dim=1).clamp(min=1)
