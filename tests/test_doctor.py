"""Do torch and torchvision fit?  They are released in pairs, and a pair that does not fit fails in odd places."""

from importlib.metadata import requires, version

import pytest

from ssl_lessons.cli.doctor import _problems, torch_wanted

PAIRS = [  # torch, what torchvision's metadata ask for, what is said
    ("2.1.0", "torch==2.0.0", "torch==2.0.0"),  # PyTorch 2.1 with torchvision 0.15
    ("2.1.0+cu118", "torch==2.0.0", "torch==2.0.0"),
    (
        "2.1.0",
        "torch==2.0.0+cu117",
        "torch==2.0.0+cu117",
    ),  # 0.15.0 as it was first published, and then withdrawn
    ("2.0.0+cpu", "torch==2.0.0", None),
    ("2.1.0", "torch==2.1.0", None),  # with torchvision 0.16
    ("2.15.0", "torch (>=2.14.0)", None),
    ("2.13.1", "torch>=2.14.0", "torch>=2.14.0"),
    ("2.16.0.dev20261101", "torch>=2.14.0", None),
]


@pytest.mark.parametrize("torch, asked, said", PAIRS)
def test_pytorch_2_1_does_not_fit_torchvision_0_15(torch, asked, said):
    """torchvision 0.15 wants torch 2.0; to PyTorch 2.1 belongs 0.16."""
    assert torch_wanted(["numpy", asked, "pillow!=8.3.*,>=5.3.0", "scipy; extra == 'scipy'"], torch) == said


def test_a_torchvision_that_says_nothing_is_not_blamed():
    assert torch_wanted(None, "2.1.0") is None and torch_wanted(["numpy"], "2.1.0") is None


def test_what_is_installed_here_fits():
    assert torch_wanted(requires("torchvision"), version("torch")) is None


def test_the_doctor_says_what_to_do_with_a_pair_that_does_not_fit():
    report = {
        "threads": 2, "cores": 2, "device": {"type": "cuda"}, "memory_available_gb": 8.0, "disk_free_gb": 50.0,
        "data": {"stl10": True}, "jupyterlab": "4", "jupytext": "1", "one_minute": {"quick": {"steps": 900}},
        "torch": "2.1.0", "torchvision": "0.15.2",
    }  # fmt: skip
    assert _problems(report, psutil=True) == []
    (said,) = _problems(report | {"torch_wanted": "torch==2.0.1"}, psutil=True)
    assert (
        "torchvision 0.15.2 asks for torch==2.0.1" in said
        and "pip install --upgrade torch torchvision" in said
    )
