"""Check a built site: every link, picture and anchor within it exists, and no page asks another host for anything.

python docs/check_links.py site
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("video", "src"), ("audio", "src")}
"""Tags and attributes that a browser requests by itself; of ``link`` all but canonical addresses and the like."""
_NOT_REQUESTED = {"canonical", "next", "prev", "edit", "author", "license"}


class _Page(HTMLParser):
    """The anchors of a page, what it links to and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag names."""
        values = {name: value for name, value in attrs if value is not None}
        self.anchors.update(values[key] for key in ("id", "name") if key in values)
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag == "link" and not _NOT_REQUESTED & set(values.get("rel", "").split()):
            self.loaded.append(values.get("href", ""))
        self.loaded += [value for key, value in values.items() if (tag, key) in _LOADED]

    handle_startendtag = handle_starttag


def faults(site: Path) -> list[str]:
    """Return what is wrong with a site, a line each.

    Args:
        site: Directory that mkdocs built.
    """
    pages = {path.resolve(): _Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        shown = path.relative_to(site.resolve())
        found += [f"{shown}: loads {url} from another host" for url in page.loaded if urlsplit(url).netloc]
        for url in [*page.links, *page.loaded]:
            parts = urlsplit(url)
            if parts.scheme or parts.netloc:
                continue
            base = site.resolve() if parts.path.startswith("/") else path.parent
            target = (base / unquote(parts.path).lstrip("/")).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.is_file():
                found.append(f"{shown}: {url}: there is no such file")
            elif anchor and target in pages and anchor not in pages[target].anchors:
                found.append(f"{shown}: {url}: there is no such anchor")
    return found


def main(arguments: list[str]) -> int:
    """Print the faults of a site; return the exit status."""
    site = Path(arguments[0])
    if not any(site.rglob("*.html")):
        print(f"{site}: no pages", file=sys.stderr)
        return 1
    found = faults(site)
    for fault in found:
        print(fault, file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
