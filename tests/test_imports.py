"""On this Python every module of the package compiles without a warning and can be imported."""

import pkgutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import ssl_lessons

ROOM = Path(ssl_lessons.__file__).parent
# A program; and the configuration of a site, which finds its settings beside itself.
APART = {"__main__", "sphinx_conf"}
NOT_EVERYWHERE = {"anyio", "jupytext", "onnx", "onnxruntime", "onnxscript", "sphinx", "starlette", "ts", "uvicorn"}
IMPORT = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        print(error.name.partition(".")[0])
"""


@pytest.mark.parametrize("path", sorted(ROOM.rglob("*.py")), ids=lambda p: p.relative_to(ROOM).as_posix())
def test_a_module_compiles_without_a_warning(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        compile(path.read_text(encoding="utf-8"), str(path), "exec")


def test_every_module_can_be_imported():
    found = [module.name for module in pkgutil.walk_packages(ssl_lessons.__path__, "ssl_lessons.")]
    names = [name for name in found if name.rpartition(".")[2] not in APART]
    assert len(names) > 100
    done = subprocess.run([sys.executable, "-c", IMPORT, *names], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert set(done.stdout.split()) <= NOT_EVERYWHERE
