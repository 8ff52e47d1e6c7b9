"""One number of threads for every library, and what each of them says."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench.errors import BenchError

#: Read by each library when it is loaded: for child processes, and for what this one has not imported yet.
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)


def thread_environment(threads: int) -> dict[str, str]:
    """The environment variables that give a new process `threads` threads; BenchError for less than one."""
    if threads < 1:
        raise BenchError(f"{threads} threads", wanted="1 or more", cure="Leave it out to use what each library takes.")
    return dict.fromkeys(THREAD_VARIABLES, str(threads))


def limit_threads(threads: int) -> None:
    """Sets OpenMP, MKL, OpenBLAS, torch, OpenCV and faiss to `threads`, for good.

    Imports none of them: those already there are told, the others find it in the environment.
    """
    os.environ.update(thread_environment(threads))
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=threads)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)
    if cv2 := sys.modules.get("cv2"):
        cv2.setNumThreads(threads)
    if faiss := sys.modules.get("faiss"):
        faiss.omp_set_num_threads(threads)


def threads_in_force() -> dict[str, int]:
    """How many threads each library that is loaded says it uses, by its name."""
    from threadpoolctl import threadpool_info

    said = {Path(pool["filepath"]).name: int(pool["num_threads"]) for pool in threadpool_info()}
    if torch := sys.modules.get("torch"):
        said["torch"] = torch.get_num_threads()
    if cv2 := sys.modules.get("cv2"):
        said["cv2"] = cv2.getNumThreads()
    if faiss := sys.modules.get("faiss"):
        said["faiss"] = faiss.omp_get_max_threads()
    return said
