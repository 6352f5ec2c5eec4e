"""A reader's own films: moving pictures and folders of frames."""

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_lessons.data.clips import clips
from ssl_lessons.errors import InputError


def frame(k: int) -> Image.Image:
    """A gray picture whose brightness tells which frame it is; wider than high."""
    return Image.fromarray(np.full((20, 30, 3), 10 * k, np.uint8))


@pytest.fixture
def folder(tmp_path):
    some = [frame(k) for k in range(12)]
    for name in ("a.gif", "b.png", "c.webp"):
        more = {"lossless": True} if name.endswith("webp") else {}
        some[0].save(tmp_path / name, save_all=True, append_images=some[1:], duration=50, **more)
    (tmp_path / "d").mkdir()
    for k in range(12):
        frame(k).save(tmp_path / "d" / f"frame{k}.png")
    (tmp_path / "notes.txt").write_text("no film")
    return tmp_path


def test_every_kind_of_film_is_cut_into_clips(folder):
    x, names = clips(folder, frames=4, size=8)
    assert x.shape == (12, 4, 3, 8, 8) and x.dtype == torch.uint8
    assert names == [n for n in ("a.gif", "b.png", "c.webp", "d") for _ in range(3)]
    wanted = 10 * torch.arange(12).view(3, 4)
    for first in range(0, 12, 3):
        assert (x[first : first + 3, :, 1, 4, 4].int() - wanted).abs().max() <= 2
    y, _ = clips(folder, frames=4, size=8, step=3)
    assert (y[-1, :, 0, 0, 0].int() - 10 * torch.tensor([0, 3, 6, 9])).abs().max() <= 2


def test_what_cannot_be_used_is_left_out_and_told(folder):
    (folder / "broken.gif").write_bytes(b"GIF89a and no more")
    frame(1).save(folder / "one.png")
    with pytest.warns(UserWarning, match=r"2 films left out: broken.gif .*one.png \(1 frames\)"):
        x, names = clips(folder, frames=12, size=8)
    assert names == ["a.gif", "b.png", "c.webp", "d"]


def test_one_sentence_says_what_to_do(tmp_path, folder):
    with pytest.raises(InputError, match="give the folder that holds the films"):
        clips(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds no film of 13 frames at a step of 1: left out a.gif"):
        clips(folder, frames=13)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="a sub-folder of pictures for each film"):
        clips(tmp_path / "empty")
    with pytest.raises(InputError, match="1 or more"):
        clips(folder, step=0)
