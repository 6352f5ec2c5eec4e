"""The command line on folders as people have them, on clusters, and on full disks: real processes."""

import json
import os
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

QUICK = ("--batch-size", 4, "--size", 16, "--no-progress", "--device", "cpu")


def ssl(*arguments, environment=None, **options):
    done = subprocess.run(
        [sys.executable, "-m", "ssl_lessons", *map(str, arguments)], capture_output=True, text=True, timeout=300,
        env=os.environ | (environment or {}), **options,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


def picture(path: Path, seed: int, side: int = 24) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def flat(tmp_path_factory):
    """Forty pictures without labels, and a run of `pretrain` on them."""
    root = tmp_path_factory.mktemp("flat")
    for i in range(40):
        picture(root / "photos" / f"{i:02d}.png", i)
    done = ssl("pretrain", "--data", root / "photos", "--steps", 3, *QUICK, "--out", root / "run")
    assert done.returncode == 0, done.stderr
    return root, done


def test_a_folder_without_labels_trains_and_says_what_it_is(flat):
    root, done = flat
    assert "without labels" in done.stderr and done.stderr.count("\n") == 1
    assert "the images have no labels" in done.stdout.lower() and "kNN" in done.stdout
    assert f"Next: ssl-lessons diagnose {root / 'run'}" in done.stdout
    rows = json.loads((root / "run" / "history.json").read_text())["rows"]
    assert "rank" in rows[-1] and "knn" not in rows[-1]


def test_a_folder_without_labels_is_diagnosed_but_cannot_be_probed_or_served(flat):
    root, _ = flat
    done = ssl("diagnose", root / "run", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["data"] == "photos"
    for command in ("probe", "export"):
        options = ("--out", root / "bundle") if command == "export" else ()
        done = ssl(command, root / "run", *options)
        assert done.returncode == 2 and "labels" in done.stderr and "--data" in done.stderr, done.stderr
    done = ssl("pretrain", "--method", "supervised", "--data", root / "photos", *QUICK, "--out", root / "s")
    assert done.returncode == 2 and "labels" in done.stderr


def test_pictures_without_labels_beside_a_folder_with_them(flat, tmp_path):
    root, _ = flat
    for i in range(24):
        picture(tmp_path / "small" / "ab"[i % 2] / f"{i}.png", 100 + i)
    done = ssl(
        "pretrain", "--data", tmp_path / "small", "--unlabeled", root / "photos", "--steps", 2, *QUICK,
        "--out", tmp_path / "run",
    )  # fmt: skip
    assert done.returncode == 0 and "on 40 images" in done.stdout, done.stdout + done.stderr
    stored = json.loads((tmp_path / "run" / "run.json").read_text())
    assert stored["unlabeled"] == str(root / "photos")
    done = ssl("probe", tmp_path / "run", "--labels-per-class", 2, "--draws", 1, "--json")
    assert json.loads(done.stdout)["classes"] == 2


def test_a_handful_of_pictures_trains_without_being_measured(tmp_path):
    for i in range(5):
        picture(tmp_path / "few" / ("cat" if i < 3 else "dog") / f"{i}.png", i)
    done = ssl(
        "pretrain",
        "--data",
        tmp_path / "few",
        "--steps",
        2,
        "--batch-size",
        2,
        *QUICK[2:],
        "--out",
        tmp_path / "run",
    )
    assert done.returncode == 0 and "Too few images" in done.stdout, done.stderr
    assert (tmp_path / "run" / "encoder.safetensors").exists()


def test_doctor_looks_at_a_folder(flat):
    root, _ = flat
    found = json.loads(ssl("doctor", "--data", root / "photos", "--size", 16, "--json").stdout)["folder"]
    assert (
        found["pictures"] == 40 and "without labels" in found["sentence"] and found["minutes_per_epoch"] > 0
    )


@pytest.mark.parametrize("size", [48, 50])
def test_a_transformer_takes_any_size_that_its_patches_divide(tmp_path, size):
    done = ssl(
        "pretrain", "--method", "mae", "--size", size, "--steps", 1, "--images", 16, "--batch-size", 8,
        "--no-progress", "--out", tmp_path / "run", "--device", "cpu",
    )  # fmt: skip
    if size == 48:
        card = json.loads((tmp_path / "run" / "encoder.json").read_text())
        assert done.returncode == 0 and card["options"]["size"] == 48
    else:
        assert done.returncode == 2 and "multiple of the patch side 8" in done.stderr
        assert not (tmp_path / "run").exists()


def test_ranks_of_a_cluster_that_torchrun_did_not_set_silence_nothing(tmp_path):
    done = ssl("probe", tmp_path / "nowhere", environment={"RANK": "1", "WORLD_SIZE": "2"})
    assert done.returncode == 2 and "encoder.json" in done.stderr
    start = ("pretrain", "--steps", 1, "--images", 8, *QUICK, "--out", tmp_path / "run")
    done = ssl(*start, environment={"RANK": "0", "WORLD_SIZE": "2"})
    assert done.returncode == 0 and "8 images" in done.stdout and "it trains alone" in done.stderr


def test_a_full_disk_is_one_message_and_leaves_nothing_half_written(tmp_path):
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (10**6, 10**6))
    arguments = (
        "pretrain",
        "--steps",
        2,
        "--images",
        16,
        "--batch-size",
        8,
        *QUICK[2:],
        "--out",
        tmp_path / "run",
    )
    done = ssl(*arguments, preexec_fn=limit)
    assert done.returncode == 2 and "cannot write" in done.stderr and "checkpoint.pt" in done.stderr
    assert not list((tmp_path / "run").glob("*.tmp"))
