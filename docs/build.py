"""Build the documentation: ``make docs``, or ``python docs/build.py [FOLDER]``.

Pages are the Markdown files of this folder. Examples are the scripts of ``examples/``: each is run in a
process and a folder of its own, and its page shows code, printed output and figures as they came out. The
build fails if an example fails or a link leads nowhere.

A script is cut into cells at lines ``# %%``. Comment lines right after such a line are Markdown; so is the
script's docstring, whose first line is the title. Editors with notebook cells read the same marks.
"""

import ast
import contextlib
import html
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MARK = re.compile(r"^# %%.*\n?", re.MULTILINE)
# Pages in the order of the navigation; others follow by name.
ORDER = [
    *("index", "getting_started", "what_to_use_when", "maps", "roi", "catalogs", "sed_tools", "events"),
    *("bayes", "dark_matter", "engine", "migration", "cli", "dependencies"),
    *("read_and_fit", "spectral_models", "backends", "profiles_contours_surfaces", "flux_points"),
    *("map_fit", "ts_map", "event_mixture"),
]


@dataclass
class Cell:
    """Text, code, and what running it gave."""

    text: str
    code: str
    line: int
    output: str = ""
    figures: list[str] = field(default_factory=list)


@dataclass
class Page:
    """A page: where it goes below the output folder, its title and its body as HTML."""

    path: str
    title: str
    body: str


def split_cells(source: str) -> tuple[str, list[Cell]]:
    """Cut a script into its docstring and cells."""
    tree = ast.parse(source)
    docstring = ast.get_docstring(tree)
    if docstring is None:
        raise ValueError("an example starts with a docstring whose first line is its title")
    end = tree.body[0].end_lineno or 0
    lines = source.splitlines(keepends=True)
    cells = []
    line = end + 1
    for part in re.split(MARK, "".join(lines[end:])):
        body = part.splitlines(keepends=True)
        n_text = next((i for i, row in enumerate(body) if not row.startswith("#")), len(body)) if cells else 0
        text = "".join(row[1:].removeprefix(" ") for row in body[:n_text])
        cells.append(Cell(text, "".join(body[n_text:]), line + n_text))
        line += len(body) + 1
    return docstring, [cell for cell in cells if cell.text.strip() or cell.code.strip()]


def run_cells(script: Path, cells: list[Cell], figures: Path) -> None:
    """Run cells in one namespace, in this process; keep their output and figures."""
    os.environ["MPLBACKEND"] = "agg"
    namespace: dict[str, Any] = {"__name__": "__main__", "__file__": str(script)}
    for cell in cells:
        buffer = io.StringIO()
        # Empty lines in front keep the line numbers of the file in a traceback.
        code = compile("\n" * (cell.line - 1) + cell.code, str(script), "exec")
        with contextlib.redirect_stdout(buffer):
            exec(code, namespace)
        cell.output = buffer.getvalue()
        if "matplotlib.pyplot" in sys.modules:
            cell.figures = _save_figures(figures, script.stem)


def _save_figures(folder: Path, stem: str) -> list[str]:
    import matplotlib.pyplot as plt

    names = []
    for number in plt.get_fignums():
        name = f"{stem}_{len(list(folder.glob(f'{stem}_*.png'))) + 1}.png"
        plt.figure(number).savefig(folder / name, dpi=100, bbox_inches="tight")
        names.append(name)
    plt.close("all")
    return names


def run_example(script: Path, figures: Path) -> tuple[str, list[Cell]]:
    """Run a script in a process and an empty folder of its own; return its docstring and cells."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "cells.json")
        work = Path(folder, "work")
        work.mkdir()
        command = [sys.executable, __file__, "--run", str(script), str(figures), str(result)]
        done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{script.name} failed:\n{done.stdout}{done.stderr}")
        docstring, cells = json.loads(result.read_text(encoding="utf-8"))
    return docstring, [Cell(**cell) for cell in cells]


def _run_in_this_process(script: Path, figures: Path, result: Path) -> None:
    docstring, cells = split_cells(script.read_text(encoding="utf-8"))
    run_cells(script, cells, figures)
    result.write_text(json.dumps([docstring, [vars(cell) for cell in cells]]), encoding="utf-8")


def highlight(code: str, language: str = "python", _options: str = "") -> str:
    """Return code as HTML with classes for colours."""
    from pygments import highlight as colour
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    return str(colour(code, get_lexer_by_name(language or "text"), HtmlFormatter(nowrap=True)))


def markdown(text: str) -> str:
    """Return Markdown as HTML; headings can be linked to, and links between sources lead to their pages."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"highlight": highlight}).enable("table").render(text)
    body = re.sub(r'href="\.\./docs/', 'href="../', body.replace('href="../examples/', 'href="examples/'))
    body = re.sub(r'(href="(?!\w+:)[^"#]*)\.(?:md|py)(["#])', r"\1.html\2", body)
    return re.sub(r"<h([1-4])>(.*?)</h\1>", lambda m: f'<h{m[1]} id="{_slug(m[2])}">{m[2]}</h{m[1]}>', body)


def _slug(title: str) -> str:
    words = html.unescape(re.sub(r"<.*?>", "", title)).lower()
    return re.sub(r"[\s_]+", "-", re.sub(r"[^\w\s-]", "", words)).strip("-")


def markdown_page(path: Path) -> Page:
    """Return the page of a Markdown file."""
    text = path.read_text(encoding="utf-8")
    return Page(f"{path.stem}.html", _title(text, path), markdown(text))


def example_page(script: Path, figures: Path) -> Page:
    """Run an example and return its page."""
    docstring, cells = run_example(script, figures)
    title, _, rest = docstring.partition("\n")
    parts = [markdown(f"# {title}\n{rest}")]
    for cell in cells:
        if cell.text.strip():
            parts.append(markdown(cell.text))
        if cell.code.strip():
            parts.append(f"<pre><code>{highlight(cell.code.strip())}</code></pre>")
        if cell.output.strip():
            parts.append(f'<pre class="output">{html.escape(cell.output.rstrip())}</pre>')
        parts += [f'<img src="{name}" alt="{html.escape(title)}">' for name in cell.figures]
    return Page(f"examples/{script.stem}.html", title, "\n".join(parts))


def _title(text: str, path: Path) -> str:
    match = re.search(r"^# (.+)$", text, re.MULTILINE)
    if match is None:
        raise ValueError(f"{path}: a page needs a heading of first level")
    return match[1].replace("`", "")


def render(page: Page, pages: list[Page]) -> str:
    """Return the whole HTML of a page with the navigation."""
    up = "../" * page.path.count("/")

    def entries(some: list[Page]) -> str:
        here = ' class="here"'
        return "".join(
            f'<a href="{up}{p.path}"{here if p is page else ""}>{html.escape(p.title)}</a>' for p in some
        )

    texts = [p for p in pages if "/" not in p.path]
    examples = [p for p in pages if "/" in p.path]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(page.title)}'
        '</title><meta name="viewport" content="width=device-width">'
        f'<link rel="stylesheet" href="{up}style.css"></head><body><nav>{entries(texts)}'
        f"<h2>Examples</h2>{entries(examples)}</nav><main>{page.body}</main></body></html>\n"
    )


def check_links(pages: list[Page]) -> list[str]:
    """Return a line for each link between pages that leads nowhere."""
    anchors = {page.path: set(re.findall(r'id="([^"]+)"', page.body)) for page in pages}
    broken = []
    for page in pages:
        for link in re.findall(r'href="(?!\w+:)([^"]+)"', page.body):
            target, _, anchor = link.partition("#")
            path = os.path.normpath(os.path.join(os.path.dirname(page.path), target)) if target else page.path
            if path not in anchors or (anchor and anchor not in anchors[path]):
                broken.append(f"{page.path}: link to {link} leads nowhere")
    return broken


def _rank(path: Path) -> tuple[int, str]:
    return ORDER.index(path.stem) if path.stem in ORDER else len(ORDER), path.stem


def build(output: Path, docs: Path = ROOT / "docs", examples: Path = ROOT / "examples") -> list[Page]:
    """Build all pages into a folder, which is emptied before."""
    from pygments.formatters import HtmlFormatter

    shutil.rmtree(output, ignore_errors=True)
    figures = output / "examples"
    figures.mkdir(parents=True)
    pages = [markdown_page(path) for path in sorted(docs.glob("*.md"), key=_rank)]
    for script in sorted(examples.glob("*.py"), key=_rank):
        start = time.perf_counter()
        pages.append(example_page(script, figures))
        print(f"{script.name}: {time.perf_counter() - start:.1f} s", flush=True)
    broken = check_links(pages)
    if broken:
        raise ValueError("\n".join(broken))
    for page in pages:
        (output / page.path).write_text(render(page, pages), encoding="utf-8")
    for image in docs.glob("*.png"):
        shutil.copy(image, output)
    style = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
    (output / "style.css").write_text(style + HtmlFormatter().get_style_defs("pre"), encoding="utf-8")
    return pages


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        _run_in_this_process(*map(Path, sys.argv[2:5]))
    else:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "_build"
        try:
            build(folder)
        except (RuntimeError, ValueError) as error:
            sys.exit(f"The documentation was not built. {error}")
        print(f"Wrote {folder / 'index.html'}")
