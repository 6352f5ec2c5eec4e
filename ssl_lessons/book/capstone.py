"""The decisions of the capstone that differ from machine to machine: which images, where to keep the run, how long."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import NamedTuple

from ssl_lessons import data
from ssl_lessons.book.files import ROOT
from ssl_lessons.data import ImageSet
from ssl_lessons.errors import InputError
from ssl_lessons.training import time_steps
from ssl_lessons.training.plan import steps_of, steps_that_fit
from ssl_lessons.training.recipes import Recipe

DRIVE = Path("/content/drive/MyDrive")


class Images(NamedTuple):
    """The three splits of a run: unlabeled at full size for cropping, train and test at the size of a view."""

    name: str
    unlabeled: ImageSet
    train: ImageSet
    test: ImageSet


def data_folder() -> Path | None:
    """Where downloads lie: $SSL_LESSONS_DATA, else data/cache of the clone (a notebook runs in its chapters/)."""
    if "SSL_LESSONS_DATA" in os.environ or not (ROOT / "pyproject.toml").is_file():
        return None  # the readers' own default
    return ROOT / "data" / "cache"


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
    data_dir = data_dir or data_folder()
    if wanted == "auto":
        if not rehearsal and not stl10_is_here(data_dir):
            raise InputError(
                'The build needs photographs, and STL-10 is not here: set IMAGES = "stl10" to download it (2.6 GB), or '
                'name other pictures (a folder, "cifar10", or "shapes" for the drawn world).'
            )
        wanted = "shapes" if rehearsal else "stl10"
    if wanted == "shapes":
        counts = (8192, 5000, 2000) if rehearsal else (None, None, None)
        sets = [data.shapes(split, size, n, world=world) for split, n in zip(data.SPLITS, counts, strict=True)]
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


class Budget(NamedTuple):
    """What fits: steps, epochs and minutes of training, and when it would end."""

    steps: int
    epochs: float
    minutes: float
    seconds_per_step: float

    def sentence(self) -> str:
        end = datetime.datetime.now() + datetime.timedelta(minutes=self.minutes)
        return (
            f"{self.seconds_per_step * 1000:.0f} ms per step: {self.steps} steps are {self.epochs:.1f} epochs in about "
            f"{self.minutes:.1f} minutes, done at {end:%H:%M}"
        )


def plan(recipe: Recipe, images: ImageSet, minutes: float | None = None, steps: int | None = None) -> Budget:
    """Time a few steps of the recipe here, then say what fits.

    With `minutes`, as many steps as fit, but no more than the recipe's epochs; with `steps`, how long these take;
    with neither, the recipe's epochs.
    """
    seconds = time_steps(recipe.build(), images.images, (recipe.policy,) * 2, recipe.batch_size)
    if steps is None:
        steps = steps_of(recipe.epochs, len(images), recipe.batch_size)
        if minutes is not None:
            steps = min(steps, steps_that_fit(60 * minutes, seconds, len(images), recipe.batch_size)[0])
    return Budget(steps, steps * recipe.batch_size / len(images), steps * seconds / 60, seconds)
