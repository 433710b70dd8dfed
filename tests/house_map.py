"""The map in ARCHITECTURE.md: `python tests/house_map.py` writes it anew from the modules' first sentences."""

import argparse
import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("vdt_mlx", "physics_sim", "weights", "evals")
BEGIN, END = "<!-- map: python tests/house_map.py -->\n```text\n", "```\n<!-- end of map -->\n"
WIDTH = 114


def modules() -> list[Path]:
    """Every module, relative to the root, folder by folder; what is above comes before what is in folders."""
    found = [path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py")]
    return sorted(found, key=lambda path: (PACKAGES.index(path.parts[0]), path.parent.parts, path.name))


def sentence(path: Path) -> str:
    """The first sentence of a module's docstring, on one line."""
    text = ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8"))) or ""
    return re.split(r"(?<=\.)\s", " ".join(text.split("\n\n")[0].split()))[0].rstrip(".:")


def draw() -> str:
    """The map's lines: a folder with what it is for, then its modules."""
    lines: list[str] = []
    for path in modules():
        depth = len(path.parts) - 1
        if path.name == "__init__.py":
            lines += ["" if depth == 1 and lines else None, f"{'/'.join(path.parts[:-1])}/"]  # type: ignore[list-item]
            lines[-1] = f"{lines[-1]:24} {sentence(path)}"
        else:
            lines.append(f"    {path.name:20} {sentence(path)}")
    return "".join(f"{cut(line)}\n" for line in lines if line is not None)


def cut(line: str) -> str:
    """At a word's end, where it is too long for a page."""
    return line if len(line) <= WIDTH else line[:WIDTH].rsplit(" ", 1)[0].rstrip(",;:") + " ..."


def named(text: str) -> list[str]:
    """The modules that a map names, as paths; a folder stands for its `__init__.py`."""
    block = text[text.index(BEGIN) + len(BEGIN) : text.index(END)]
    folder, found = "", []
    for line in block.splitlines():
        if not line.strip():
            continue
        name = line.split()[0]
        if line.startswith(" "):
            found.append(f"{folder}{name}")
        else:
            folder = name
            found.append(f"{folder}__init__.py")
    return found


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    page = ROOT / "ARCHITECTURE.md"
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    page.write_text(before + BEGIN + draw() + END + rest.split(END)[1], encoding="utf-8")
