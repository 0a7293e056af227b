"""A progress bar that appears only where somebody waits for it."""

import os
import time
from types import TracebackType
from typing import Any, Self

__all__ = ["ProgressBar", "is_watched"]

#: Seconds after which a bar appears.
DELAY = 1.0


class ProgressBar:
    """Progress of work with a known number of steps, on the standard error stream.

    Nothing is shown, or imported, for work that takes less than a second, or where nobody looks:
    if the stream is neither a terminal nor a notebook. The environment variable
    ``VILLARD_PROGRESS`` (0 or 1) forces it off or on. An interruption passes through.

    Parameters
    ----------
    total : int
        Number of steps.
    description : str
        What is being done.
    delay : float
        Seconds after which the bar appears.
    show : bool, optional
        Force the bar on or off; overrides the environment variable.

    Examples
    --------
    >>> with ProgressBar(3, "Toys") as bar:
    ...     for _ in range(3):
    ...         bar.advance()
    >>> bar.completed
    3
    """

    def __init__(
        self, total: int, description: str = "Working", delay: float = DELAY, show: bool | None = None
    ) -> None:
        self.total = total
        self.description = description
        self.completed = 0
        self._delay = delay
        self._show = _from_environment() if show is None else show
        self._start = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    @property
    def visible(self) -> bool:
        """Whether the bar is on the screen."""
        return self._bar is not None

    def advance(self, steps: int = 1) -> None:
        """Count finished steps.

        Parameters
        ----------
        steps : int
            Number of steps since the last call.
        """
        self.completed = min(self.completed + steps, self.total)
        if self._bar is None and self._show is not False and time.monotonic() - self._start >= self._delay:
            self._open()
        if self._bar is not None:
            self._bar.update(self._task, completed=self.completed)

    def _open(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True, force_terminal=True if self._show else None)
        if not (console.is_terminal or console.is_jupyter):
            # Nobody looks: don't ask again at each step.
            self._show = False
            return
        columns = (
            TextColumn("[progress.description]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        self._bar = Progress(*columns, console=console)
        self._task = self._bar.add_task(self.description, total=self.total)
        self._bar.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def is_watched(show: bool | None = None) -> bool:
    """Return whether progress should be shown by a package that has a display of its own.

    Parameters
    ----------
    show : bool, optional
        Force it; otherwise the rules of `ProgressBar` hold.

    Examples
    --------
    >>> is_watched(True)
    True
    """
    show = _from_environment() if show is None else show
    if show is not None:
        return show
    from rich.console import Console

    console = Console(stderr=True)
    return bool(console.is_terminal or console.is_jupyter)


def _from_environment() -> bool | None:
    value = os.environ.get("VILLARD_PROGRESS", "")
    return None if value == "" else value.lower() not in {"0", "off", "false", "no"}
