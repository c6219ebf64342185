"""The BLAS trap: an OpenBLAS that runs the kernels of an old CPU on a new one, 6 times slower."""

import importlib
import logging
import sys
import types
from functools import cache

_OLD = {
    *("Katmai", "Coppermine", "Northwood", "Prescott", "Banias", "Core2", "Penryn", "Dunnington"),
    *("Atom", "Nehalem", "Athlon", "Opteron", "Opteron_SSE3", "Barcelona", "Bobcat", "Nano"),
}  # without AVX

_logger = logging.getLogger(__name__)


def trapped() -> tuple[str, ...]:
    """Return the files of loaded OpenBLAS libraries whose kernels are older than the CPU.

    Example:
        >>> isinstance(trapped(), tuple)
        True
    """
    import faiss
    from threadpoolctl import threadpool_info

    if "AVX" not in faiss.get_compile_options():  # faiss loads what the CPU can run
        return ()
    return tuple(
        library["filepath"]
        for library in threadpool_info()
        if library["internal_api"] == "openblas" and library.get("architecture") in _OLD
    )


def torch_in_place_of_openblas() -> types.ModuleType | None:
    """Return the backend of torch where OpenBLAS is trapped and torch is loaded, else nothing.

    Where torch is not loaded either, says once how to mend it.
    """
    if not _is_trapped():
        return None
    if "torch" in sys.modules:
        return importlib.import_module("milepost.neighbors._torch")
    _say_once()
    return None


@cache
def _is_trapped() -> bool:
    return bool(trapped())


@cache
def _say_once() -> None:
    _logger.warning(
        "OpenBLAS runs the kernels of an old CPU, about 6 times slower than this one can; set "
        "OPENBLAS_CORETYPE=Haswell (SkylakeX with AVX-512) before Python starts, or import torch"
    )
