"""The claims that matter, on photographs: Tiny ImageNet, 50,000 of its pictures, 20 of its classes with labels.

    uv run python benchmarks/photographs.py --list                                   # jobs, minutes, what is done
    uv run python benchmarks/photographs.py --folder tiny-imagenet-200               # everything that is not done
    uv run python benchmarks/photographs.py --folder DIR --only tune labels --seeds 0
    uv run python benchmarks/photographs.py --folder DIR --only tune --arms "simclr, 0" fine  # how arms begin
    uv run python benchmarks/photographs.py --folder DIR --only resnet18 --steps 8000 --seeds 0

A job is a row of the record: what is trained, for how many steps, and how it is read and scored.  A job in the record
is not run again, unless its recipe has changed; one that was killed goes on from its last checkpoint in --work, where
jobs with the same training share it.  Several processes may run side by side.  --record NAME keeps another record.

tune         learning rates, crop, jitter, fine-tuning: short runs, scored on held-out pictures, never on the test.  The
             other groups take learning rates and fine-tuning from these rows; crop and jitter stand in BASE, in
             _photograph_jobs.py, to be changed there where another row is better.
labels       2 to 100 labels per class: frozen and fine-tuned SimCLR, from scratch, untrained, pixels.
projector    no head, a linear one, an MLP; h against z.
families     a leader of each loss family, and MAE with a small transformer beside SimCLR with the same.
jitter, temperature, batch (equal pictures), momentum (of MoCo): one choice changed at a time.
pretext      five pretext tasks on as many pictures as SimCLR, read as they were trained and on whole pictures.
resnet18     64 px, in bfloat16 where the processor has AMX; its learning rate is the recommended recipe's, not tuned.

Rows of frozen encoders: probes with 10 and 25 labels per class (five draws, the same ones in all rows), kNN with all
train labels, and measures that use no labels, on the views of BASE: RankMe (rank), alpha-ReQ (alpha) and feature std of
the features h that are read and of the embeddings z; LiDAR, alignment and uniformity of z.  Fine-tuned rows: accuracies
on the same draws (on the first two of them for the ResNet-18 and in group "tune").
"""

import argparse
import fcntl
import inspect
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import _photograph_jobs as jobs
import _photographs
import _record
import torch
from _photograph_jobs import GROUPS, KEY, STEPS, Job, find
from _record import recorded
from torch import nn
from torch.nn.functional import interpolate

from ssl_lessons import diagnostics, evaluation
from ssl_lessons.errors import InputError, NotFiniteError
from ssl_lessons.methods.jigsaw import Jigsaw
from ssl_lessons.models import pick_device
from ssl_lessons.models.settle import settle
from ssl_lessons.training import Diverged, pretrain
from ssl_lessons.training.checkpoints import exists
from ssl_lessons.training.loop import usual_precision
from ssl_lessons.views import make_views, pretext

WORK = Path(__file__).parent.parent / "runs" / "photographs"
SAMPLE, LIDAR = 2048, (500, 10)  # pictures for the measures without labels; pictures and views for LiDAR
SAVE_EVERY = 2.0  # minutes between two checkpoints

# ---- features ----------------------------------------------------------------------------------------------


def tiles(method, x):
    """Features [N, 9, dim] of nine tiles of views [N, 3, S, S]: cut as in training, from the middle of their cells."""
    side = round(method.zoom * x.shape[-1])
    size = max(1, round((1 - method.gap) * (side // 3)))
    cut = pretext.tiles(interpolate(x, (side, side), mode="bilinear"), 3, size)
    cut = pretext.normalize_tiles(cut) if isinstance(method, Jigsaw) else cut
    return method.encoder(cut.flatten(0, 1)).view(len(x), 9, -1)


READINGS = {
    "whole": lambda method, x: method.encoder(x),
    "z": lambda method, x: method.embed(x),
    # all tokens of a transformer, and all tiles as the classifier of the task sees them: side by side
    "tokens": lambda method, x: method.encoder.patches(x).flatten(1),
    "tiles": lambda method, x: tiles(method, x).flatten(1),
    "mean tile": lambda method, x: tiles(method, x).mean(dim=1),
    "hole": lambda method, x: method.encoder(method.cut(x)[0]),  # without the middle, as in training
}


class Reading(nn.Module):
    """A method read in one of these ways: views [N, 3, S, S] -> features [N, dim]."""

    def __init__(self, method: nn.Module, how: str):
        super().__init__()
        self.method, self.how = method, how

    def forward(self, x):
        return READINGS[self.how](self.method, x)


def features(method, how: str, images):
    if how == "pixels":
        return evaluation.pixels(images)
    return evaluation.extract_features(Reading(method, how), images)


# ---- one job -----------------------------------------------------------------------------------------------


def build(job: Job, images):
    method = job.recipe.build(job.seed, n_images=len(images))
    if not job.head:
        method.projector = nn.Identity()
    return method


def precision(job: Job) -> str:
    """bfloat16 for a ResNet on a processor with AMX; else what `pretrain` takes by itself."""
    device, info = pick_device(), Path("/proc/cpuinfo")
    amx = device.type == "cpu" and info.exists() and "amx_bf16" in info.read_text()
    return "bfloat16" if amx and job.recipe.encoder == "resnet18" else usual_precision(device)


@contextmanager
def alone(folder: Path):
    """Waits while another process trains in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def trained(job: Job, images, work: Path):
    """The method after its training, and the history; a training that was begun, or is done, goes on from there."""
    method = build(job, images)
    if not job.steps:
        if job.read != "pixels":
            settle(method, sample(images))
            settle(Reading(method, job.read), sample(images))  # on what it will be shown
        return method, []
    with alone(work / job.run):
        history = pretrain(
            method, images, method.views(job.recipe.policy), steps=job.steps, seed=job.seed, out=work / job.run,
            resume=True, checkpoint_minutes=SAVE_EVERY, precision=precision(job), progress=False,
            **job.recipe.training(),
        )  # fmt: skip
    return method, history


def sample(images):
    """SAMPLE of the pictures at even distances, so that all classes are among them."""
    return images[:: max(1, len(images) // SAMPLE)][:SAMPLE]


def execute(job: Job, sets, work: Path) -> dict:
    """The row of a job."""
    tuning = job.group == "tune"
    row = job.place | {
        "choices": job.choices, "run": job.run, "read": job.read, "recipe": jobs.differences(job.recipe),
        "pictures": job.steps * job.recipe.batch_size, "data": sets.fingerprint,
        "scored_on": "held_out" if tuning else "test",
    }  # fmt: skip
    try:
        method, history = trained(job, sets.unlabeled.images, work)
        found = scores(job, method, sets.train, sets.held_out if tuning else sets.test)
    except (Diverged, NotFiniteError):
        return row | {"diverged": True}
    if history:
        losses = [r["loss"] for r in history]
        row |= {"loss": sum(losses[-20:]) / len(losses[-20:]), "first_loss": losses[0],
                "seconds": round(history[-1]["seconds"], 1), "precision": precision(job)}  # fmt: skip
    row |= found
    if job.fine is None and job.read != "pixels":
        row |= without_labels(job, method, sets.unlabeled.images)
    return row


def scores(job: Job, method, train, target) -> dict:
    """Accuracies on `target`: of probes on frozen features and kNN, or of the fine-tuned network."""
    options = {"per_class": job.counts, "draws": job.draws, "seed": 0}
    if job.fine:
        lr, steps = job.fine
        rows = evaluation.fine_tune_efficiency(
            method.encoder, train.images, train.labels, target.images, target.labels, policy=job.recipe.policy,
            lr=lr, steps=steps, **options,
        )  # fmt: skip
        found = {"fine": {"lr": lr, "steps": steps}}
    else:
        h, h_target = (features(method, job.read, part.images) for part in (train, target))
        rows = evaluation.label_efficiency(h, train.labels, h_target, target.labels, **options)
        found = {"knn": evaluation.knn_accuracy(h, train.labels, h_target, target.labels)}
    found |= {f"accuracy_{r['labels_per_class']}": r["mean"] for r in rows}
    found["accuracies"] = {str(r["labels_per_class"]): r["accuracies"] for r in rows}
    if job.group == "tune":
        found["held_out"] = sum(r["mean"] for r in rows) / len(rows)
    return found


@torch.no_grad()
def without_labels(job: Job, method, images) -> dict:
    """Measures of the features that are read and of the embeddings, on pictures without labels."""
    images = sample(images)
    h, z = (features(method, how, images) for how in (job.read, "z"))
    found = {}
    for name, x in (("h", h), ("z", z)):
        found |= {f"rank_{name}": diagnostics.rank_me(x), f"alpha_{name}": diagnostics.alpha_req(x)}
        found[f"std_{name}"] = diagnostics.feature_std(x)
    n, views = LIDAR
    policy = jobs.BASE.policy.replace(size=job.recipe.policy.size)
    method.eval()
    drawn = make_views(images[:n], (policy,) * views, torch.Generator().manual_seed(0))
    z_views = torch.stack([method.embed(x) for x in drawn], dim=1)
    return found | {
        "lidar": diagnostics.lidar(z_views), "uniformity": diagnostics.uniformity(z),
        "alignment": diagnostics.alignment(z_views[:, 0], z_views[:, 1]),
    }  # fmt: skip


# ---- all of them -------------------------------------------------------------------------------------------


def refuse_mixture(name: str, sets) -> None:
    """Raises InputError where the record was made with other pictures of this size."""
    size = sets.train.size
    others = {row["data"] for row in recorded(name) if f" {size} px" in row["data"]} - {sets.fingerprint}
    if others:
        raise InputError(
            f"{name}.json was made with other pictures ({min(others)}) than these ({sets.fingerprint}): "
            "give another record with --record NAME"
        )


def minutes(job: Job) -> tuple[float, float]:
    """Estimated minutes of training and of everything else, on one thread in float32."""
    plain = job.recipe.encoder == "convnet" or job.recipe.method == "mae"
    cost = jobs.COST[job.recipe.method if plain else job.recipe.encoder] / 60_000  # minutes for 256 pictures
    training = job.steps * job.recipe.batch_size / 256 * cost
    if job.fine is None:
        return training, 10.0 if job.read == "pixels" else 1.0
    return training, job.fine[1] * 100 / 512 * cost * len(job.counts) * job.draws


@dataclass(frozen=True)
class Wanted:
    """The jobs that are asked for: of some groups, with some seeds (None: all), arms that begin with a word (None)."""

    groups: list[str]
    seeds: list[int] | None = None
    arms: list[str] | None = None

    def jobs(self, group: str, rows: list[dict]) -> list[Job]:
        """Those of one group; the learning rates come from `rows`."""
        return [
            job
            for job in GROUPS[group](rows)
            if (self.seeds is None or job.seed in self.seeds)
            and (self.arms is None or job.arm.startswith(tuple(self.arms)))
        ]


def show(asked: Wanted, name: str, work: Path) -> None:
    """Prints all jobs, what they take, and what is done."""
    rows, total, counted = recorded(name), 0.0, set()
    for group in asked.groups:
        try:
            listed = asked.jobs(group, rows)
        except InputError as error:
            print(f"{group}: {error}; below with a learning rate of those to be tried")
            listed = asked.jobs(group, None)
        for job in listed:
            training, rest = minutes(job)
            row = find(job, rows)
            shared = job.run in counted
            counted.add(job.run)
            needed = 0.0 if row else rest + (0.0 if shared else training)
            total += needed
            state = "done" if row else "begun" if exists(work / job.run) else ""
            print(f"{group:12} {job.arm:38} seed {job.seed}  {job.steps:5} steps {needed:6.0f} min  {state}")
    print(f"about {total / 60:.1f} hours on one thread; a training that several jobs share is counted once")


def main(asked: Wanted, folder: str, name: str, work: Path) -> None:
    photographs = lru_cache(lambda size: _photographs.read(folder, size))
    for group in asked.groups:
        for job in asked.jobs(group, recorded(name)):
            if find(job, recorded(name)) is not None:
                continue
            sets = photographs(job.recipe.policy.size)
            refuse_mixture(name, sets)
            row = execute(job, sets, work)
            _record.merge(name, [row], KEY)
            short = {k: round(v, 3) for k, v in row.items() if isinstance(v, float)}
            print(group, job.arm, f"seed {job.seed}", short, flush=True)
        if group == "tune":
            table(recorded(name))


def table(rows: list[dict]) -> None:
    """Prints what was tried and how it did on held-out pictures."""
    for row in (row for row in rows if row["group"] == "tune"):
        print(f"{row['arm']:38} {row.get('held_out', float('nan')):.3f} on held-out pictures")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=inspect.cleandoc(__doc__), formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--folder", help="tiny-imagenet-200, or a folder of its class folders")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS), metavar="GROUP")
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--arms", nargs="+", metavar="WORD", help="only arms that begin with one of these")
    parser.add_argument("--steps", type=int, help=f"of the ResNet-18 ({STEPS['resnet18']})")
    parser.add_argument("--record", default="photographs", help="data/results/NAME.json")
    parser.add_argument("--work", type=Path, default=WORK, help="for checkpoints (runs/photographs)")
    parser.add_argument("--list", action="store_true", help="print the jobs and run nothing")
    given = parser.parse_args()
    STEPS["resnet18"] = given.steps or STEPS["resnet18"]
    asked = Wanted(given.only, given.seeds, given.arms)
    try:
        if given.list:
            show(asked, given.record, given.work)
        elif given.folder is None:
            parser.error("--folder is needed: see the card of Tiny ImageNet in data/README.md")
        else:
            main(asked, given.folder, given.record, given.work)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
