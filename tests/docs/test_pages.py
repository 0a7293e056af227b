"""Code and configuration on the pages work."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from villard.config import read_config

ROOT = Path(__file__).resolve().parents[2]


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", ["getting_started.md", "maps.md", "events.md", "migration.md"])
def test_python(page: str, tmp_path: Path) -> None:
    code = "\n".join(blocks(page, "python"))
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_configuration(tmp_path: Path) -> None:
    import villard.config

    (page,) = blocks("cli.md", "yaml")
    assert villard.config.__doc__ is not None
    docstring = villard.config.__doc__.split("::\n", 1)[1].split("\nOnly")[0]
    configs = []
    for text in (page, docstring):
        path = tmp_path / "config.yaml"
        path.write_text(re.sub(r"^    ", "", text, flags=re.MULTILINE) if text is docstring else text)
        configs.append(read_config(path))
    assert configs[0] == configs[1]


def test_links() -> None:
    for page in (ROOT / "docs").glob("*.md"):
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
