"""What the commands share: the app, the options that several have, how errors and results are printed.

torch and everything that needs it is imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperGroup

from ssl_lessons.errors import InputError
from ssl_lessons.training.launch import is_other_rank

BAD_INPUT, DIVERGED, INTERRUPTED = 2, 3, 130
RUN_FILE = "run.json"
NATIVE = {"digits": 8, "cifar10": 32, "stl10": 96}  # a folder is read at 64 px or more
AT_MOST = 5_000  # images of a split that `probe` looks at unless told otherwise


class _Group(TyperGroup):
    """Errors meant for the reader are printed as one message; any other keeps its traceback."""

    def invoke(self, ctx):
        try:
            with plain_warnings():
                return super().invoke(ctx)
        except InputError as error:
            fail(error, BAD_INPUT)
        except RuntimeError as error:
            # Only a process that imported the training loop can have seen a run diverge.
            diverged = getattr(sys.modules.get("ssl_lessons.training.loop"), "Diverged", ())
            if not isinstance(error, diverged):
                raise
            fail(error, DIVERGED)


def fail(message, code: int):
    """Print one message on stderr, from one process, and end with an exit code."""
    if not is_other_rank():
        print(message, file=sys.stderr)
    raise typer.Exit(code) from None


app = typer.Typer(
    cls=_Group,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Entry point of the `ssl-lessons` command."""
    app(prog_name="ssl-lessons")


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
Data = Annotated[
    str | None,
    typer.Option(
        help="shapes, digits, stl10, cifar10, or a folder of pictures: without labels, one sub-folder per class, "
        "train/ and test/ folders, metadata.csv, or .tar files."
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        help="How to read a folder that can be read in two ways: folders (each sub-folder is a class), splits "
        "(sub-folders are train, test, ...) or none (no labels)."
    ),
]
Unlabeled = Annotated[
    str | None, typer.Option(help="A folder of pictures without labels to pretrain on, beside --data.")
]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Decode a folder's pictures anew and keep nothing on the disk.")
]
DataDir = Annotated[
    str | None,
    typer.Option(help="Where STL-10 and CIFAR-10 lie or go. Default: $SSL_LESSONS_DATA, else data/cache of the clone."),
]
Mirror = Annotated[
    str | None,
    typer.Option(
        help="Download from this address instead, e.g. one laptop of the classroom. Implies --download."
    ),
]
Download = Annotated[
    bool, typer.Option("--download", help="Download STL-10 or CIFAR-10 when it is not there.")
]
Device = Annotated[
    str | None,
    typer.Option(
        help="cpu, cuda or mps (untested). Default: the GPU (cuda) when there is one, else the CPU."
    ),
]
Folder = Annotated[
    Path, typer.Argument(metavar="DIR", help="A folder written by `ssl-lessons pretrain --out`.")
]


def stdout_for(as_json: bool):
    """With --json whatever is printed on the way goes to stderr."""
    return contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext()


@contextlib.contextmanager
def plain_warnings():
    """Warnings as one line on stderr, without the place in the code that they come from; each once."""
    import warnings

    seen = set()

    def show(message, category, filename, lineno, file=None, line=None):
        if str(message) not in seen and not is_other_rank():
            seen.add(str(message))
            print(message, file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield


def where(data_dir: str | None, mirror: str | None, download: bool, **folder) -> dict:
    """The keyword arguments of `data.load` that say where images lie and how to read a folder."""
    return {"data_dir": data_dir, "mirror": mirror, "download": download or mirror is not None, **folder}


def load(source: str, split: str, size: int, place: dict, n: int | None = None):
    """Images of a split; what concerns folders alone is left out for the named data sets."""
    from ssl_lessons import data

    if source in data.NAMES:
        place = {name: place[name] for name in ("data_dir", "mirror", "download")}
    return data.load(source, split, size=size, n=n, **place)


def load_at_most(n: int, source: str, split: str, size: int, place: dict):
    """A random subset of n images of a split, or all when it has fewer."""
    try:
        return load(source, split, size, place, n)
    except InputError:
        if source in ("shapes", "stl10", "cifar10"):  # large enough: something else is wrong
            raise
        return load(source, split, size, place)


def load_split(source: str, split: str, size: int, n: int | None, place: dict):
    """n images of a split, or by default all, AT_MOST at most."""
    if n is not None:
        return load(source, split, size, place, n)
    return load_at_most(AT_MOST, source, split, size, place)


def labelled(images, what: str):
    """The part of a set that has labels; InputError, for a command that needs them, where there is too little of it."""
    some = images.labels >= 0
    if len(images.classes) < 2 or not some.any():
        raise InputError(
            f"{what} needs labels, and the {images.split} pictures of {images.name} have none: choose others with "
            "--data, such as a folder with one sub-folder per class"
        )
    return images if some.all() else images[some]


def resized(images, side: int):
    """uint8 [N, 3, H, W] -> uint8 [N, 3, side, side], antialiased."""
    from torch.nn.functional import interpolate

    if images.shape[-1] == side:
        return images
    return interpolate(images, (side, side), mode="bilinear", antialias=True)


def read_run(folder: Path) -> dict:
    """What `pretrain` wrote about a run; empty when there is none (an encoder exported from Python)."""
    path = folder / RUN_FILE
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise InputError(f"{path} is damaged; delete it and give the options again") from None


def trained(folder: Path, source: str | None, place: dict):
    """The encoder in `folder`, its image size, the data to measure it on and where they lie."""
    from ssl_lessons.models import load_encoder

    encoder, size = load_encoder(folder)
    stored = read_run(folder)
    same = source is None or source == stored.get("data")
    source = source or stored.get("data")
    if source is None:
        raise InputError(f"{folder} does not say what it was trained on; choose images with --data")
    for name in ("data_dir", "labels") if same else ("data_dir",):
        place = place | {name: place.get(name) or stored.get(name)}
    return encoder, size, source, place
