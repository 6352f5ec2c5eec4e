"""The measurements of chapter 10: clips of a small drawn world, and what each question about time leaves in an encoder.

    uv run python benchmarks/video.py                                  # all rows that the record does not have yet
    uv run python benchmarks/video.py --parts tuning tasks --seconds 300  # start no new row after 300 seconds
    uv run python benchmarks/video.py --steps 2 --clips 200 --dry       # everything once, nothing recorded

tuning    the learning rate of each task, on a world of its own (seed 100), from the same list; the best is the one
          whose features tell most about held-out training clips, means over the factors.
tasks     fifteen tasks, one encoder, as many steps: which factor can be read from the clip afterwards.  With the
          encoder before training, and pixels three ways (first frame, mean frame, mean absolute difference).
arrow     forwards or backwards?  Balls that lose speed at each bounce, and balls that do not; and a camera that
          brightens its picture, looked at with and without a ball in it.
tubes     masked cubes: tubes or single cubes, how many are hidden, pixels or features.
cameras   the same moment by two cameras: how often the nearest of eight moments is the right one.
slow      is the background the same in all frames, or new in each?  Position of the shape from one frame.
tracking  where is the shape three frames later?  Masks carried along by features: regions (J) and contours (F) on the
          exact masks, and the intersection over union on the 12 x 12 places of the features.
"""

import time
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from _record import arguments, recorded, resume

from ssl_lessons import diagnostics, evaluation, losses
from ssl_lessons.data.image_set import Factor
from ssl_lessons.evaluation import dense
from ssl_lessons.modalities.video import encoders, objectives, views, world
from ssl_lessons.training import fit

KEY = ("part", "arm", "seed")
SEEDS, TUNING_SEED, RATES = (0, 1, 2), 100, (2e-3, 6e-3)
RATE = 4e-3  # of what is not tuned
STEPS, TRAIN, PROBE, TEST = 1500, 3000, 2000, 1000
SIZES = {"steps": STEPS, "clips": TRAIN}


@lru_cache(maxsize=6)
def drawn(split: str, seed: int, **options) -> world.Clips:
    n = SIZES["clips"] if split == "train" else min(TEST, SIZES["clips"])
    return world.clips(split, n, seed, **options)


def net(seed: int) -> encoders.ClipNet:
    torch.manual_seed(seed)
    return encoders.ClipNet()


def factors_of(clips: world.Clips) -> dict[str, Factor]:
    return {name: Factor(values, "categorical") for name, values in clips.factors.items()}


def read(train_x, train, test_x, test) -> dict:
    """Each factor from features of clips: 0 chance, 1 always right."""
    found = evaluation.factor_probe(train_x, factors_of(train), test_x, factors_of(test))
    return {"factors": found, "mean": sum(found.values()) / len(found)}


def measured(features, seed: int, **options) -> dict:
    train, test = drawn("train", seed, **options)[:PROBE], drawn("test", seed, **options)
    x = features(train.frames)
    return read(x, train, features(test.frames), test) | {"rank": float(diagnostics.rank_me(x))}


def trained(task, steps: int, lr: float, **options) -> dict:
    start = time.process_time()
    history = fit(task, task, steps, lr=lr, **options)
    last = history[-20:]
    return {
        "steps": steps, "lr": lr, "loss": sum(last) / len(last), "first": history[0],
        "seconds": time.process_time() - start,
    }  # fmt: skip


# ---- which task keeps which factor ---------------------------------------------------------------------------------


def build(name: str, seed: int):
    train = drawn("train", seed, camera=True)
    return objectives.tasks(partial(net, seed), train.frames, train.other)[name]()


NAMES = tuple(objectives.tasks(encoders.ClipNet, torch.zeros(1), torch.zeros(1)))


def tune(name: str, lr: float, seed: int = TUNING_SEED) -> dict:
    """Nothing is chosen on the test split: half of the train clips are read with the other half."""
    task = build(name, seed)
    row = trained(task, max(1, SIZES["steps"] // 2), lr, seed=seed)
    train = drawn("train", seed, camera=True)
    x, half = encoders.features(task.encoder, train.frames), len(train) // 2
    return row | {"task": name} | read(x[:half], train[:half], x[half:], train[half:])


def best_rate(name: str) -> float:
    rows = [r for r in recorded("video") if r["part"] == "tuning" and r["task"] == name]
    return max(rows, key=lambda r: r["mean"])["lr"] if rows else RATE


def run_task(name: str, seed: int) -> dict:
    task = build(name, seed)
    row = trained(task, SIZES["steps"], best_rate(name), seed=seed)
    row |= measured(partial(encoders.features, task.encoder), seed, camera=True)
    if isinstance(task, objectives.Labelled):
        test = drawn("test", seed, camera=True)
        row["solved"] = task.accuracy(test.frames, torch.Generator().manual_seed(seed))
    return row


def small(frames: torch.Tensor) -> torch.Tensor:
    """Float pictures [N, 3, 24, 24] averaged to 12 x 12 and flattened."""
    return F.avg_pool2d(frames, 2).flatten(1)


FLOORS = {
    "first frame": lambda x: small(x[:, 0].float()),
    "mean frame": lambda x: small(x.float().mean(1)),
    "frame difference": lambda x: small((x[:, 1:].float() - x[:, :-1].float()).abs().mean(1)),
}


def floor(name: str, seed: int) -> dict:
    features = FLOORS.get(name) or partial(encoders.features, net(seed))
    return {"steps": 0} | measured(features, seed, camera=True)


# ---- the arrow of time ----------------------------------------------------------------------------------------------

BALLS = {
    "loses 40 %": {"loss": 0.4}, "loses 20 %": {"loss": 0.2}, "loses nothing": {}, "camera drifts": {"drift": 0.005},
}  # fmt: skip


def without_shape(clips: world.Clips) -> torch.Tensor:
    """The same films with nothing in them: a hidden place shows the frame's mean colour outside the shape."""
    hidden = (clips.masks > 0)[:, :, None]
    x = clips.frames.float()
    mean = (x * ~hidden).sum((3, 4), keepdim=True) / (~hidden).sum((3, 4), keepdim=True)
    return torch.where(hidden, mean, x).round().byte()


def run_arrow(name: str, seed: int) -> dict:
    options = {"motion": "bounce"} | BALLS[name]
    train, test = drawn("train", seed, **options), drawn("test", seed, **options)
    task = objectives.Labelled(net(seed), train.frames, views.arrow, 2)
    row = trained(task, SIZES["steps"], RATE, seed=seed)
    asked = {"solved": test.frames, "empty": without_shape(test)}
    return row | {k: task.accuracy(x, torch.Generator().manual_seed(seed)) for k, x in asked.items()}


# ---- tubes ----------------------------------------------------------------------------------------------------------

CUBES = {
    f"{kind} {ratio}": (objectives.Cubes, {"tubes": kind == "tubes", "ratio": ratio})
    for ratio in (0.5, 0.75, 0.9)
    for kind in ("tubes", "cubes")
} | {"tubes 0.75, features": (objectives.CubeFeatures, {"tubes": True, "ratio": 0.75})}


def vit(seed: int) -> encoders.CubeViT:
    torch.manual_seed(seed)
    return encoders.CubeViT()


def copied(clips: torch.Tensor, mask: torch.Tensor) -> float:
    """The squared error of the simplest rule: a hidden cube is the nearest seen one in time at its place, else gray."""
    cubes = views.patches(views.to_float(clips)).unflatten(1, (4, 16))
    seen = ~mask.view(len(mask), 4, 16)
    guess, rank = torch.zeros_like(cubes), torch.full(seen.shape, 99)
    for t in range(4):
        for u in range(4):
            better = seen[:, u] & (abs(t - u) < rank[:, t])
            guess[:, t] = torch.where(better[..., None], cubes[:, u], guess[:, t])
            rank[:, t] = torch.where(better, abs(t - u), rank[:, t])
    return float((guess - cubes)[~seen].square().mean())


def run_cubes(name: str, seed: int) -> dict:
    if name == "untrained":
        return {"steps": 0} | measured(partial(encoders.features, vit(seed)), seed)
    kind, options = CUBES[name]
    task = kind(vit(seed), drawn("train", seed).frames, **options)
    row = trained(task, SIZES["steps"], RATE, seed=seed, after=getattr(task, "follow", None))
    test = drawn("test", seed).frames
    mask = task.mask(len(test), torch.Generator().manual_seed(seed))
    row |= {"leak": views.leak(mask, 4), "copied": copied(test, mask)}
    return row | measured(partial(encoders.features, task.encoder), seed)


# ---- two cameras ----------------------------------------------------------------------------------------------------


class Neighbours(objectives.TimeContrast):
    """One camera: the positive is the next frame of the same film."""

    def forward(self, generator):
        z = objectives.moments(self.encoder, self.draw(generator))
        return losses.time_contrast(z[:, :-1], z[:, 1:])


CAMERAS = {
    "two cameras": (objectives.TimeContrast, {}),
    "two cameras, n-pairs": (objectives.TimeContrast, {"n_pairs": True}),
    "two cameras, n-pairs, 3 frames": (objectives.TimeContrast, {"n_pairs": True, "frames": 3}),
    "one camera": (Neighbours, {}),
}


@torch.no_grad()
def same_moment(encoder, clips: world.Clips, together: int = 1) -> float:
    """How often the nearest moment of the other camera's film is the same moment."""
    encoder.eval()
    a, b = (objectives.moments(encoder, views.to_float(x), together) for x in (clips.frames, clips.other))
    found = (a @ b.mT).argmax(dim=2)
    return float((found == torch.arange(a.shape[1])).float().mean())


def run_cameras(name: str, seed: int) -> dict:
    train, test = drawn("train", seed, camera=True), drawn("test", seed, camera=True)
    if name == "untrained":
        return {"steps": 0, "found": same_moment(net(seed), test)}
    kind, options = CAMERAS[name]
    task = kind(net(seed), train.frames, train.other, **options)
    row = trained(task, SIZES["steps"], RATE, seed=seed)
    return row | {"found": same_moment(task.encoder, test, options.get("frames", 1))}


# ---- slow features --------------------------------------------------------------------------------------------------


class Successive(objectives.Task):
    """Two frames of a film, three steps apart, find each other among those of other films (InfoNCE)."""

    def __init__(self, encoder, clips):
        super().__init__(encoder, clips)
        self.projector = torch.nn.Sequential(
            torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 32)
        )

    def forward(self, generator):
        x = self.draw(generator)
        first = int(torch.randint(x.shape[1] - 3, (1,), generator=generator))
        a, b = (self.projector(self.encoder.frames(x[:, t])) for t in (first, first + 3))
        return losses.info_nce(a, b)


def run_slow(name: str, seed: int) -> dict:
    """`place`: R^2 of the column's angle, from the features of the middle frame."""
    kind, flicker = name.split(", ")
    train, test = (drawn(s, seed, flicker=flicker == "new in each frame") for s in ("train", "test"))
    encoder = net(seed)
    row = {"steps": 0}
    if kind != "untrained":
        task = {"frames of one film": Successive, "slow features": objectives.Slow}[kind](
            encoder, train.frames
        )
        row = trained(task, SIZES["steps"], RATE, seed=seed)
    x, y = (encoders.features(encoder.frames, c.frames[:, 4]) for c in (train[:PROBE], test))
    place = [
        {"place": Factor(2 * torch.pi * c.centres[:, 4, 0, 0], "circular"),
         "background": Factor(c.factors["background"], "categorical")}
        for c in (train[:PROBE], test)
    ]  # fmt: skip
    return row | evaluation.factor_probe(x, place[0], y, place[1])


SLOW = [
    f"{kind}, {flicker}"
    for kind in ("untrained", "frames of one film", "slow features")
    for flicker in ("the same in all frames", "new in each frame")
]

# ---- tracking -------------------------------------------------------------------------------------------------------

STAY, GRAY, RGB = "stay where you are", "gray pixels", "coloured pixels"
TRUE = "the true mask in 2 x 2 blocks"
TRACKERS = {"untrained": None, "copied colours": objectives.Points, "walk and back": objectives.Walks}


@torch.no_grad()
def tracked(features, clips: world.Clips, gap: int = 3) -> dict:
    """The first shape's mask in frame 0, in blocks of 2 x 2 pixels, carried to frame `gap` and enlarged there.

    features: float pictures to maps [N, D, 12, 12]; or STAY, the mask where it was, or TRUE, the mask of frame `gap`.
    j, f: mean over the clips on the exact masks; j_and_f: their mean.  iou: on the blocks, all clips together.
    A pixel or a block is the shape's where more than half is.
    """
    exact = [clips.masks[:, t] == 1 for t in (0, gap)]
    here, there = (F.avg_pool2d(F.one_hot(m.long(), 2).movedim(3, 1).float(), 2) for m in exact)
    if features in (STAY, TRUE):
        carried = here if features == STAY else there
    else:
        a, b = (features(views.to_float(clips.frames[:, t])) for t in (0, gap))
        carried = dense.propagate(a, b, here)
    large = F.interpolate(carried, exact[1].shape[1:], mode="bilinear").argmax(1).bool()
    j, f = (
        float(m(large, exact[1]).mean()) for m in (evaluation.region_similarity, evaluation.contour_accuracy)
    )
    iou = dense.intersection_over_union(carried.argmax(1), there.argmax(1), 2)[1]
    return {"j": j, "f": f, "j_and_f": (j + f) / 2, "iou": float(iou)}


def run_tracking(name: str, seed: int) -> dict:
    train, test = (drawn(s, seed, objects=2) for s in ("train", "test"))
    test, row = test[:300], {"steps": 0}
    torch.manual_seed(seed)
    encoder = encoders.PlaceNet()
    if TRACKERS.get(name) is not None:
        task = TRACKERS[name](encoder, train.frames)
        row = trained(task, SIZES["steps"], RATE, seed=seed)
    how = {
        STAY: STAY,
        TRUE: TRUE,
        GRAY: lambda x: F.unfold(objectives.gray(x), 5, padding=2, stride=2).unflatten(2, (12, 12)),
        RGB: lambda x: F.unfold(x, 5, padding=2, stride=2).unflatten(2, (12, 12)),
    }
    features = how.get(name, lambda x: encoder(objectives.gray(x)))
    return row | tracked(features, test)


# ---- all of it ------------------------------------------------------------------------------------------------------


def rows_of(part: str):
    if part == "tuning":
        yield from ((f"{n}, lr {lr:g}", TUNING_SEED, partial(tune, n, lr)) for n in NAMES for lr in RATES)
        return
    arms = {
        "tasks": (("untrained", *FLOORS), floor, NAMES, run_task),
        "arrow": ((), None, BALLS, run_arrow),
        "tubes": (("untrained",), run_cubes, CUBES, run_cubes),
        "cameras": (("untrained",), run_cameras, CAMERAS, run_cameras),
        "slow": ((), None, SLOW, run_slow),
        "tracking": ((STAY, GRAY, RGB, TRUE), run_tracking, TRACKERS, run_tracking),
    }[part]
    for seed in SEEDS:
        for names, run in (arms[:2], arms[2:]):
            yield from ((name, seed, partial(run, name, seed)) for name in names)


PARTS = ("tuning", "tasks", "arrow", "tubes", "cameras", "slow", "tracking")


def main(parts, seeds, seconds: float, steps: int, clips: int, dry: bool) -> None:
    if (steps, clips) != (STEPS, TRAIN) and not dry:
        raise SystemExit("other sizes are for trials: add --dry")
    SIZES.update(steps=steps, clips=clips)
    jobs = (
        ({"part": part, "arm": arm, "seed": seed}, run)
        for part in parts
        for arm, seed, run in rows_of(part)
        if not seeds or seed in seeds
    )
    resume("video", KEY, jobs, ("torch", "scikit-learn"), seconds, dry)


if __name__ == "__main__":
    main(**vars(arguments(__doc__, PARTS, {"steps": STEPS, "clips": TRAIN}).parse_args()))
