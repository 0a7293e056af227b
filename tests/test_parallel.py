"""Pieces of work run anywhere, in their order, resumable."""

import multiprocessing
import pickle
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from villard import parallel
from villard.exceptions import ConfigError, DataError


def square(value: float) -> float:
    return value**2


def picky(value: int) -> int:
    if value == 3:
        raise ValueError("three is not allowed")
    return value


class Counting:
    """A function that knows on what it was called."""

    def __init__(self, stop_at: int | None = None, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.calls: list[int] = []
        self.stop_at, self.error = stop_at, error

    def __call__(self, value: int) -> int:
        if value == self.stop_at:
            raise self.error
        self.calls.append(value)
        return 10 * value


def test_here_in_order() -> None:
    assert parallel.map(square, iter([3, 1, 2])) == [9, 1, 4]
    assert parallel.map(square, []) == []


def test_threads_in_order() -> None:
    # The first piece ends last.
    late = threading.Event()

    def work(i: int) -> int:
        if i == 0:
            assert late.wait(10)
        if i == 3:
            late.set()
        return i

    with ThreadPoolExecutor(4) as executor:
        assert parallel.map(work, range(4), executor) == [0, 1, 2, 3]


def test_processes() -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        assert parallel.map(np.square, [3, 1, 2], executor) == [9, 1, 4]


def test_a_large_function_is_sent_once(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.arange(200_000.0)
    sent = []
    monkeypatch.setattr(ProcessPoolExecutor, "submit", _spy(ProcessPoolExecutor.submit, sent))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        assert parallel.map(partial(np.take, numbers), [5, 7], executor) == [5, 7]
    assert len(sent) == 2
    assert all(len(pickle.dumps(function)) < 1000 for function in sent)


def _spy(submit: Any, sent: list[Any]) -> Any:
    def wrapped(self: Any, function: Any, *items: Any) -> Any:
        sent.append(function)
        return submit(self, function, *items)

    return wrapped


@pytest.mark.parametrize("threads", [False, True])
def test_error_says_which_piece(threads: bool) -> None:
    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match="three") as caught:
        parallel.map(picky, [1, 2, 3, 4], executor if threads else None)
    assert caught.value.__notes__ == ["in piece 3 of 4: 3"]


def test_error_cancels_the_rest() -> None:
    calls = []

    def work(i: int) -> None:
        calls.append(i)
        if i == 0:
            raise ValueError
        time.sleep(0.01)

    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError):
        parallel.map(work, range(1000), executor)
    assert len(calls) < 999


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_resumes(tmp_path: Path, error: type[BaseException]) -> None:
    items = list(range(6))
    first = Counting(stop_at=3, error=error)
    with pytest.raises(error):
        parallel.map(first, items, folder=tmp_path / "pieces")
    assert first.calls == [0, 1, 2]
    second = Counting()
    assert parallel.map(second, items, folder=tmp_path / "pieces") == [0, 10, 20, 30, 40, 50]
    assert second.calls == [3, 4, 5]
    third = Counting()
    assert parallel.map(third, items, folder=tmp_path / "pieces") == [0, 10, 20, 30, 40, 50]
    assert third.calls == []


def test_folder_of_other_work(tmp_path: Path) -> None:
    parallel.map(square, [1, 2], folder=tmp_path)
    with pytest.raises(DataError, match="piece of other work"):
        parallel.map(square, [1, 3], folder=tmp_path)
    with pytest.raises(DataError, match="piece of other work"):
        parallel.map(picky, [1, 2], folder=tmp_path)


def test_damaged_folder(tmp_path: Path) -> None:
    parallel.map(square, [1, 2], folder=tmp_path)
    file = sorted(tmp_path.iterdir())[0]
    file.write_bytes(file.read_bytes()[:10])
    with pytest.raises(DataError, match="can't read the finished piece"):
        parallel.map(square, [1, 2], folder=tmp_path)
    other = tmp_path / "file"
    other.write_text("")
    with pytest.raises(DataError, match="expected a folder"):
        parallel.map(square, [1, 2], folder=other)


def test_item_that_cannot_be_pickled(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="item 0 can't be pickled"):
        parallel.map(callable, [lambda: 1], folder=tmp_path)


def test_bad_executors() -> None:
    with pytest.raises(ConfigError, match="found int"):
        parallel.map(square, [1], 4)
    with pytest.raises(ConfigError, match="address of a Dask scheduler"):
        parallel.map(square, [1], "localhost")


class FakeClient:
    """What is used of a Dask client; each piece goes through pickle, as to a worker."""

    def __init__(self, address: str = "") -> None:
        self.address, self.closed, self.pure = address, False, set()
        self.scattered: list[Any] = []

    def scheduler_info(self) -> dict[str, Any]:
        return {}

    def submit(self, function: Any, *items: Any, pure: bool = True) -> Future:
        self.pure.add(pure)
        function, items = pickle.loads(pickle.dumps((function, items)))
        future: Future = Future()
        future.set_result(function(*items))
        return future

    def scatter(self, data: Any, broadcast: bool = False) -> Any:
        assert broadcast
        self.scattered.append(data)
        return data

    def __enter__(self) -> "FakeClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True


def test_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    import types

    module = types.ModuleType("distributed")
    made: list[FakeClient] = []

    def make(address: str) -> FakeClient:
        made.append(FakeClient(address))
        return made[-1]

    module.Client = make  # type: ignore[attr-defined]
    module.as_completed = lambda futures: reversed(futures)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "distributed", module)
    client = FakeClient()
    assert parallel.map(np.square, [3, 1], client) == [9, 1]
    assert client.pure == {False}
    assert not client.scattered
    assert parallel.map(partial(np.take, np.arange(200_000.0)), [5, 7], client) == [5, 7]
    assert len(client.scattered) == 1
    assert parallel.map(np.square, [3, 1], "tcp://somewhere:8786") == [9, 1]
    assert made[0].address == "tcp://somewhere:8786"
    assert made[0].closed


def test_progress(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("villard.utils.progress.DELAY", 0.0)
    parallel.map(square, [1, 2], description="Squares", show_progress=False)
    assert capsys.readouterr().err == ""
