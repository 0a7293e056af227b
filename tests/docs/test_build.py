"""The builder of the documentation, on small pages."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]

EXAMPLE = '''"""A small example

It has *text*.
"""

import matplotlib.pyplot as plt

# %%
# ## A part
# with text.
# See [the page](../docs/page.md).
x = 2
print("twice", 2 * x)
plt.plot([1, 2])

# %%
print("x <", x + 1)
'''


@pytest.fixture(scope="module")
def build() -> ModuleType:
    pytest.importorskip("markdown_it")
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "examples").mkdir()
    (tmp_path / "docs" / "index.md").write_text(
        "# Start\n\n[a](page.md#the-part) [b](../examples/small.py) [c](https://example.org/x.md)\n\n"
        "```python\nimport os\n```\n"
    )
    (tmp_path / "docs" / "page.md").write_text("# Page\n\n## The `part`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n")
    (tmp_path / "examples" / "small.py").write_text(EXAMPLE)
    return tmp_path


def build_here(build: ModuleType, source: Path) -> Path:
    build.build(source / "out", source / "docs", source / "examples")
    return source / "out"


def test_pages(build: ModuleType, source: Path) -> None:
    out = build_here(build, source)
    index = (out / "index.html").read_text()
    assert 'href="page.html#the-part"' in index
    assert 'href="https://example.org/x.md"' in index
    assert 'href="examples/small.html"' in index
    assert 'href="../page.html"' in (out / "examples" / "small.html").read_text()
    assert '<span class="kn">import</span>' in index
    assert "<td>1</td>" in (out / "page.html").read_text()


def test_example_shows_code_output_and_figure(build: ModuleType, source: Path) -> None:
    page = (build_here(build, source) / "examples" / "small.html").read_text()
    assert "<h1" in page
    assert "It has <em>text</em>" in page
    assert '<pre class="output">twice 4</pre>' in page
    assert '<pre class="output">x &lt; 3</pre>' in page
    assert page.index("A part") < page.index("twice 4") < page.index("small_1.png") < page.index("x &lt; 3")
    assert (source / "out" / "examples" / "small_1.png").read_bytes().startswith(b"\x89PNG")


def test_failing_example_fails_the_build_at_its_line(build: ModuleType, source: Path) -> None:
    script = source / "examples" / "small.py"
    script.write_text(EXAMPLE + "1 / 0\n")
    line = EXAMPLE.count("\n") + 1
    with pytest.raises(RuntimeError, match=rf'(?s)small\.py", line {line}.*ZeroDivision'):
        build_here(build, source)


@pytest.mark.parametrize("link", ["nowhere.md", "page.md#other-part"])
def test_broken_link_fails_the_build(build: ModuleType, source: Path, link: str) -> None:
    (source / "docs" / "more.md").write_text(f"# More\n\n[x]({link})\n")
    with pytest.raises(ValueError, match=r"more\.html: link to .* leads nowhere"):
        build_here(build, source)
