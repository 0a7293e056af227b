"""Downloading public data sets, against a server on this machine."""

import functools
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from villard.data import download, public_data
from villard.data.make_registry import make_registry
from villard.data.registry import REGISTRY, default_folder
from villard.exceptions import ConfigError, DataError, FileFormatError, OverwriteError

pytest.importorskip("pooch")

CONTENT = {"set/a.fits": b"first file", "set/deep/b.fits": b"second file"}


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Path]:
    """Folder whose files are served; ``registry.json`` beside them names the address."""
    folder = tmp_path / "served"
    for name, content in CONTENT.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    handler = functools.partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        files = {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
            for name, content in CONTENT.items()
        }
        entry = {"description": "two files", "licence": "none", "files": files}
        url = f"http://127.0.0.1:{server.server_address[1]}"
        (folder / "registry.json").write_text(json.dumps({"version": 1, "url": url, "sets": {"two": entry}}))
        yield folder
        server.shutdown()
        thread.join()


def test_download(served: Path, tmp_path: Path) -> None:
    seen = []
    folder = download("two", tmp_path / "here", registry=served / "registry.json", progress=seen.append)
    assert {name: (folder / name).read_bytes() for name in CONTENT} == CONTENT
    assert [file.path for file in seen] == list(CONTENT)
    # Files that are intact aren't asked for again.
    (served / "set/a.fits").unlink()
    assert download("two", tmp_path / "here", registry=served / "registry.json") == folder


def test_a_changed_file_is_kept_unless_asked_otherwise(served: Path, tmp_path: Path) -> None:
    own = tmp_path / "set" / "a.fits"
    own.parent.mkdir()
    own.write_text("mine")
    with pytest.raises(OverwriteError, match=r"a\.fits exists and differs"):
        download("two", tmp_path, registry=served / "registry.json")
    assert own.read_text() == "mine"
    download("two", tmp_path, registry=served / "registry.json", overwrite=True)
    assert own.read_bytes() == CONTENT["set/a.fits"]


def test_damaged_on_the_way(served: Path, tmp_path: Path) -> None:
    (served / "set/a.fits").write_bytes(b"something else")
    with pytest.raises(DataError, match=r"a\.fits could not be downloaded.*hash"):
        download("two", tmp_path / "here", registry=served / "registry.json")
    assert not [path for path in (tmp_path / "here").rglob("*") if path.is_file()]


def test_missing_on_the_server(served: Path, tmp_path: Path) -> None:
    (served / "set/a.fits").unlink()
    with pytest.raises(DataError, match="404"):
        download("two", tmp_path / "here", registry=served / "registry.json")


def test_no_server(served: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"could not be downloaded"):
        download("two", tmp_path / "here", registry=served / "registry.json", url="http://127.0.0.1:9")


def test_unknown_set() -> None:
    with pytest.raises(ConfigError, match=r"'joint-crabs'\. Did you mean 'joint-crab'"):
        download("joint-crabs")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"version": 2, "url": "", "sets": {}}', '{"version": 1, "url": "", "sets": {"a": 1}}'],
)
def test_not_a_registry(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(FileFormatError, match=r"r\.json: not a registry"):
        public_data(tmp_path / "r.json")


def test_default_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAMMAPY_DATA", "/somewhere")
    assert default_folder() == Path("/somewhere")
    monkeypatch.delenv("GAMMAPY_DATA")
    assert default_folder() == Path("gammapy-data")


def test_registry_is_that_of_the_files(gammapy_data: Path) -> None:
    assert make_registry(gammapy_data) == json.loads(REGISTRY.read_text())
