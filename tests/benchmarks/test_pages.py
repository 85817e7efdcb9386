"""The pages that people read: links that lead somewhere, a tree without gaps, figures that have a place."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
PACKAGES = ("simulator", "policies", "allocation", "metrics", "experiments", "benchmarks")


def headings(page: Path) -> set[str]:
    """Addresses of a page's headings, as GitHub makes them."""
    found = re.findall(r"(?m)^#{1,6} (.+)$", page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file that is there, and every place in a page is one of its headings."""
    text = re.sub(r"(?s)```.*?```", "", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", target):
            continue
        path, _, place = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not place or place in headings(linked), target


def test_the_tree_names_every_file() -> None:
    """Every module and every config of the packages stands in the tree with what it is for."""
    tree = (ROOT / "docs/tree.md").read_text(encoding="utf-8")
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*") if "__pycache__" not in file.parts]
    missing = [
        str(file.relative_to(ROOT))
        for file in files
        if file.suffix in (".py", ".yaml") and file.name != "__init__.py" and file.name not in tree
    ]
    assert missing == []


def test_figures_have_one_place() -> None:
    """A block of figures begins and ends, and no name of one is used twice."""
    names = []
    for page in [ROOT / "README.md", *(ROOT / "docs/guide").glob("*.md")]:
        text = page.read_text(encoding="utf-8")
        blocks = re.findall(r"(?s)<!-- figures: (\w+) -->(.*?)<!-- end figures -->", text)
        assert len(blocks) == text.count("<!-- figures:") == text.count("<!-- end figures -->")
        assert all(body.strip() for _, body in blocks)
        names += [name for name, _ in blocks]
    assert len(names) == len(set(names)) > 10
