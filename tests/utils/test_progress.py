import subprocess
import sys

import pytest

from villard.utils.progress import ProgressBar


def test_short_work_shows_nothing(capsys):
    with ProgressBar(2, "Toys", show=True) as bar:
        bar.advance(2)
        assert not bar.visible
    assert capsys.readouterr().err == ""


def test_bar_shows_what_is_done(capsys):
    with ProgressBar(4, "Toys", delay=0, show=True) as bar:
        bar.advance(3)
        assert bar.visible
    assert not bar.visible
    error = capsys.readouterr().err
    assert "Toys" in error
    assert "3/4" in error


def test_nobody_looks_at_a_pipe(capsys, monkeypatch):
    monkeypatch.delenv("VILLARD_PROGRESS", raising=False)
    with ProgressBar(4, delay=0) as bar:
        bar.advance()
        assert not bar.visible
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("value", "shown"), [("1", True), ("0", False)])
def test_environment_variable_decides(capsys, monkeypatch, value, shown):
    monkeypatch.setenv("VILLARD_PROGRESS", value)
    with ProgressBar(4, delay=0) as bar:
        bar.advance()
        assert bar.visible is shown


def test_argument_is_stronger_than_the_environment(monkeypatch):
    monkeypatch.setenv("VILLARD_PROGRESS", "1")
    with ProgressBar(4, delay=0, show=False) as bar:
        bar.advance()
        assert not bar.visible


def test_interruption_closes_the_bar():
    bar = ProgressBar(4, delay=0, show=True)

    def interrupted():
        with bar:
            bar.advance()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not bar.visible


def test_rich_is_imported_only_for_a_bar():
    code = (
        "import sys\nfrom villard.utils.progress import ProgressBar\n"
        "with ProgressBar(1) as bar: bar.advance()\nassert 'rich' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
