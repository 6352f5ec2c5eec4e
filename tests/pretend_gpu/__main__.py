"""python -m pretend_gpu program.py [arguments]"""

import os
import runpy
import sys

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # before NumPy and PyTorch are imported, which read it once

import pretend_gpu  # noqa: E402
from pretend_gpu.process import serve  # noqa: E402

pretend_gpu.install()
if sys.argv[1:] == ["--serve"]:
    serve()
else:
    sys.argv = sys.argv[1:]
    sys.path.insert(0, os.path.dirname(os.path.abspath(sys.argv[0])))
    runpy.run_path(sys.argv[0], run_name="__main__")
