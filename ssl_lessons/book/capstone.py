"""What the capstone decides by the machine it runs on: which images, where to keep the run, how long and in how many
sittings; and the records that it reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ssl_lessons import data
from ssl_lessons.data import ImageSet
from ssl_lessons.errors import InputError
from ssl_lessons.training import checkpoints, time_steps
from ssl_lessons.training.plan import steps_of, steps_that_fit
from ssl_lessons.training.recipes import Recipe

COLAB = Path("/content")
DRIVE = COLAB / "drive" / "MyDrive"
LEG_MINUTES = 60.0  # a sitting: a free machine may be taken away at any time
LOST_MINUTES = 10.0  # of it: setting up, and up to five minutes since the last checkpoint


class Images(NamedTuple):
    """The three splits of a run: unlabeled at full size for cropping, train and test at the size of a view."""

    name: str
    unlabeled: ImageSet
    train: ImageSet
    test: ImageSet


def stl10_is_here(data_dir: str | Path | None = None) -> bool:
    """Whether STL-10 lies, whole, in the data folder."""
    try:
        data.stl10("test", n=1, data_dir=data_dir)
    except InputError:
        return False
    return True


def choose_images(
    wanted: str,
    size: int,
    *,
    rehearsal: bool,
    data_dir: str | Path | None = None,
    mirror: str | None = None,
    world: int = 2,
) -> Images:
    """The images of the build.

    wanted: "auto" (for a rehearsal the embedded world in STL-10's layout, for the build STL-10 where it already lies),
    "stl10" (downloaded when absent), "cifar10", "shapes", or a folder.  size: pixels of a view, to which the labelled
    splits are resized.  rehearsal: keep the embedded world small enough for two CPU cores and a minute.  world: see
    `data.shapes`.
    Raises InputError for a name that is neither a data set nor a folder, and for a build without STL-10 that did not
    say which pictures it is for: a night on a GPU is not spent on drawings by accident.
    """
    if wanted == "auto":
        if not rehearsal and not stl10_is_here(data_dir):
            raise InputError(
                'The build needs photographs, and STL-10 is not here: set IMAGES = "stl10" to download it (2.6 GB), or '
                'name other pictures (a folder, "cifar10", or "shapes" for the drawn world).'
            )
        wanted = "shapes" if rehearsal else "stl10"
    if wanted == "shapes":
        counts = (8192, 5000, 2000) if rehearsal else (None, None, None)
        sets = [
            data.shapes(split, size, n, world=world) for split, n in zip(data.SPLITS, counts, strict=True)
        ]
    else:
        options = {"data_dir": data_dir, "mirror": mirror, "download": True}
        sets = [
            data.load(wanted, split, size=None if split == "unlabeled" else size, **options)
            for split in data.SPLITS
        ]
    return Images(sets[0].name, *sets)


def run_folder(name: str) -> Path:
    """Where checkpoints survive: Google Drive when it is mounted, else `runs/` beside the notebook."""
    base = DRIVE / "ssl_lessons" if DRIVE.is_dir() else Path("runs")
    return base / name


def how_to_resume(out: Path) -> str:
    """What to do when the machine goes away: to be read before the run starts, not after.

    out: the folder of the run.  Says so where that folder would go away with the machine (Colab without Drive).
    """
    text = (
        f"To go on after an interruption: open this notebook again, leave your decisions as they are and run all "
        f"cells. The run goes on from the newest checkpoint in {out}."
    )
    if COLAB.is_dir() and DRIVE not in Path(out).parents:
        text += (
            " BUT that folder is lost with this machine: first mount Google Drive (the folder symbol on the left), "
            "then run the cells from the plan on again."
        )
    return text


class Leg(NamedTuple):
    """One sitting of a run that takes several: its last step that is sure to be kept, and the epochs by then."""

    number: int
    step: int
    epochs: float


class Budget(NamedTuple):
    """What fits: steps and epochs of the whole run, minutes of training that are left, and how fast a step is.

    done: steps that a checkpoint already holds.
    """

    steps: int
    epochs: float
    minutes: float
    seconds_per_step: float
    done: int = 0

    def sentence(self) -> str:
        begun = f"{self.done} of them are done, the rest takes" if self.done else "in"
        return (
            f"{self.seconds_per_step * 1000:.0f} ms per step: {self.steps} steps are {self.epochs:.1f} epochs, {begun} "
            f"about {self.minutes:.1f} minutes"
        )

    def legs(self, minutes: float = LEG_MINUTES, lost: float = LOST_MINUTES) -> list[Leg]:
        """The run in sittings of so many minutes, for a machine that may be taken away.

        lost: minutes of each that leave nothing behind: setting up, and what came after its last checkpoint.
        Raises InputError where a sitting is all loss.
        """
        if not 0 <= lost < minutes:
            raise InputError(
                f"a leg of {minutes:g} minutes must be longer than the {lost:g} that are lost in it"
            )
        each = max(1, int(60 * (minutes - lost) / self.seconds_per_step))
        ends = [min(self.steps, step) for step in range(self.done + each, self.steps + each, each)]
        return [Leg(i, step, step * self.epochs / self.steps) for i, step in enumerate(ends, start=1)]

    def itinerary(self, minutes: float = LEG_MINUTES, lost: float = LOST_MINUTES) -> str:
        """The legs in a sentence: how many, and what the first three and the last reach."""
        legs = self.legs(minutes, lost)
        if not legs:
            return "finished: no leg is left"
        shown = [f"step {leg.step:,} (epoch {leg.epochs:.1f})" for leg in legs]
        shown = shown if len(shown) < 5 else [*shown[:3], "...", shown[-1]]
        return f"{len(legs)} leg{'s' * (len(legs) > 1)} of {minutes:g} minutes, to {', '.join(shown)}"


def plan(
    recipe: Recipe,
    images: ImageSet,
    minutes: float | None = None,
    steps: int | None = None,
    out: str | Path | None = None,
) -> Budget:
    """Time a few steps of the recipe here, then say what fits: see `fits`.

    out: the folder of the run; a run that stands there keeps its number of steps, for its schedule depends on it and a
    machine that is faster today must not change it.
    """
    seconds = time_steps(recipe.build(), images.images, (recipe.policy,) * 2, recipe.batch_size)
    begun = None if out is None else checkpoints.load(Path(out))
    if begun is None:
        return fits(recipe, len(images), seconds, minutes, steps)
    return fits(recipe, len(images), seconds, steps=begun["settings"]["steps"], done=begun["step"])


def fits(
    recipe: Recipe,
    images: int,
    seconds_per_step: float,
    minutes: float | None = None,
    steps: int | None = None,
    done: int = 0,
) -> Budget:
    """What fits, at so many seconds per step on so many images.

    With `minutes`, as many steps as fit, but no more than the recipe's epochs; with `steps`, how long these take;
    with neither, the recipe's epochs.  done: steps that need not be taken any more.
    """
    if steps is None:
        steps = steps_of(recipe.epochs, images, recipe.batch_size)
        if minutes is not None:
            steps = min(steps, steps_that_fit(60 * minutes, seconds_per_step, images, recipe.batch_size)[0])
    left = (steps - done) * seconds_per_step / 60
    return Budget(steps, steps * recipe.batch_size / images, left, seconds_per_step, done)


def accident(step: int | None):
    """A callback for `pretrain(on_measure=...)` that loses the machine once so many steps are done; None: never.

    Raises ConnectionError.  Only measured steps call it; a checkpoint of the same step is not written any more.
    """

    def lose(history) -> None:
        if step is not None and len(history) >= step:
            raise ConnectionError(f"the machine is gone after step {len(history)}")

    return lose


class LabelRuns(NamedTuple):
    """Accuracies against the number of labels: the seeds that all arms have, and arm -> labels per class -> one list of
    accuracies over draws of labels per seed.
    """

    seeds: list[int]
    accuracies: dict[str, dict[int, list[list[float]]]]

    def means(self, arm: str, counts: Sequence[int]) -> list[list[float]]:
        """Means over the draws, [counts, seeds]."""
        return [[sum(draws) / len(draws) for draws in self.accuracies[arm][count]] for count in counts]


def label_runs(rows: Sequence[Mapping], arms: Sequence[str]) -> LabelRuns:
    """The group "labels" of the record of benchmarks/photographs.py, for these arms and "pixels".

    Only seeds that every arm has are taken; pixels know no seed, so that theirs is repeated for each.
    Raises InputError where no seed is complete.
    """
    group = [row for row in rows if row["group"] == "labels"]
    by = {(row["arm"], row["seed"]): row["accuracies"] for row in group}
    seeds = sorted({seed for _, seed in by if all((arm, seed) in by for arm in arms)})
    if not seeds or ("pixels", 0) not in by:
        raise InputError(
            "no seed of the label curves is complete: run benchmarks/photographs.py --only labels"
        )
    place = {arm: [(arm, seed) for seed in seeds] for arm in arms} | {"pixels": [("pixels", 0)] * len(seeds)}
    return LabelRuns(
        seeds,
        {a: {int(c): [by[k][c] for k in keys] for c in by[keys[0]]} for a, keys in place.items()},
    )
