"""How fast is a step, what is it made of, and what does that buy?  Against lightly, on the machine at hand.

Over 400 lines: all parts of one record, each of which can be read by itself.

    uv run --group bench python benchmarks/throughput.py
    uv run --group bench python benchmarks/throughput.py --parts rate probe --setups small --minutes 1

Parts, each written to data/results/throughput.json as soon as it is done:

memory   peak memory of a run on 100,000 images of 96 px, kept as uint8 (resident set; on a GPU its allocator's peak)
rate     images per second end to end: `pretrain` against lightly (SimCLRTransform, NTXentLoss, DataLoader), which take
         turns, so that other work on the machine slows both; with the number of workers that suits lightly best
probe    the same two after the steps that fit into --minutes at the rates just measured (so a busy moment does not
         decide), 100-label probe: needs part rate
step     seconds per step in augmentation, forward, loss, backward, optimiser, in float32 and half precision, both
         memory layouts and, with --compile, torch.compile
model    seconds per step of ten networks from two rates (see ssl_lessons.training.throughput), each predicted from
         the others
storage  images per second read in random order, on one thread: JPEG and PNG files decoded by Pillow against one mapped
         array of bytes (all in the operating system's cache: what is timed is the decoder, not the disk)
loader   seconds per training step, four ways to get its pictures, in turns: JPEG files and torchvision's transforms one
         picture at a time in a DataLoader (with the number of workers that suits it best, and all others); one mapped
         array of bytes and `make_views`; and views that are ready, so that nothing waits
resolution  views that grow during the run against views of 32 px throughout, as many steps and as many seconds
reader   a folder of --reader-images drawn JPEG files of 96 px, each measurement in a process of its own: the first
         start, which decodes them into the cache, and the second one; peak memory of training from the cache file; and
         images per second of training from that file against images in memory, in turns
huge     JPEG files of 50 megapixels decoded whole and at a fraction of their size, in turns (processor seconds), and by
         how many grey levels the small pictures differ

Both sides train the same network from the same weights with the same optimiser, schedule, batch and policy.  lightly's
loop is that of its example: two forward passes, one per view.  Half precision is used by both or by neither.
"""

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from _huge import huge
from _record import machine, merge
from _world import WORLD, measure, splits
from augment import torchvision_steps
from PIL import Image
from torchvision.transforms import v2

from ssl_lessons import data
from ssl_lessons.data import cache, stored
from ssl_lessons.losses import nt_xent
from ssl_lessons.methods import SimCLR
from ssl_lessons.models import encoders
from ssl_lessons.models.devices import pick_device
from ssl_lessons.training import pretrain, throughput
from ssl_lessons.training.optimizers import build_optimizer, warmup_cosine
from ssl_lessons.training.recipes import get_recipe
from ssl_lessons.views import Policy, make_views

PARTS = ("memory", "rate", "probe", "step", "model", "storage", "loader", "resolution", "reader", "huge")
KEY = ("world", "part", "setup", "contestant", "minutes", "on")  # minutes: of part probe only
STL10 = 100_000, 96  # images, pixels
CASES = (  # encoder, its options, pixels, images per step on a CPU
    ("convnet", {"width": 16, "dim": 256}, 32, 256),
    ("convnet", {"width": 32, "dim": 256}, 32, 256),
    ("convnet", {"width": 64, "dim": 512}, 32, 128),
    ("convnet", {"width": 16, "dim": 256}, 64, 128),
    ("convnet", {"width": 32, "dim": 256}, 96, 64),
    ("resnet18", {}, 32, 64),
    ("resnet18", {}, 64, 32),
    ("resnet18", {}, 96, 16),
    ("resnet18_3x3", {}, 32, 32),
    ("resnet18_3x3", {}, 64, 16),
)


def setups(device) -> dict:
    """name -> recipe: a small conv net at 32 px, ResNet-18 at 96 px."""
    quick = get_recipe("quick")
    large = quick.with_(
        encoder="resnet18", encoder_options={}, policy=Policy.simclr(96), lr=1e-3,
        batch_size=256 if device.type == "cuda" else 32,
    )  # fmt: skip
    return {"small": quick, "resnet18": large}


def half(device):
    """The half precision that `pretrain` picks here; none on a CPU."""
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16


# ---- lightly ---------------------------------------------------------------------------------------


class Pictures(torch.utils.data.Dataset):
    """uint8 images in memory that become PIL images, then views, as in torchvision's STL10 and CIFAR10."""

    def __init__(self, images, transform):
        self.array, self.transform = images.permute(0, 2, 3, 1).contiguous().numpy(), transform

    def __len__(self):
        return len(self.array)

    def __getitem__(self, i):
        return self.transform(Image.fromarray(self.array[i])), 0


def lightly_batches(images, recipe, workers):
    """Endless batches of two views [N, 3, S, S] from lightly's transform and a DataLoader."""
    from lightly.transforms import SimCLRTransform

    p = recipe.policy
    transform = SimCLRTransform(
        input_size=p.size, cj_prob=p.jitter_p, cj_bright=p.brightness, cj_contrast=p.contrast, cj_sat=p.saturation,
        cj_hue=p.hue, min_scale=p.crop_scale[0], random_gray_scale=p.grayscale_p, gaussian_blur=p.blur_p,
        sigmas=p.blur_sigma, hf_prob=p.flip_p, normalize={"mean": list(p.mean), "std": list(p.std)},
    )  # fmt: skip
    loader = torch.utils.data.DataLoader(
        Pictures(images, transform), batch_size=recipe.batch_size,
        shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )  # fmt: skip
    while True:
        for views, *_ in loader:
            yield views


def lightly_trainer(method, recipe, device, dtype, steps):
    """A function that does one step on a pair of views, as in lightly's SimCLR example."""
    from lightly.loss import NTXentLoss

    method.to(device).train()
    criterion = NTXentLoss(temperature=method.temperature)
    opt = build_optimizer(method, recipe.optimizer, recipe.lr, recipe.weight_decay)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    count = itertools.count()

    def step(views):
        for group in opt.param_groups:
            group["lr"] = recipe.lr * warmup_cosine(next(count), steps, round(recipe.warmup * steps))
        with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
            z = [method.projector(method.encoder(v.to(device, non_blocking=True))) for v in views]
            loss = criterion(*z)
        opt.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        scaler.step(opt)
        scaler.update()
        return loss.item()

    return step


# ---- the parts -------------------------------------------------------------------------------------


def rate(name, recipe, device, options) -> list[dict]:
    """Images per second of both, in turns; one row per contestant."""
    images = data.shapes("unlabeled", recipe.policy.size, options.images, 0).images
    k, n = options.turn, recipe.batch_size
    dtype, contestants = half(device), {}

    def ours():
        rows = pretrain(
            recipe.build(0), images, (recipe.policy,) * 2, steps=k + 3, device=device, progress=False,
            **recipe.training(),
        )  # fmt: skip
        return rows[-1]["seconds"] - rows[2]["seconds"]  # the first three set things up

    def theirs(workers):
        batches = lightly_batches(images, recipe, workers)
        step = lightly_trainer(recipe.build(0), recipe, device, dtype, 10_000)

        def run():
            for _ in range(max(3, 2 * workers)):  # what the workers prepared while the others ran
                step(next(batches))
            start = time.perf_counter()
            for _ in range(k):
                step(next(batches))
            return time.perf_counter() - start

        return run

    contestants["ssl_lessons"] = ours
    for workers in sorted({0, min(os.cpu_count(), 8)}):
        contestants[f"lightly, {workers} workers"] = theirs(workers)
    seconds = {contestant: [] for contestant in contestants}
    for _ in range(options.repeats):
        for contestant, run in contestants.items():
            seconds[contestant].append(run())
    rows = []
    for contestant, values in seconds.items():
        rates = sorted(n * k / s for s in values)
        rows.append(
            {
                "part": "rate", "setup": name, "contestant": contestant, "batch_size": n,
                "images_per_second": round(statistics.median(rates), 1), "lowest": round(rates[0], 1),
                "highest": round(rates[-1], 1), "turns": len(rates), "steps_per_turn": k,
            }
        )  # fmt: skip
    return rows


def probe(name, recipe, device, options, rates) -> list[dict]:
    """Both after the steps that fit into the minutes, from the same weights, and the untrained network."""
    size = recipe.policy.size
    counts = (options.images, 2000, 2000) if size < 64 else (options.images, 1000, 1000)
    sets = [data.shapes(split, size, n, 0, world=1) for split, n in zip(data.SPLITS, counts, strict=True)]
    speed = {row["contestant"]: row["images_per_second"] for row in rates}
    best = max((c for c in speed if c != "ssl_lessons"), key=speed.get)
    found = measure(recipe.build(0).to(device), *sets[1:])
    rows = [{"contestant": "untrained", "steps": 0, "probe": found["probe"], "knn": found["knn"]}]
    workers = int(best.split()[1])
    for contestant in ("ssl_lessons", "lightly"):
        per_second = speed[best if contestant == "lightly" else contestant]
        steps = max(1, int(60 * options.minutes * per_second / recipe.batch_size))
        method, start = recipe.build(0), time.perf_counter()
        if contestant == "ssl_lessons":
            pretrain(
                method, sets[0].images, (recipe.policy,) * 2, steps=steps, device=device, progress=False,
                **recipe.training(),
            )  # fmt: skip
        else:
            torch.manual_seed(0)
            batches = lightly_batches(sets[0].images, recipe, workers)
            step = lightly_trainer(method, recipe, device, half(device), steps)
            for _ in range(steps):
                step(next(batches))
        seconds = time.perf_counter() - start
        found = measure(method, *sets[1:])
        rows.append({"contestant": contestant, "steps": steps, "seconds": round(seconds, 1)})
        rows[-1] |= {"probe": found["probe"], "knn": found["knn"]}
        print(rows[-1], flush=True)
    common = {"part": "probe", "setup": name, "minutes": options.minutes, "labels": 100, "workers": workers}
    return [common | row for row in rows]


def step(name, recipe, device, options) -> list[dict]:
    """Seconds of each part of a step, in several precisions and layouts, in turns."""
    images = data.shapes("unlabeled", recipe.policy.size, options.images, 0).images.to(device)
    method = recipe.build(0)
    lower = [torch.bfloat16] if device.type == "cpu" else [torch.float16, half(device)]
    arms = {
        f"{str(dtype).removeprefix('torch.') if dtype else 'float32'}, {'channels_last' if last else 'contiguous'}": {
            "dtype": dtype,
            "channels_last": last,
        }
        for dtype in dict.fromkeys([None, *lower])
        for last in (True, False)
    }
    if options.compile:
        arms |= {
            f"{arm}, compiled": kw | {"compiled": True} for arm, kw in arms.items() if kw["channels_last"]
        }
    turns = {arm: [] for arm in arms}
    for _ in range(options.repeats):
        for arm, kw in arms.items():
            torch.cuda.reset_peak_memory_stats() if device.type == "cuda" else None
            parts = throughput.time_parts(
                method, images, recipe.policy, recipe.batch_size, steps=options.turn, device=device, **kw
            )
            if device.type == "cuda":
                parts["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
            turns[arm].append(parts)
    rows = []
    for arm, measured in turns.items():
        parts = {p: statistics.median(m[p] for m in measured) for p in measured[0]}
        total = sum(parts[p] for p in throughput.PARTS)
        rows.append(
            {"part": "step", "setup": name, "contestant": arm, "batch_size": recipe.batch_size}
            | {"images_per_second": round(recipe.batch_size / total, 1)}
            | {p: round(value, 6) for p, value in parts.items()}
        )
    return rows


def model(device, options) -> list[dict]:
    """Each case predicted from two rates fitted to the other cases."""
    works, seconds, augmenting, dtype = [], [], [], half(device)
    for encoder, choices, size, batch in CASES:
        batch = 256 if device.type == "cuda" else batch
        method = SimCLR(encoders.build_encoder(encoder, **choices))
        images = torch.randint(0, 256, (512, 3, size, size), dtype=torch.uint8, device=device)
        policy = Policy.simclr(size).replace(blur_p=0)
        parts = throughput.time_parts(
            method, images, policy, batch, steps=options.turn, device=device, dtype=dtype
        )
        works.append(throughput.count(method, size, batch))
        augmenting.append(parts.pop("augmentation"))
        seconds.append(sum(parts.values()))
    together = throughput.fit(works, seconds)
    rows = []
    for i, (encoder, choices, size, batch) in enumerate(CASES):
        others = [j for j in range(len(CASES)) if j != i]
        fitted = throughput.fit([works[j] for j in others], [seconds[j] for j in others])
        one_rate = throughput.Machine(statistics.median(works[j].flops / seconds[j] for j in others))
        rows.append(
            {
                "part": "model", "setup": f"{encoder} {size} px" + (f" width {choices['width']}" if choices else ""),
                "contestant": "network", "batch_size": 256 if device.type == "cuda" else batch,
                "flops": works[i].flops, "activations": works[i].activations,
                "seconds": seconds[i], "augmentation": augmenting[i],
                "predicted": throughput.seconds_per_step(works[i], fitted),
                "predicted_from_one_rate": throughput.seconds_per_step(works[i], one_rate),
                "flops_per_second": together.flops, "activations_per_second": together.activations,
            }
        )  # fmt: skip
    return rows


def readers(folder, images) -> dict:
    """Writes images [N, H, W, 3] as JPEG, PNG and one array; kind -> a function from indices to these images."""
    for i, image in enumerate(images):
        Image.fromarray(image).save(f"{folder}/{i}.jpg", quality=90)
        Image.fromarray(image).save(f"{folder}/{i}.png")
    images.tofile(f"{folder}/all.bin")
    mapped = np.memmap(f"{folder}/all.bin", dtype=np.uint8, mode="r", shape=images.shape)

    def decoded(suffix):
        return lambda chosen: np.stack([np.asarray(Image.open(f"{folder}/{i}.{suffix}")) for i in chosen])

    return {
        "JPEG files": decoded("jpg"),
        "PNG files": decoded("png"),
        "one mapped array": mapped.__getitem__,
    }


def storage(name, recipe, options) -> list[dict]:
    """Images per second out of JPEG files, PNG files and one mapped array, in turns."""
    size = recipe.policy.size
    images = data.shapes("unlabeled", size, 512, 0).images.permute(0, 2, 3, 1).contiguous().numpy()
    with tempfile.TemporaryDirectory() as folder:
        contestants = readers(folder, images)
        rates = {contestant: [] for contestant in contestants}
        for turn in range(options.repeats):
            order = torch.randperm(len(images), generator=torch.Generator().manual_seed(turn)).numpy()
            for contestant, read in contestants.items():
                start = time.perf_counter()
                for chosen in np.split(order, 4):
                    torch.from_numpy(np.array(read(chosen)))
                rates[contestant].append(len(images) / (time.perf_counter() - start))
    return [
        {
            "part": "storage", "setup": name, "contestant": contestant, "pixels": size,
            "images_per_second": round(statistics.median(values), 1), "lowest": round(min(values), 1),
            "highest": round(max(values), 1), "turns": len(values),
        }
        for contestant, values in rates.items()
    ]  # fmt: skip


class Files(torch.utils.data.Dataset):
    """JPEG files of a folder, two views of each by torchvision's transforms: what most training programs do."""

    def __init__(self, folder: str, count: int, policy: Policy):
        self.folder, self.count = folder, count
        last = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(policy.mean, policy.std)]
        self.transform = v2.Compose(torchvision_steps(policy, 2 * max(1, policy.size // 20) + 1) + last)

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        picture = Image.open(f"{self.folder}/{i}.jpg").convert("RGB")
        return self.transform(picture), self.transform(picture)


def pair_makers(folder, images, recipe, device, workers) -> dict:
    """name -> an endless iterator over pairs of views [N, 3, S, S], from files of `images` [N, H, W, 3] in `folder`."""
    generator, policies, n = torch.Generator().manual_seed(0), (recipe.policy,) * 2, recipe.batch_size
    readers(folder, images)
    mapped = np.memmap(f"{folder}/all.bin", dtype=np.uint8, mode="r", shape=images.shape)

    def from_files(workers):
        loader = torch.utils.data.DataLoader(
            Files(folder, len(images), recipe.policy), batch_size=n, shuffle=True, drop_last=True,
            num_workers=workers, persistent_workers=workers > 0,
        )  # fmt: skip
        while True:
            for pair in loader:
                yield [x.to(device) for x in pair]

    def from_array():
        while True:
            chosen = torch.randint(len(images), (n,), generator=generator).numpy()
            batch = torch.from_numpy(mapped[chosen]).permute(0, 3, 1, 2).to(device)
            yield make_views(batch, policies, generator)

    ready = next(from_array())
    return {f"JPEG files, torchvision, {w} workers": from_files(w) for w in workers} | {
        "mapped array, batched": from_array(), "views ready": itertools.repeat(ready)
    }  # fmt: skip


def loader(name, recipe, device, options) -> list[dict]:
    """Seconds per step of each way to get pictures, one number per turn."""
    size = recipe.policy.size
    images = data.shapes("unlabeled", size, 1024, 0).images.permute(0, 2, 3, 1).contiguous().numpy()
    method = recipe.build(0).to(device, memory_format=torch.channels_last).train()
    optimizer = build_optimizer(method, recipe.optimizer, 1e-5, recipe.weight_decay)

    def train(pairs, steps):
        start = time.perf_counter()
        for pair in itertools.islice(pairs, steps):
            nt_xent(*method.pair(pair), method.temperature).backward()
            optimizer.step()
            optimizer.zero_grad()
        return (time.perf_counter() - start) / steps

    with tempfile.TemporaryDirectory() as folder:
        contestants = pair_makers(folder, images, recipe, device, sorted({0, min(os.cpu_count(), 8)}))
        seconds = {contestant: [] for contestant in contestants}
        for turn in range(options.repeats + 1):
            for contestant, pairs in contestants.items():
                if turn == 0 or contestant.endswith("workers"):
                    train(pairs, 5)  # sets things up; uses up what workers prepared while others ran
                if turn:
                    seconds[contestant].append(round(train(pairs, options.turn), 5))
    return [
        {"world": WORLD, "part": "loader", "setup": name, "contestant": contestant, "pixels": size,
         "batch_size": recipe.batch_size, "seconds": values, "steps_per_turn": options.turn}
        for contestant, values in seconds.items()
    ]  # fmt: skip


RAMPS = {
    "32 px": (32,),
    "24 to 32 px": (24, 28, 32),
    "16 to 32 px": (16, 20, 24, 28, 32),
}  # sizes, equal steps each
RAMP_STEPS = 400
SHORTER = "32 px, in the seconds of {}"


def grow(recipe, images, sizes, steps: int, seed: int, device) -> SimCLR:
    """SimCLR whose views have these sizes one after the other; one schedule of the learning rate over all steps."""
    method = recipe.build(seed).to(device).train()
    optimizer = build_optimizer(method, recipe.optimizer, recipe.lr, recipe.weight_decay)
    images = images.to(device)
    generator = torch.Generator(device).manual_seed(seed)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * warmup_cosine(step, steps, round(recipe.warmup * steps))
        chosen = torch.randint(len(images), (recipe.batch_size,), generator=generator, device=device)
        policy = recipe.policy.replace(size=sizes[step * len(sizes) // steps])
        loss = nt_xent(*method.pair(make_views(images[chosen], (policy,) * 2, generator)), method.temperature)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return method


def resolution(recipe, device, options) -> list[dict]:
    """Steps of every size timed in turns; then each arm trained on three seeds and probed at 32 px."""
    images = data.shapes("unlabeled", 32, options.images, 0).images
    method, timed = recipe.build(0), {size: [] for size in RAMPS["16 to 32 px"]}
    for _ in range(options.repeats):
        for size, found in timed.items():
            policy = recipe.policy.replace(size=size)
            parts = throughput.time_parts(
                method, images, policy, recipe.batch_size, steps=options.turn, device=device
            )
            found.append(sum(parts.values()))
    per_step = {size: statistics.median(found) for size, found in timed.items()}
    seconds = {arm: RAMP_STEPS * statistics.mean(per_step[s] for s in sizes) for arm, sizes in RAMPS.items()}
    arms = {arm: (sizes, RAMP_STEPS) for arm, sizes in RAMPS.items()}
    for arm in list(arms)[1:]:
        arms[SHORTER.format(arm)] = (32,), round(RAMP_STEPS * seconds[arm] / seconds["32 px"])
    rows = []
    for arm, (sizes, steps) in arms.items():
        found = []
        for seed in range(3):
            sets = splits(seed)
            found.append(measure(grow(recipe, sets[0].images, sizes, steps, seed, device), *sets[1:]))
        rows.append(
            {"world": WORLD, "part": "resolution", "setup": "small", "contestant": arm}
            | {"batch_size": recipe.batch_size, "steps": steps}
            | {"seconds": steps * statistics.mean(per_step[s] for s in sizes)}
            | {measured: [row[measured] for row in found] for measured in ("probe", "knn")}
        )  # fmt: skip
        print(rows[-1], flush=True)
    return rows


def resident() -> float:
    """Peak resident set of this process in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count a larger process that started this one
        return next(1024 * int(line.split()[1]) for line in status.open() if line.startswith("VmHWM"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)


def memory(device, options) -> list[dict]:
    """Two steps of the recommended recipe on 100,000 real uint8 images of 96 px."""
    n, size = STL10
    recipe = get_recipe("recommended").with_(batch_size=256 if device.type == "cuda" else 64)
    before = resident()
    images = torch.randint(0, 256, (n // 100, 3, size, size), dtype=torch.uint8).repeat(100, 1, 1, 1)
    with_images = resident()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    pretrain(
        recipe.build(0),
        images,
        (recipe.policy,) * 2,
        steps=2,
        device=device,
        progress=False,
        **recipe.training(),
    )
    row = {
        "part": "memory", "setup": "recommended", "contestant": "ssl_lessons", "batch_size": recipe.batch_size,
        "images": n, "pixels": size, "uint8_gb": images.numel() / 1e9, "float32_gb": 4 * images.numel() / 1e9,
        "before_gb": before / 1e9, "with_images_gb": with_images / 1e9, "peak_gb": resident() / 1e9,
    }  # fmt: skip
    if device.type == "cuda":
        row["device_peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
    peak = row.get("device_peak_gb", row["peak_gb"] - row["before_gb"])
    if peak >= row["float32_gb"]:
        print(f"WARNING: {peak:.1f} GB: this much could hold all images as float32")
    return [row]


READER_PIXELS, DIFFERENT = 96, 2000  # side of the pictures of part reader, and how many of them are drawn


def draw_folder(folder: Path, count: int) -> None:
    """`count` different JPEG files: pictures of the embedded world, shifted and of various quality."""
    drawn = (
        data.shapes("unlabeled", READER_PIXELS, min(DIFFERENT, count), 0).images.permute(0, 2, 3, 1).numpy()
    )

    def save(i: int) -> None:
        lap, which = divmod(i, len(drawn))
        shifted = np.roll(drawn[which], (7 * lap, 13 * lap), axis=(0, 1))
        Image.fromarray(shifted).save(folder / f"{i:06}.jpg", quality=70 + (lap + which) % 26)

    folder.mkdir()
    with ThreadPoolExecutor() as pool:
        list(pool.map(save, range(count)))


START = f"""
import json, sys, time
from ssl_lessons.data import folders, load
imported = time.time()
images = load(sys.argv[1], "unlabeled", size={READER_PIXELS}).images
now, began = time.time(), float(sys.argv[2])
print(json.dumps(dict(seconds=now - began, without_imports=now - imported, loaded=len(images))))
"""


def _train(recipe, images, steps: int, device) -> float:
    """Images per second, without the first three steps, which set things up."""
    rows = pretrain(
        recipe.build(0), images, (recipe.policy,) * 2, steps=steps + 3, device=device, progress=False,
        **recipe.training(),
    )  # fmt: skip
    return recipe.batch_size * steps / (rows[-1]["seconds"] - rows[2]["seconds"])


def _on_disk(folder: str):
    """The pictures of a folder, on disk also where they are few or would fit into memory."""
    cache.SMALL = stored.IN_MEMORY = 0
    return data.load(folder, "unlabeled", size=READER_PIXELS).images


def reader_memory(folder: str, steps: int, batch_size: int, threads: int) -> dict:
    """Peak resident memory of this process before and after training from the cache file."""
    torch.set_num_threads(threads)
    images = _on_disk(folder)
    before = resident()
    recipe = get_recipe("quick").with_(batch_size=batch_size)
    _train(recipe, images, steps, pick_device())
    read = 3 * READER_PIXELS**2 * batch_size * (steps + 3)
    return {"uint8_gb": images.numel() / 1e9, "read_gb": read / 1e9, "before_gb": before / 1e9} | {
        "peak_gb": resident() / 1e9
    }


def reader_rates(folder: str, steps: int, batch_size: int, threads: int, repeats: int, held: int) -> dict:
    """Images per second of each turn, from the cache file and from `held` of the images in memory."""
    torch.set_num_threads(threads)
    recipe, images = get_recipe("quick").with_(batch_size=batch_size), _on_disk(folder)
    arms = {"training, stored": images, "training, in memory": images[:held]}
    rates = {arm: [] for arm in arms}
    for turn in range(repeats):
        for arm in list(arms)[:: -1 if turn % 2 else 1]:
            rates[arm].append(_train(recipe, arms[arm], steps, pick_device()))
    return rates


def _fresh(code: str, *arguments, kept: Path) -> dict:
    """What a process of its own prints last, as JSON; it keeps decoded pictures in `kept`."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True,
        check=True, env=os.environ | {"SSL_LESSONS_CACHE": str(kept)},
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def _call(function, *arguments) -> str:
    """Code that prints what a function of this file returns."""
    here = os.path.dirname(os.path.abspath(__file__))
    call = f"{function.__name__}({', '.join(map(repr, arguments))})"
    return (
        f"import json, sys; sys.path.insert(0, {here!r}); import throughput as t; print(json.dumps(t.{call}))"
    )


def reader(recipe, options) -> list[dict]:
    """Two starts, the memory and the speed of training from many files, one row each."""
    count, batch = options.reader_images, recipe.batch_size
    with tempfile.TemporaryDirectory() as place:
        folder, kept = Path(place, "pictures"), Path(place, "cache")
        draw_folder(folder, count)
        files = sum(entry.stat().st_size for entry in os.scandir(folder))
        starts = []
        for contestant in ("first start", "second start"):
            found = _fresh(START, folder, time.time(), kept=kept)
            starts.append({"contestant": contestant, "images_per_second": count / found["seconds"]} | found)
        memory = {"contestant": "peak memory", "steps": options.reader_steps, "batch_size": batch}
        memory |= _fresh(
            _call(reader_memory, str(folder), options.reader_steps, batch, options.threads), kept=kept
        )
        timed = str(folder), options.turn, batch, options.threads, options.repeats, options.reader_held
        rates = _fresh(_call(reader_rates, *timed), kept=kept)
    medians = {arm: statistics.median(turns) for arm, turns in rates.items()}
    speeds = [
        {
            "contestant": arm, "batch_size": batch, "images_per_second": medians[arm], "lowest": min(turns),
            "highest": max(turns), "turns": len(turns), "steps_per_turn": options.turn,
            "of_in_memory": medians[arm] / medians["training, in memory"],
        }
        for arm, turns in rates.items()
    ]  # fmt: skip
    common = {"part": "reader", "setup": "small", "images": count, "pixels": READER_PIXELS}
    common["jpeg_gb"] = files / 1e9
    return [common | row for row in (*starts, memory, *speeds)]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--setups", nargs="+", choices=("small", "resnet18"), default=["small", "resnet18"])
    parser.add_argument("--minutes", type=float, default=1.0, help="budget of part probe, per contestant")
    parser.add_argument("--images", type=int, default=8192, help="unlabeled images of the embedded world")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each contestant")
    parser.add_argument("--turn", type=int, default=10, help="timed steps per turn")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads torch may use on a CPU")
    parser.add_argument("--reader-images", type=int, default=200_000, help="files of part reader")
    parser.add_argument(
        "--reader-steps", type=int, default=100, help="steps of part reader for its peak memory"
    )
    parser.add_argument(
        "--reader-held", type=int, default=20_000, help="images of part reader held in memory"
    )
    parser.add_argument("--compile", action="store_true", help="also time torch.compile")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = pick_device()
    on = torch.cuda.get_device_name(device) if device.type == "cuda" else machine()
    chosen = {name: recipe for name, recipe in setups(device).items() if name in options.setups}

    def save(rows):
        packages = ("torch", "torchvision") + (("lightly",) if find_spec("lightly") else ())
        rows = [row | {"on": on, "threads": torch.get_num_threads()} for row in rows]
        for row in rows:
            print({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
        merge("throughput", rows, KEY, packages)

    if "memory" in options.parts:  # first, while the peak is still its own
        save(memory(device, options))
    for name, recipe in chosen.items():
        if "step" in options.parts:
            save(step(name, recipe, device, options))
        if {"rate", "probe"} & set(options.parts):
            rates = rate(name, recipe, device, options)
            save(rates)
        if "probe" in options.parts:
            save(probe(name, recipe, device, options, rates))
        if "storage" in options.parts:
            save(storage(name, recipe, options))
        if "loader" in options.parts:
            save(loader(name, recipe, device, options))
    if "resolution" in options.parts and "small" in chosen:
        save(resolution(chosen["small"], device, options))
    if "model" in options.parts:
        save(model(device, options))
    if "reader" in options.parts and "small" in chosen:
        save(reader(chosen["small"], options))
    if "huge" in options.parts:
        save(huge(options.repeats))


if __name__ == "__main__":
    main()
