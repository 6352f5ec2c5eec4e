"""The measurements of chapter 23b: which methods know where the object is, and what do they pay for it?

    uv run python benchmarks/dense.py                                 # all rows that the record does not have yet
    uv run python benchmarks/dense.py --seeds 0 --seconds 300         # start no new row after 300 seconds
    uv run python benchmarks/dense.py --dry                           # every arm for two steps; writes nothing

tuning   learning rate of every trained arm, from the same list, on a world of its own (seed 100): the overlap of the
         dense probe on held-out images of the train split.  The best of each is what "arms" uses.
arms     a conv net with maps of 8 x 8 trained by SimCLR, DenseCL, VICReg, VICRegL (and once more with the coordinates
         of mirrored views not mirrored), InsLoc, SimCLR with swapped backgrounds; a small ViT trained by SelfPatch
         with and without its patch loss; raw pixels and the untrained networks.  For each: the probe for the kind, the
         dense probe for the object, the same after pasting on other backgrounds, boxes, masks carried to another frame.
"""

import argparse
import base64
import inspect
import time
from functools import cache, partial

import torch
import torch.nn.functional as F
from _record import merge, recorded
from _world import WORLD, probe
from _world import splits as large_splits

from ssl_lessons import data, evaluation
from ssl_lessons.methods import SimCLR, build_method
from ssl_lessons.models import build_encoder, settle
from ssl_lessons.training import pretrain
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views import augment, normalize

KEY = ("world", "part", "arm", "seed")
PARTS = ("tuning", "arms")
SEEDS, TUNING_SEED = (0, 1, 2), 100
RATES, TUNING_STEPS, STEPS = (2e-3, 6e-3), 120, 600
SIDE = 8  # of every map
NET = {"name": "convnet", "width": 16, "dim": 128, "strides": [2, 2, 1, 1]}
VIT = {"name": "vit", "patch": 4, "dim": 64, "depth": 3, "heads": 4}
MASKED = 300  # pictures with masks, of the train and of the test split
BOX_PENALTY = 100.0  # of the ridge regression of boxes, on standardised features
SHOWN = 6  # test pictures of the first seed whose cosines are kept
QUICK = get_recipe("quick")
TAU = QUICK.options["temperature"]
ARMS = {  # name: (encoder, method, options)
    "simclr": (NET, "simclr", {"temperature": TAU}),
    "densecl": (NET, "densecl", {"temperature": TAU}),
    "vicreg": (NET, "vicreg", {}),
    "vicregl": (NET, "vicregl", {}),
    "vicregl, not mirrored": (NET, "vicregl", {"flip_places": False}),
    "simclr, swapped backgrounds": (NET, "swap", {"temperature": TAU}),
    "insloc": (NET, "insloc", {"temperature": TAU}),
    "dino vit": (VIT, "selfpatch", {"heads": 4, "patch_weight": 0.0}),
    "selfpatch vit": (VIT, "selfpatch", {"heads": 4}),
}
FLOORS = ("colours", "patches", "untrained", "untrained vit")
TUNED_AS = {"vicregl, not mirrored": "vicregl"}  # the mistake alone shall differ


class SwappedBackgrounds(SimCLR):
    """SimCLR; half of the views show the object on another background (Zhao et al. 2021, but with exact masks)."""

    needs_index = True

    def __init__(self, encoder, pictures, policy, share: float = 0.5, **options):
        super().__init__(encoder, **options)
        self.policy, self.share = policy, share
        self.pictures, self.cut = pictures.images, data.object_masks(pictures)[:, None]
        self.grounds, polarity = data.backgrounds(pictures), pictures.factors["polarity"].values
        self.polarity, self.members = polarity, [(polarity == v).nonzero()[:, 0] for v in (0, 1)]

    def forward(self, views, labels=None, index=None):
        generator = torch.Generator().manual_seed(int(torch.randint(2**31, (1,))))
        made = []
        for _ in range(2):
            partner = torch.stack([m[torch.randint(len(m), (len(index),))] for m in self.members], dim=1)
            partner = partner.gather(1, self.polarity[index][:, None])[:, 0]  # as light or dark a ground
            keep = self.cut[index] | (torch.rand(len(index)) >= self.share)[:, None, None, None]
            pasted = torch.where(keep, self.pictures[index], self.grounds[partner])
            made.append(augment(pasted, self.policy, generator))
        return super().forward(made)


def build(arm: str, seed: int, pictures):
    encoder, method, options = ARMS[arm]
    torch.manual_seed(seed)
    encoder = build_encoder(**encoder)
    if method == "swap":
        return SwappedBackgrounds(encoder, pictures, QUICK.policy, **options)
    return build_method(method, encoder, **options)


def train(arm: str, seed: int, lr: float, steps: int, pictures):
    """(method, history): AdamW, 128 pictures a step for the conv net, 64 for the ViT."""
    method = build(arm, seed, pictures)
    training = QUICK.training() | {"lr": lr, "batch_size": 64 if ARMS[arm][0] is VIT else 128}
    history = pretrain(
        method,
        pictures.images,
        method.views(QUICK.policy),
        steps=steps,
        seed=seed,
        progress=False,
        **training,
    )
    return method.eval(), history


# ---- what is read --------------------------------------------------------------------------------------------------


def maps_of(encoder, images) -> torch.Tensor:
    """[N, D, 8, 8]."""
    return evaluation.extract_features(encoder, images, maps=True)


def colours(images) -> torch.Tensor:
    """The mean colour of every place: [N, 3, 8, 8]."""
    return F.adaptive_avg_pool2d(normalize(images), SIDE)


def patches(images) -> torch.Tensor:
    """The pixels in a window of three places' side around every place, raw: [N, 3 * 12 * 12, 8, 8]."""
    step = images.shape[-1] // SIDE
    return F.unfold(normalize(images), 3 * step, padding=step, stride=step).unflatten(2, (SIDE, SIDE))


def overlap(x, train, x_test, test) -> dict:
    """The dense probe: the object's overlap, on each part of the test maps (test: one set of pictures or several)."""
    tests = [test] if isinstance(test, data.ImageSet) else test
    truth = torch.cat([data.object_masks(t) for t in tests])
    found = evaluation.dense_probe(x, data.object_masks(train), x_test, truth)
    parts = zip(
        found.predicted.split([len(t) for t in tests]), truth.split([len(t) for t in tests]), strict=True
    )
    values = [float(evaluation.intersection_over_union(p, t.long(), 2)[1]) for p, t in parts]
    return dict(zip(("iou", "iou_swapped"), values, strict=False)) | {"penalty": found.penalty}


def boxes_of(masks) -> torch.Tensor:
    """The smallest box around each mask: [N, 4], top, left, bottom, right in shares of the side."""
    ends = []
    for axis in (2, 1):  # rows, then columns
        there = masks.any(dim=axis).float()
        ends.append((there.argmax(dim=1), there.shape[1] - there.flip(1).argmax(dim=1)))
    (top, bottom), (left, right) = ends
    return torch.stack([top, left, bottom, right], dim=1) / masks.shape[-1]


def box_overlap(a, b) -> torch.Tensor:
    """Intersection over union of boxes [N, 4], row by row: [N]."""
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=1)
    areas = [(v[:, 2:] - v[:, :2]).clamp(min=0).prod(dim=1) for v in (a, b)]
    return shared / (sum(areas) - shared)


def box_score(x, train, x_test, test) -> float:
    """Mean overlap of boxes that a ridge regression reads off maps reduced to 4 x 4."""
    x, x_test = (F.adaptive_avg_pool2d(v, 4).flatten(1).double() for v in (x, x_test))
    center, spread = x.mean(dim=0), x.std(dim=0) + 1e-6
    x, x_test = (x - center) / spread, (x_test - center) / spread
    y, y_test = (boxes_of(data.object_masks(s)).double() for s in (train, test))
    kernel = x @ x.T + BOX_PENALTY * torch.eye(len(x), dtype=x.dtype)
    weights = torch.linalg.solve(kernel, y - y.mean(dim=0))  # [N, 4]
    predicted = (x_test @ x.T) @ weights + y.mean(dim=0)
    return float(box_overlap(predicted, y_test).mean())


def cosines(maps) -> list[str]:
    """The cosines between all places of each picture, [64, 64] in steps of 1/127, as text: for the widget."""
    z = F.normalize(maps.flatten(2), dim=1)
    gram = (127 * z.mT @ z).round().clamp(-127, 127).to(torch.int8)
    return [encoded(g) for g in gram]


def encoded(values: torch.Tensor) -> str:
    """Bytes as text."""
    return base64.b64encode(values.numpy().tobytes()).decode()


def tenths(values: list[float]) -> list[float]:
    """Means over ten equal parts of a run; the values themselves of a shorter one."""
    if len(values) < 10:
        return values
    size = len(values) / 10
    parts = [values[round(i * size) : round((i + 1) * size)] for i in range(10)]
    return [sum(part) / len(part) for part in parts]


def frames(n: int = 300, seed: int = 0) -> list[data.ImageSet]:
    """Two frames of n scenes: the object moves, turns and grows by two fifths of the way to another draw."""
    first, other = (data.sample_factors(n, 7_000 + 2 * seed + i) for i in range(2))
    second = dict(first)
    for name in ("x", "y", "scale", "rotation"):
        second[name] = 0.6 * first[name] + 0.4 * other[name]
    from ssl_lessons.data.world import as_image_set

    return [as_image_set(table, 32, "test") for table in (first, second)]


def carried(read, seed: int) -> float:
    """The object's overlap in the second frame, after its mask in the first is carried along similar features."""
    first, second = frames(seed=seed)
    share = F.adaptive_avg_pool2d(data.object_masks(first).float()[:, None], SIDE)
    there = evaluation.propagate(read(first.images), read(second.images), share)
    there = F.interpolate(there, second.images.shape[2:], mode="bilinear")[:, 0] > 0.5
    return float(evaluation.intersection_over_union(there.long(), data.object_masks(second).long(), 2)[1])


def measured(read, train, test, seed: int, pooled=None) -> dict:
    """read: uint8 images -> maps.  pooled: images -> one vector each, where it is not the mean of the map."""
    pooled = pooled or (lambda images: read(images).mean(dim=(2, 3)))
    h, h_test = pooled(train.images), pooled(test.images)
    small, small_test = train[:MASKED], test[:MASKED]
    partner = data.same_polarity(test, seed)
    moved = data.on_backgrounds(test, partner)
    x, x_test = read(train.images), read(test.images)
    both = torch.cat([x_test[:MASKED], read(moved.images[:MASKED])])  # the same objects on other backgrounds
    masks = overlap(x[:MASKED], small, both, (small_test, small_test))
    return {
        "probe": probe(h, h_test, train, test),
        "probe_swapped": probe(h, pooled(moved.images), train, test),
        "probe_ground": probe(h, pooled(data.backgrounds(test)), train, test),
        "knn": evaluation.knn_accuracy(h, train.labels, h_test, test.labels),
        "box": box_score(x, train, x_test, test),
        "carried": carried(read, seed),
        "cosines": cosines(x_test[:SHOWN]) if seed == SEEDS[0] else [],
    } | masks  # fmt: skip


# ---- the parts -----------------------------------------------------------------------------------------------------


@cache
def splits(seed: int):
    return large_splits(seed)


def tune(arm: str, lr: float, steps: int) -> dict:
    """Nothing is chosen on the test split: it is not even looked at."""
    unlabeled, train_set, _ = splits(TUNING_SEED)
    method, history = train(arm, TUNING_SEED, lr, steps, unlabeled)
    maps = maps_of(method.encoder, train_set.images[: 2 * MASKED])
    half, rest = train_set[:MASKED], train_set[MASKED : 2 * MASKED]
    h = maps.mean(dim=(2, 3))
    return {
        "of": arm, "lr": lr, "steps": steps, "loss": history[-1]["loss"], "seconds": history[-1]["seconds"],
        "held_out": overlap(maps[:MASKED], half, maps[MASKED:], rest)["iou"],
        "held_out_probe": probe(h[:MASKED], h[MASKED:], half, rest),
    }  # fmt: skip


def tuned(arm: str) -> float:
    """The learning rate with the best held-out overlap."""
    arm = TUNED_AS.get(arm, arm)
    rows = [r for r in recorded("dense") if r["part"] == "tuning" and r["of"] == arm]
    if len(rows) < len(RATES):
        raise SystemExit(f"{arm} is not tuned yet: run --parts tuning first")
    return max(rows, key=lambda r: r["held_out"])["lr"]


def floor(arm: str, seed: int) -> dict:
    unlabeled, train_set, test = splits(seed)
    if arm in ("colours", "patches"):
        read = {"colours": colours, "patches": patches}[arm]
        return {"steps": 0} | measured(read, train_set, test, seed, pooled=evaluation.pixels)
    torch.manual_seed(seed)
    encoder = build_encoder(**(VIT if arm.endswith("vit") else NET))
    settle(encoder, unlabeled.images[:2048])
    found = {"steps": 0} | measured(partial(maps_of, encoder.eval()), train_set, test, seed)
    return found | (attended(build("dino vit", seed, None).eval(), seed) if arm.endswith("vit") else {})


def attended(method, seed: int) -> dict:
    """Where the gathering token of SelfPatch looks: the overlap of its most attended places with the mask.

    As many pixels as the mean mask has; heads averaged; beside it the same for places in the order of the mean mask.
    looks: of the first SHOWN pictures of the first seed, 8 x 8 bytes each, the most attended place 255.
    """
    _, train_set, test = splits(seed)
    masks = data.object_masks(test[:MASKED])
    with torch.no_grad():
        tokens = method.encoder.patches(normalize(test.images[:MASKED]))
        look = method.aggregate.look(tokens)[1].mean(dim=1).unflatten(1, (SIDE, SIDE))
    usual = data.object_masks(train_set).float().mean(dim=0)
    count = round(float(usual.sum()))
    shares = (255 * look[:SHOWN] / look[:SHOWN].amax(dim=(1, 2), keepdim=True)).to(torch.uint8)
    found = {"looks": [encoded(s) for s in shares] if seed == SEEDS[0] else []}
    for name, score in (("attention", look), ("attention_usual", usual[None].expand(len(masks), -1, -1))):
        if score.shape[-1] != masks.shape[-1]:
            score = F.interpolate(score[:, None], masks.shape[1:], mode="bilinear")[:, 0]
        top = torch.zeros_like(score.flatten(1), dtype=torch.bool)
        top.scatter_(1, score.flatten(1).topk(count, dim=1).indices, True)
        found[name] = float(evaluation.intersection_over_union(top.view_as(masks).long(), masks.long(), 2)[1])
    return found


def run(arm: str, seed: int, steps: int, lr: float | None = None) -> dict:
    if arm in FLOORS:
        return floor(arm, seed)
    unlabeled, train_set, test = splits(seed)
    lr = lr or tuned(arm)
    method, history = train(arm, seed, lr, steps, unlabeled)
    found = {
        "steps": steps, "lr": lr, "losses": tenths([r["loss"] for r in history]),
        "seconds": history[-1]["seconds"],
    }  # fmt: skip
    found |= measured(partial(maps_of, method.encoder), train_set, test, seed)
    return found | (attended(method, seed) if hasattr(method, "aggregate") else {})


def rows(parts, seeds, arms, steps, tuning_steps):
    """(place in the record, what to run), in order."""
    if "tuning" in parts:
        for arm in ARMS:
            if arm not in TUNED_AS and arm in arms:
                for lr in RATES:
                    yield ("tuning", f"{arm}, lr {lr:g}", TUNING_SEED), partial(tune, arm, lr, tuning_steps)
    if "arms" in parts:
        for seed in seeds:
            for arm in (*FLOORS, *ARMS):
                if arm in arms:
                    yield ("arms", arm, seed), partial(run, arm, seed, steps)


def dry(arms) -> None:
    """Each arm for two steps, on few pictures; nothing is written."""
    global MASKED
    MASKED = 60
    sets = [data.shapes(s, 32, n, 0) for s, n in zip(data.SPLITS, (256, 300, 120), strict=True)]
    globals()["splits"] = lambda seed: sets
    for arm in arms:
        found = run(arm, 0, 2, 1e-3)
        print(arm, {k: round(v, 3) for k, v in found.items() if isinstance(v, float)}, flush=True)


def main(parts, seeds, arms, seconds: float, steps: int, tuning_steps: int, dry_run: bool) -> None:
    if dry_run:
        return dry(arms)
    start = time.perf_counter()
    for (part, arm, seed), measure in rows(parts, seeds, arms, steps, tuning_steps):
        place = {"world": WORLD, "part": part, "arm": arm, "seed": seed}
        if any(all(row.get(k) == place[k] for k in KEY) for row in recorded("dense")):
            continue
        if time.perf_counter() - start > seconds:
            return print("time is up; the next call goes on here:", place)
        row = place | measure()
        merge("dense", [row], KEY)
        print(
            {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items() if k not in ("cosines", "looks")},
            flush=True,
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--seeds", nargs="+", type=int, default=SEEDS, help="of part arms")
    parser.add_argument("--arms", nargs="+", default=(*FLOORS, *ARMS), choices=(*FLOORS, *ARMS))
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="start no new row after this time"
    )
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--tuning-steps", type=int, default=TUNING_STEPS)
    parser.add_argument(
        "--dry", dest="dry_run", action="store_true", help="two steps of every arm; writes nothing"
    )
    main(**vars(parser.parse_args()))
