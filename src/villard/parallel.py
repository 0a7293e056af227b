"""One way to run independent pieces of work: here, in processes or threads, or on a cluster.

Fits, chunks of simulations, tiles of a map or regions of interest are pieces that know nothing of each
other. `map` runs a function on each of them with whatever executor there is, and can keep finished
pieces in a folder, so that work that was interrupted goes on where it was.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Executor, ProcessPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from villard.exceptions import ConfigError, DataError
from villard.utils.io import atomic_write
from villard.utils.paths import make_path
from villard.utils.progress import ProgressBar

__all__ = ["map"]

Item = TypeVar("Item")
Result = TypeVar("Result")

_VERSION = 1
#: Size (bytes) from which on a function is sent to processes once, instead of with each piece.
_LARGE = 1_000_000


def map(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    executor: Any = None,
    *,
    folder: str | os.PathLike[str] | None = None,
    description: str = "Working",
    show_progress: bool | None = None,
) -> list[Result]:
    """Call a function on each item and return the results in their order.

    Parameters
    ----------
    function : callable
        Function of one item. Executors with other processes need one that can be pickled, so one that
        is defined in a module.
    items : iterable
        Items, one for each piece of work.
    executor : optional
        What runs the pieces: `None`, one after the other in this process; a
        `concurrent.futures.Executor`; a ``dask.distributed.Client``, or the address of a Dask scheduler,
        such as ``"tcp://localhost:8786"``. Processes should be started with the method "spawn" or
        "forkserver": JAX runs threads, and a forked process may hang.
    folder : str or path-like, optional
        Folder in which each finished piece is kept as a file. Pieces that are there are read and not
        run again. The files are pickles: use only folders that nobody else can write to.
    description : str
        Text of the progress bar.
    show_progress : bool, optional
        Force the progress bar on or off; by default it appears where somebody waits for it.

    Returns
    -------
    list
        One result per item, in the order of the items.

    Raises
    ------
    ConfigError
        If the executor is none of these.
    DataError
        If the folder holds pieces of other work, or a damaged one.
    MissingDependencyError
        If an address is given and Dask isn't installed.

    Notes
    -----
    If a piece fails, its error is raised, with a note that says which item it was. Then, and when the user
    interrupts, pieces that haven't begun are cancelled; finished ones stay in the folder.

    Examples
    --------
    >>> from concurrent.futures import ThreadPoolExecutor
    >>> from villard import parallel
    >>> parallel.map(abs, [-3, 2])
    [3, 2]
    >>> with ThreadPoolExecutor(2) as executor:
    ...     parallel.map(abs, [-3, 2], executor)
    [3, 2]
    """
    work = list(items)
    keep = None if folder is None else _Folder(make_path(folder), function, work)
    results: dict[int, Any] = {} if keep is None else keep.read()
    todo = [i for i in range(len(work)) if i not in results]
    with ProgressBar(len(work), description, show=show_progress) as bar:
        bar.advance(len(results))
        if todo:
            for i, result in _run(function, work, todo, executor):
                results[i] = result
                if keep is not None:
                    keep.write(i, result)
                bar.advance()
    return [results[i] for i in range(len(work))]


def _run(
    function: Callable[[Any], Any], work: list[Any], todo: list[int], executor: Any
) -> Iterator[tuple[int, Any]]:
    """Give results in the order in which they are finished."""
    if executor is None:
        return _run_here(function, work, todo)
    if isinstance(executor, str):
        return _run_at_address(function, work, todo, executor)
    if isinstance(executor, ProcessPoolExecutor):
        return _run_processes(function, work, todo, executor)
    if isinstance(executor, Executor):
        return _run_futures(function, work, todo, executor.submit, _completed)
    if callable(getattr(executor, "submit", None)) and hasattr(executor, "scheduler_info"):
        return _run_dask(function, work, todo, executor)
    raise ConfigError(
        f"parallel.map: expected as executor None, a concurrent.futures.Executor, a Dask client or the "
        f"address of its scheduler, found {type(executor).__name__}"
    )


def _run_here(function: Callable[[Any], Any], work: list[Any], todo: list[int]) -> Iterator[tuple[int, Any]]:
    for i in todo:
        try:
            result = function(work[i])
        except Exception as error:
            raise _with_note(error, i, work) from None
        yield i, result


def _run_futures(
    function: Callable[[Any], Any],
    work: list[Any],
    todo: list[int],
    submit: Callable[..., Any],
    completed: Callable[[list[Any]], Iterable[Any]],
) -> Iterator[tuple[int, Any]]:
    futures: dict[Any, int] = {}
    try:
        for i in todo:
            futures[submit(function, work[i])] = i
        for future in completed(list(futures)):
            i = futures[future]
            try:
                result = future.result()
            except CancelledError:
                raise
            except Exception as error:
                raise _with_note(error, i, work) from None
            yield i, result
    finally:
        # After an error or an interruption nothing more should begin; finished ones don't mind.
        for future in futures:
            future.cancel()


def _run_processes(
    function: Callable[[Any], Any], work: list[Any], todo: list[int], executor: ProcessPoolExecutor
) -> Iterator[tuple[int, Any]]:
    """Run in processes, which read a function that carries much data once, not with each piece."""
    content = _content(function)
    if len(content) < _LARGE:
        yield from _run_futures(function, work, todo, executor.submit, _completed)
        return
    with TemporaryDirectory(prefix="villard-") as folder:
        path = Path(folder, "function.pickle")
        path.write_bytes(content)
        yield from _run_futures(partial(_call_kept, str(path)), work, todo, executor.submit, _completed)


def _content(function: Callable[[Any], Any]) -> bytes:
    """Return a function as a pickle; nothing if it can't be one, which the executor will tell."""
    try:
        return pickle.dumps(function, protocol=5)
    except Exception:
        return b""


@lru_cache(maxsize=1)
def _kept(path: str) -> Callable[[Any], Any]:
    with open(path, "rb") as stream:
        function: Callable[[Any], Any] = pickle.load(stream)
    return function


def _call(function: Callable[[Any], Any], item: Any) -> Any:
    return function(item)


def _call_kept(path: str, item: Any) -> Any:
    return _kept(path)(item)


def _completed(futures: list[Any]) -> Iterable[Any]:
    from concurrent.futures import as_completed

    return as_completed(futures)


def _run_dask(
    function: Callable[[Any], Any], work: list[Any], todo: list[int], client: Any
) -> Iterator[tuple[int, Any]]:
    from villard.utils.lazy import import_optional

    distributed = import_optional("distributed", "dask")
    # What carries much data goes to each worker once.
    there = client.scatter(function, broadcast=True) if len(_content(function)) >= _LARGE else None

    def submit(function: Callable[[Any], Any], item: Any) -> Any:
        # Not pure: two equal items, such as draws of random numbers, are two pieces.
        if there is not None:
            return client.submit(_call, there, item, pure=False)
        return client.submit(function, item, pure=False)

    return _run_futures(function, work, todo, submit, distributed.as_completed)


def _run_at_address(
    function: Callable[[Any], Any], work: list[Any], todo: list[int], address: str
) -> Iterator[tuple[int, Any]]:
    from villard.utils.lazy import import_optional

    if "://" not in address:
        raise ConfigError(
            f"parallel.map: expected the address of a Dask scheduler, such as 'tcp://localhost:8786', "
            f"found {address!r}"
        )
    with import_optional("distributed", "dask").Client(address) as client:
        yield from _run_dask(function, work, todo, client)


def _with_note(error: Exception, i: int, work: list[Any]) -> Exception:
    text = repr(work[i])
    short = text if len(text) <= 100 else text[:97] + "..."
    error.add_note(f"in piece {i + 1} of {len(work)}: {short}")
    return error


class _Folder:
    """Finished pieces on disk, each with a fingerprint of the function and the item that it came from."""

    def __init__(self, path: Path, function: Callable[[Any], Any], work: list[Any]) -> None:
        if path.exists() and not path.is_dir():
            raise DataError(f"parallel.map: expected a folder, found a file: {path}")
        self._path = path
        name = getattr(function, "__qualname__", type(function).__qualname__)
        self._name = f"{getattr(function, '__module__', '')}.{name}"
        self._work = work

    def _fingerprint(self, i: int) -> str:
        try:
            content = pickle.dumps((self._name, self._work[i]), protocol=4)
        except Exception as error:
            raise DataError(
                f"parallel.map: pieces can't be kept in {self._path}, as item {i} can't be pickled: {error}"
            ) from error
        return hashlib.sha256(content).hexdigest()

    def _file(self, i: int) -> Path:
        return self._path / f"piece-{i:06d}.pickle"

    def read(self) -> dict[int, Any]:
        results = {}
        for i in range(len(self._work)):
            path = self._file(i)
            if not path.exists():
                continue
            try:
                with path.open("rb") as stream:
                    version, fingerprint, result = pickle.load(stream)
            except Exception as error:
                raise DataError(f"parallel.map: can't read the finished piece {path}: {error}") from error
            if (version, fingerprint) != (_VERSION, self._fingerprint(i)):
                raise DataError(
                    f"parallel.map: {path} holds a piece of other work (another function or item than "
                    f"{self._name} on item {i}). Choose another folder, or delete it"
                )
            results[i] = result
        return results

    def write(self, i: int, result: Any) -> None:
        with atomic_write(self._file(i), overwrite=True) as path, path.open("wb") as stream:
            pickle.dump((_VERSION, self._fingerprint(i), result), stream, protocol=4)
