"""Two senses out of one picture, or a picture and its sound: what is asked where no caption is.

A task is built from scenes (and sounds); its call takes a generator and returns the loss of one fresh batch.  `eye` is
what is read afterwards.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssl_lessons import losses
from ssl_lessons.errors import InputError
from ssl_lessons.modalities.pairs.encoders import PictureNet, apply, to_float
from ssl_lessons.modalities.pairs.objectives import BATCH, policy
from ssl_lessons.modalities.pairs.sounds import EarNet, statistics
from ssl_lessons.modalities.pairs.world import Scenes
from ssl_lessons.views import augment
from ssl_lessons.views.color import rgb_to_lab


def lab(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """uint8 pictures to lightness [N, 1, S, S] and colour (a, b) [N, 2, S, S], each about -1 to 1."""
    x = rgb_to_lab(pictures.float() / 255)
    return x[:, :1] / 50 - 1, x[:, 1:] / 60


def thirds(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """The left and the right third, both [N, 3, S, S] from -1 to 1: all else is gray (zero).

    No thing of `world.scenes` reaches into both.
    """
    x, side = to_float(pictures), pictures.shape[-1]
    column = torch.arange(side, device=x.device)
    return x * (column < side // 3), x * (column >= side - side // 3)


def rows(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """The even and the odd rows of pixels, both [N, 3, S, S] from -1 to 1: the other rows are gray (zero)."""
    x = to_float(pictures)
    odd = (torch.arange(x.shape[-2], device=x.device) % 2 == 1)[:, None]
    return x * ~odd, x * odd


# What is split, and the channels of its two views.
SPLITS = {"lightness, colour": (lab, (1, 2)), "rows": (rows, (3, 3)), "thirds": (thirds, (3, 3))}


class TwoEyes(nn.Module):
    """CMC's encoders: an eye for each view of a picture; forward -> both vectors side by side, [N, dim].

    views(pictures) -> the two views that `split` makes, see SPLITS.  Raises InputError for an unknown split.
    """

    def __init__(self, dim: int = 128, split: str = "lightness, colour"):
        super().__init__()
        if split not in SPLITS:
            raise InputError(f"split must be one of {'; '.join(SPLITS)}, not {split!r}")
        self.views, channels = SPLITS[split]
        self.eyes = nn.ModuleList(PictureNet(dim // 2, c) for c in channels)
        self.dim = dim

    def forward(self, pictures: Tensor) -> Tensor:
        views = self.views(pictures)
        return torch.cat([eye(view) for eye, view in zip(self.eyes, views, strict=True)], dim=1)


class Channels(nn.Module):
    """Contrastive multiview coding (Tian et al. 2020): the two views of a picture must find each other."""

    def __init__(self, eye: TwoEyes, scenes: Scenes, batch: int = BATCH):
        super().__init__()
        self.eye, self.scenes, self.batch = eye, scenes, batch
        self.heads = nn.ModuleList(nn.Linear(eye.dim // 2, 32) for _ in range(2))

    def forward(self, generator: torch.Generator) -> Tensor:
        pick = torch.randint(len(self.scenes), (self.batch,), generator=generator)
        views = self.eye.views(self.scenes.pictures[pick].to(self.heads[0].weight.device))
        u, v = (head(eye(x)) for head, eye, x in zip(self.heads, self.eye.eyes, views, strict=True))
        return losses.clip(u, v)


class GlobalLocal(nn.Module):
    """AMDIM in small (Bachman et al. 2019): the whole of one view looks for each place of the other view, and back.

    The paper contrasts several sizes of places; here the whole and the 3 x 3 places of the last map.
    """

    def __init__(self, eye: PictureNet, scenes: Scenes, batch: int = BATCH // 2):
        super().__init__()
        self.eye, self.scenes, self.batch = eye, scenes, batch
        self.whole, self.place = nn.Linear(eye.dim, 32), nn.Conv2d(64, 32, 1)

    def forward(self, generator: torch.Generator) -> Tensor:
        pick = torch.randint(len(self.scenes), (self.batch,), generator=generator)
        x = self.scenes.pictures[pick].to(self.whole.weight.device)
        maps = [self.eye.maps(augment(x, policy(), generator)) for _ in range(2)]
        wholes = [self.whole(F.relu(self.eye.flat(m.flatten(1)))) for m in maps]
        places = [self.place(m).flatten(2).unbind(dim=2) for m in maps]
        pairs = [(w, p) for w, other in zip(wholes, places[::-1], strict=True) for p in other]
        return torch.stack([losses.info_nce(w, p, temperature=0.2) for w, p in pairs]).mean()


class Heard(nn.Module):
    """An eye, an ear, and sounds [N, 1, 32, 12] that belong to the scenes."""

    def __init__(self, eye: PictureNet, ear: EarNet, scenes: Scenes, heard: Tensor, batch: int = BATCH):
        super().__init__()
        if len(heard) != len(scenes):
            raise InputError(f"{len(scenes)} scenes need as many sounds, not {len(heard)}")
        self.eye, self.ear, self.scenes, self.batch = eye, ear, scenes, batch
        self.sounds = [heard]  # in a list: data are no buffers

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        pick = torch.randint(len(self.scenes), (self.batch,), generator=generator)
        device = self.eye.flat.weight.device
        return pick, self.scenes.pictures[pick].to(device), self.sounds[0][pick].to(device)


def others(groups: Tensor) -> Tensor:
    """For every row the number of another row of its group, int [N]: the next one, and the first after the last.

    A row that is alone in its group gets itself.
    """
    order = groups.argsort(stable=True)
    sizes = groups[order].unique_consecutive(return_counts=True)[1]
    ends = sizes.cumsum(dim=0)
    following = torch.arange(1, len(groups) + 1, device=groups.device)
    following[ends - 1] = ends - sizes
    return torch.empty_like(order).scatter_(0, order, order[following])


class Correspond(Heard):
    """Audio-visual correspondence (Arandjelovic and Zisserman 2017): do this picture and this sound belong together?

    Half of the pairs are true, half have the sound of another scene of the batch; a small network sees both vectors.
    rooms: int [N]; if given, the other scene is one of the same room.
    """

    def __init__(self, eye, ear, scenes, heard, batch: int = BATCH, rooms: Tensor | None = None):
        super().__init__(eye, ear, scenes, heard, batch)
        self.head = nn.Sequential(nn.Linear(eye.dim + ear.dim, 128), nn.ReLU(), nn.Linear(128, 1))
        self.rooms = torch.zeros(len(scenes), dtype=torch.long) if rooms is None else rooms

    def scores(self, pictures: Tensor, heard: Tensor, rooms: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [N] of "belongs together" for the true pairs, and for pairs with a sound of the same group."""
        u, v = self.eye(pictures), self.ear(heard)
        pairs = (v, v[others(rooms).to(v.device)])
        return tuple(self.head(torch.cat([u, w], dim=1))[:, 0] for w in pairs)

    def forward(self, generator: torch.Generator) -> Tensor:
        pick, x, y = self.draw(generator)
        true, false = self.scores(x, y, self.rooms[pick])
        return (F.softplus(-true) + F.softplus(false)).mean() / 2

    @torch.no_grad()
    def right(self, scenes: Scenes, heard: Tensor, rooms: Tensor | None = None) -> float:
        """How often the answer is right, on as many true pairs as false ones; rooms: as in the constructor."""
        self.eval()
        rooms = torch.zeros(len(scenes), dtype=torch.long) if rooms is None else rooms
        device = self.head[0].weight.device
        true, false = self.scores(scenes.pictures.to(device), heard.to(device), rooms)
        return float(((true > 0).float().mean() + (false <= 0).float().mean()) / 2)


class HeardContrast(Heard):
    """The same pairs with the loss of CLIP: every picture looks for its sound in the batch."""

    def __init__(self, eye, ear, scenes, heard, batch: int = BATCH):
        super().__init__(eye, ear, scenes, heard, batch)
        self.heads = nn.ModuleList([nn.Linear(eye.dim, 32), nn.Linear(ear.dim, 32)])

    def forward(self, generator: torch.Generator) -> Tensor:
        _, x, y = self.draw(generator)
        return losses.clip(self.heads[0](self.eye(x)), self.heads[1](self.ear(y)))


class Clusters(Heard):
    """Pictures learn the cluster of their sound (Owens et al. 2016); with `refresh`, each learns the other's (XDC).

    Without refresh the clusters are those of the sounds' statistics, once.  XDC (Alwassel et al. 2020): from time to
    time the ear's features are clustered for the eye, and the eye's for the ear.  own: each sense learns the clusters
    of its own features instead (their single-modality baseline).  Raises InputError for own without refresh.
    """

    def __init__(
        self, eye, ear, scenes, heard, clusters: int = 16, refresh: int = 0, own: bool = False, batch: int = BATCH
    ):  # fmt: skip
        super().__init__(eye, ear, scenes, heard, batch)
        if own and not refresh:
            raise InputError("own clusters are those of features: say after how many steps to refresh them")
        self.own = own
        self.clusters, self.refresh = clusters, refresh
        self.heads = nn.ModuleList([nn.Linear(net.dim, clusters) for net in (eye, ear)])
        self.labels = [self.groups(statistics(heard)), None]  # for the eye, for the ear
        if refresh:
            self.relabel()

    def groups(self, x: Tensor) -> Tensor:
        return losses.kmeans((x - x.mean(dim=0)) / (x.std(dim=0) + 1e-6), self.clusters)[0]

    def relabel(self) -> None:
        """Clusters of one sense's features become the other's classes (or its own); the heads begin anew."""
        ear = apply(self.ear, self.sounds[0], self.ear)
        eye = apply(self.eye, self.scenes.pictures, self.eye)
        self.labels = [self.groups(x) for x in ((eye, ear) if self.own else (ear, eye))]
        for head in self.heads:
            head.reset_parameters()
        self.train()

    def forward(self, generator: torch.Generator) -> Tensor:
        pick, x, y = self.draw(generator)
        loss = F.cross_entropy(self.heads[0](self.eye(x)), self.labels[0][pick].to(x.device))
        if self.refresh:
            loss = loss + F.cross_entropy(self.heads[1](self.ear(y)), self.labels[1][pick].to(x.device))
        return loss

    def after(self, step: int) -> None:
        """`training.fit(..., after=task.after)`: new clusters every `refresh` steps."""
        if self.refresh and step % self.refresh == 0:
            self.relabel()
