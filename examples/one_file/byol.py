"""BYOL (Grill et al. 2020, https://arxiv.org/abs/2006.07733) in one file, from top to bottom.

A predictor guesses what a slow copy of the network makes of the other view; nobody is pushed away.
No label is used.  Run `python examples/one_file/byol.py`, or give it --folder DIR."""

import argparse
import copy
import math

import torch
import torch.nn.functional as F
from torch import nn
from torchvision import datasets, transforms

MOMENTUM = 0.9  # the dial: how slowly the teacher follows; the paper's 0.996 is for runs of 300,000 steps
PREDICTOR_LR = 4.0  # the predictor learns so many times faster: it has to be near its best guess at all times
CROP = (0.25, 1.0)  # share of the area that a view shows: how much two views may differ
JITTER = 1.0  # how far colours are turned: at 0, colour alone tells which views belong together
BATCH = 128  # the loss compares no two pictures; only BatchNorm does
STEPS, LR, WARMUP, DECAY = 400, 0.2, 0.1, 5e-4  # how long; peak rate, share of warm-up, weight decay
SIZE, IMAGES = 32, 5120  # side of a picture in pixels; how many are drawn, a fifth of them for the test


def draw(n: int, seed: int = 0):
    """n pictures [n, 3, SIZE, SIZE], -2..2, and their kinds [n]: outlines of 2, 3, 4 or 5 lobes, filled or hollow.
    Place, size, angle and colours are drawn independently of the kind: they say nothing about it."""
    g = torch.Generator().manual_seed(seed)
    u, kind = torch.rand(7, n, 1, 1, generator=g), torch.randint(8, (n,), generator=g)
    lobes, hollow = 2 + kind.view(-1, 1, 1) // 2, kind.view(-1, 1, 1) % 2
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, SIZE)] * 2, indexing="ij")
    dx, dy = x - 0.6 * (u[0] - 0.5), y - 0.6 * (u[1] - 0.5)
    wave = torch.cos(lobes * (torch.atan2(dy, dx) + u[3] - 0.5))  # turned by half a radian at most
    depth = ((0.45 + 0.2 * u[2]) * (1 + 0.35 * wave) - dx.hypot(dy)) * SIZE / 2  # pixels inside the outline
    cover = (depth.clamp(0, 1) - hollow * (depth - 3).clamp(0, 1))[:, None]
    ground = u[4:].transpose(0, 1)  # [n, 3, 1, 1]; the object differs by a half in every channel, up or down
    return 4 * (ground + cover * ((ground + 0.5) % 1 - ground)) - 2, kind


def read(folder: str):
    """The same from a folder with one sub-folder of pictures per class, in random order."""
    shape = transforms.Compose([transforms.Resize(SIZE), transforms.CenterCrop(SIZE), transforms.ToTensor()])
    files = datasets.ImageFolder(folder, shape)
    images, kinds = zip(*[files[i] for i in torch.randperm(len(files))], strict=True)
    return 4 * torch.stack(images) - 2, torch.tensor(kinds)


def view(x):
    """Of every picture [n, 3, S, S] a random crop, mirrored half of the time, its colours mixed or taken away."""
    n, box = len(x), x.new_zeros(len(x), 2, 3)
    for row in (0, 1):  # width and height
        side = x.new_empty(n).uniform_(*CROP).sqrt()
        box[:, row, row], box[:, row, 2] = side, (1 - side) * x.new_empty(n).uniform_(-1, 1)
    box[:, 0, 0] *= torch.randint(2, (n,)) * 2 - 1
    x = F.grid_sample(x, F.affine_grid(box, list(x.shape), align_corners=False), align_corners=False)
    left, _, right = torch.linalg.svd(torch.eye(3, dtype=x.dtype) + JITTER * x.new_empty(n, 3, 3).normal_())
    turn = left @ right * x.new_empty(n, 1, 1).uniform_(0.5, 1.5)  # of all colours about gray; and contrast
    turn[torch.rand(n) < 0.2] = 1 / 3  # gray
    return torch.einsum("nij,njhw->nihw", turn, x) + 0.5 * x.new_empty(n, 3, 1, 1).normal_()


def convnet(width: int = 16, dim: int = 256):
    """Four convolutions, each halving the side, then the mean over places: [n, 3, S, S] -> [n, dim]."""
    sizes, layers = (3, width, 2 * width, 4 * width, dim), []
    for a, b in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def head(a: int, hidden: int, b: int):
    layers = nn.Linear(a, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, b)
    return nn.Sequential(*layers)


class BYOL(nn.Module):
    """Student: encoder, projector, predictor.  Teacher: a moving average of encoder and projector."""

    def __init__(self):
        super().__init__()
        self.encoder, self.projector, self.predictor = convnet(), head(256, 512, 128), head(128, 512, 128)
        for p in self.predictor.parameters():
            p.register_hook(lambda gradient: PREDICTOR_LR * gradient)
        self.teacher = copy.deepcopy(nn.Sequential(self.encoder, self.projector)).requires_grad_(False)

    def forward(self, a, b):
        guesses = [self.predictor(self.projector(self.encoder(x))) for x in (a, b)]
        with torch.no_grad():
            targets = [self.teacher(x) for x in (b, a)]
        cosines = [F.cosine_similarity(*pair, dim=1).mean() for pair in zip(guesses, targets, strict=True)]
        return 4 - 2 * sum(cosines)  # |u - t|^2 = 2 - 2 cos for vectors of length 1, both directions added

    @torch.no_grad()
    def follow(self, progress: float):  # from 0 to 1; the teacher moves ever more slowly
        m = 1 - (1 - MOMENTUM) * (1 + math.cos(math.pi * progress)) / 2
        student = nn.Sequential(self.encoder, self.projector)
        for old, new in zip(self.teacher.parameters(), student.parameters(), strict=True):
            old.lerp_(new, 1 - m)


def train(model, images, steps: int):
    """Warm-up, then half a cosine down to 0; vectors (biases, norms) are not decayed.  The loss of every step."""
    groups = [{"params": [], "weight_decay": 0.0}, {"params": [], "weight_decay": DECAY}]
    for p in model.parameters():
        groups[p.ndim > 1]["params"] += [p] * p.requires_grad
    optimizer, warm, losses = torch.optim.SGD(groups, lr=LR, momentum=0.9), round(WARMUP * steps), []
    for step in range(steps):
        fall = 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))
        for group in optimizer.param_groups:
            group["lr"] = LR * ((step + 1) / (warm + 1) if step < warm else fall)
        batch = images[torch.randperm(len(images))[:BATCH]]
        loss = model(view(batch), view(batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.follow((step + 1) / steps)
        losses.append(loss.item())
        if step % 50 == 0 or step + 1 == steps:
            print(f"step {step + 1:4d}  loss {losses[-1]:.3f}", flush=True)
    return losses


@torch.no_grad()
def knn(encoder, images, kinds, test: int, k: int = 10):
    """Share of the last `test` pictures whose nearest neighbours among the others vote for the right kind."""
    for training in (True, False):  # first BatchNorm settles on these pictures, trained or not
        encoder.train(training)
        h = F.normalize(torch.cat([encoder(x) for x in images.split(256)]), dim=1)
    votes = kinds[(h[-test:] @ h[:-test].T).topk(k).indices]
    return (votes.mode().values == kinds[-test:]).double().mean().item()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", help="pictures of your own, one sub-folder per class")
    folder = parser.parse_args().folder
    torch.manual_seed(0)
    images, kinds = read(folder) if folder else draw(IMAGES)
    test, model = len(images) // 5, BYOL().to(memory_format=torch.channels_last)
    untrained = knn(model.encoder, images, kinds, test)
    train(model.train(), images[:-test], STEPS)
    print(f"{test} pictures not trained on, named by their 10 nearest neighbours among the others; right:")
    print(f"pixels {knn(nn.Flatten(), images, kinds, test):.0%}, untrained network {untrained:.0%},", end=" ")
    print(f"trained network {knn(model.encoder, images, kinds, test):.0%}")

# Details that matter.  Theirs: https://github.com/google-deepmind/deepmind-research/blob/master/byol/ + the file named
# - Both directions are added, not averaged (byol_experiment.py#L243-L250), lengths are 1 (utils/helpers.py#L108).
# - Each view passes by itself: BatchNorm sees one kind of view at a time (byol_experiment.py#L183-L184).
# - BatchNorm in projector and predictor, none behind their last map (utils/networks.py#L40-L45).
# - The momentum rises to 1 along half a cosine (utils/schedules.py#L20-L24), from 0.996, or from 0.97 in 40 epochs
#   (configs/byol.py#L23): a short run needs a faster teacher.  First the optimiser steps, then the teacher moves.
# - Ours: the faster predictor, and two views made alike (they also differ in blur and solarisation there).
