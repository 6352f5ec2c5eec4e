"""One thread per process, for the unit tests and for the kernels that run the chapters: both inherit this.

The tests use two processes (`-n 2`); on two cores, more threads than that only wait for each other.
"""

import os

# Before torch or NumPy is imported: they read these once.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
