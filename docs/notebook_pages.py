"""Notebooks as pages: each ``notebooks/NAME.ipynb`` becomes ``notebooks/NAME.md`` when the site is built.

The outputs are those that the notebook was saved with. Run the cells again, and save what they print and draw:

    python docs/notebook_pages.py docs/notebooks/*.ipynb
"""

import base64
import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any


def page(notebook: dict[str, Any], name: str) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and its pictures by their names.

    Args:
        notebook: Content of the file.
        name: Name of the file without its ending; the download and the pictures are named after it.
    """
    parts, pictures = [], {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"]).strip()
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if "image/png" in data:
                picture = f"{name}-{len(pictures)}.png"
                pictures[picture] = base64.b64decode("".join(data["image/png"]))
                parts.append(f"![Output of the cell above]({picture})")
            else:
                text = "".join(output.get("text", data.get("text/plain", ""))).rstrip()
                parts.append(f"```text\n{text}\n```")
    download = f"[Download this notebook]({name}.ipynb){{ download }}"
    title, *rest = parts
    return "\n\n".join([title, download, *rest]) + "\n", pictures


def executed(notebook: dict[str, Any]) -> dict[str, Any]:
    """Return a notebook with the outputs of running its cells: what they print, and the open figures of matplotlib."""
    import matplotlib as mpl

    mpl.use("agg")  # show() leaves figures open
    from matplotlib import pyplot

    names: dict[str, Any] = {"__name__": "notebook"}
    cells = []
    for number, cell in enumerate(notebook["cells"], start=1):
        if cell["cell_type"] != "code":
            cells.append(cell)
            continue
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(compile("".join(cell["source"]), f"<cell {number}>", "exec"), names)  # noqa: S102  cells of our own
        outputs: list[dict[str, Any]] = []
        if printed.getvalue():
            lines = printed.getvalue().splitlines(keepends=True)
            outputs.append({"output_type": "stream", "name": "stdout", "text": lines})
        for figure in pyplot.get_fignums():
            picture = io.BytesIO()
            pyplot.figure(figure).savefig(picture, dpi=60, bbox_inches="tight")
            data = {"image/png": base64.b64encode(picture.getvalue()).decode()}
            outputs.append({"output_type": "display_data", "metadata": {}, "data": data})
        pyplot.close("all")
        cells.append({**cell, "outputs": outputs})
    return {**notebook, "cells": cells}


def on_files(files: Any, *, config: Any, **_: Any) -> Any:
    """Add the pages and pictures when the site is built."""
    from mkdocs.structure.files import File

    for path in sorted(Path(config.docs_dir, "notebooks").glob("*.ipynb")):
        markdown, pictures = page(json.loads(path.read_text()), path.stem)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=markdown))
        for name, content in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


if __name__ == "__main__":
    for file in sys.argv[1:]:
        notebook = executed(json.loads(Path(file).read_text()))
        Path(file).write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
