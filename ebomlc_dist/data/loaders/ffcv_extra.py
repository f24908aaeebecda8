"""The optional extra ``ffcv``: whether it is there, and how it is imported."""

from importlib.util import find_spec

import torch

from ebomlc_dist.errors import InputError


def has_ffcv() -> bool:
    """Return whether ffcv is installed. It takes seconds to import, and is not imported here."""
    return find_spec("ffcv") is not None


def require_ffcv() -> None:
    """Raise `InputError` naming the extra where ffcv is not installed."""
    if not has_ffcv():
        raise InputError(
            "ffcv is not installed; `pip install 'ebomlc_dist[ffcv]'` adds it (built from source, against the headers "
            "of OpenCV and libjpeg-turbo), or choose --loader dataloader"
        )


def import_ffcv() -> None:
    """Import ffcv, before any module that names it, so that it leaves torch's threads alone.

    It sets them to its own number at import, at every pass and in its own thread: training would compute on as many
    threads as images are read on.

    Raises:
        InputError: it is not installed, or what it was built against is gone.
    """
    require_ffcv()
    threads = torch.get_num_threads()
    try:
        import numba
        from ffcv.pipeline.compiler import Compiler
        from numba.np.ufunc.parallel import get_thread_count
    except ImportError as error:
        raise InputError(f"ffcv is installed and cannot be imported ({error}); choose --loader dataloader") from None
    finally:
        torch.set_num_threads(threads)

    def set_num_threads(number: int) -> None:
        Compiler.num_threads = min(max(number, 1), get_thread_count())
        numba.set_num_threads(Compiler.num_threads)

    Compiler.set_num_threads = set_num_threads
