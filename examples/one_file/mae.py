"""MAE (He et al. 2022, https://arxiv.org/abs/2111.06377) in one file, from top to bottom.

Most patches of a picture are hidden; a transformer sees the others, and a small decoder paints what is missing.
No label is used.  Run `python examples/one_file/mae.py`, or give it --folder DIR."""

import argparse
import math

import torch
import torch.nn.functional as F
from torch import nn
from torchvision import datasets, transforms

HIDDEN = 0.75  # the dial: where little is hidden, copying from next door is enough
PATCH, DIM, DEPTH, HEADS, NARROW = 8, 96, 4, 3, 64  # pixels; the encoder; the decoder is one NARROW block
CROP = (0.5, 1.0)  # the mask is the task: views stay gentle
STEPS, BATCH, LR, WARMUP, DECAY = 400, 256, 3e-3, 0.1, 0.05  # how long; the rest as usual for ViTs
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
    """Of every picture a gentle random crop, mirrored half of the time; and which patches to hide, bool [n, T]."""
    n, box = len(x), x.new_zeros(len(x), 2, 3)
    for row in (0, 1):  # width and height
        side = x.new_empty(n).uniform_(*CROP).sqrt()
        box[:, row, row], box[:, row, 2] = side, (1 - side) * x.new_empty(n).uniform_(-1, 1)
    box[:, 0, 0] *= torch.randint(2, (n,)) * 2 - 1
    rank = torch.rand(n, (SIZE // PATCH) ** 2).argsort(dim=1).argsort(dim=1)
    grid = F.affine_grid(box, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False), rank < round(HIDDEN * rank.shape[1])


def positions(dim: int):
    """Fixed sines and cosines of the row in one half, of the column in the other: [T, dim]."""
    angle = torch.arange(SIZE // PATCH)[:, None] * 10_000 ** (-torch.arange(dim // 4) / (dim // 4))
    line = torch.cat([angle.sin(), angle.cos()], dim=1)
    return torch.cat([line.repeat_interleave(len(line), 0), line.repeat(len(line), 1)], dim=1)


def blocks(dim: int, depth: int, heads: int):
    options = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
    return nn.Sequential(*[nn.TransformerEncoderLayer(dim, heads, 4 * dim, **options) for _ in range(depth)])


def patchify(x):  # [n, 3, S, S] -> [n, T, 3 PATCH^2], row by row
    return F.unfold(x, PATCH, stride=PATCH).transpose(1, 2)


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.blocks = nn.Linear(3 * PATCH**2, DIM), blocks(DIM, DEPTH, HEADS)
        self.norm = nn.LayerNorm(DIM)

    def forward(self, x, mask=None):
        """Features [n, T DIM], or with a mask the tokens of the visible patches alone [n, K, DIM]."""
        tokens = self.embed(patchify(x)) + positions(DIM)
        if mask is not None:
            return self.norm(self.blocks(tokens[~mask].view(len(x), -1, DIM)))
        return self.norm(self.blocks(tokens)).flatten(1)


class MAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.mask_token, self.encoder = nn.Parameter(0.02 * torch.randn(NARROW)), Encoder()
        self.narrow, self.decoder = nn.Linear(DIM, NARROW), blocks(NARROW, 1, 4)
        self.paint = nn.Sequential(nn.LayerNorm(NARROW), nn.Linear(NARROW, 3 * PATCH**2))

    def forward(self, x, mask):
        tokens = self.mask_token.expand(*mask.shape, -1).clone()
        tokens[~mask] = self.narrow(self.encoder(x, mask)).flatten(0, 1)  # each to its place
        painted = self.paint(self.decoder(tokens + positions(NARROW)))
        return (painted - patchify(x))[mask].square().mean()  # of hidden patches only


def train(model, images, steps: int):
    """Warm-up, then half a cosine down to 0; vectors (biases, norms) are not decayed.  The loss of every step."""
    groups = [{"params": [], "weight_decay": 0.0}, {"params": [], "weight_decay": DECAY}]
    for p in model.parameters():
        groups[p.ndim > 1]["params"] += [p] * p.requires_grad
    optimizer, warm, losses = torch.optim.AdamW(groups, lr=LR), round(WARMUP * steps), []
    for step in range(steps):
        fall = 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))
        for group in optimizer.param_groups:
            group["lr"] = LR * ((step + 1) / (warm + 1) if step < warm else fall)
        batch = images[torch.randperm(len(images))[:BATCH]]
        loss = model(*view(batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 50 == 0 or step + 1 == steps:
            print(f"step {step + 1:4d}  loss {losses[-1]:.3f}", flush=True)
    return losses


@torch.no_grad()
def probe(encoder, images, kinds, test: int):
    """Share of the last `test` pictures that ridge regression on the features of the others names rightly."""
    h = torch.cat([encoder.eval()(x) for x in images.split(256)])
    h = (h - h.mean(dim=0)) / (h.std(dim=0) + 1e-6)
    a, b = h[:-test], F.one_hot(kinds[:-test]).to(h.dtype)
    weights = torch.linalg.solve(a.T @ a + 0.1 * len(a) * torch.eye(a.shape[1], dtype=h.dtype), a.T @ b)
    return ((h[-test:] @ weights).argmax(dim=1) == kinds[-test:]).double().mean().item()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", help="pictures of your own, one sub-folder per class")
    folder = parser.parse_args().folder
    torch.manual_seed(0)
    images, kinds = read(folder) if folder else draw(IMAGES)
    test, model = len(images) // 5, MAE()
    untrained = probe(model.encoder, images, kinds, test)
    train(model.train(), images[:-test], STEPS)
    print(f"{test} pictures not trained on, named by a linear map learned from the others; right:")
    print(f"pixels {probe(nn.Flatten(), images, kinds, test):.0%}, untrained {untrained:.0%},", end=" ")
    print(f"trained {probe(model.encoder, images, kinds, test):.0%}")

# Details that matter.  Theirs: https://github.com/facebookresearch/mae/blob/main/ + the file named
# - Hidden patches never enter the encoder (models_mae.py#L139-L141), nor the loss the visible ones (#L210-L213).
# - Their better targets are patches normalised one by one (#L205-L208); here plain pixels, which a short run can learn.
# - Positions are fixed, in encoder and decoder (#L68, #L72).  They have a class token, we have none.
# - Crop and flip, no colours (main_pretrain.py, transform_train).  AdamW's second beta is 0.95 there, 0.999 here.
