"""The page's modules: their types (JSDoc, read by TypeScript) and their style (eslint), and what the page loads.

The checkers come from npm: `npm ci` in the folder `javascript` beside this file, once. A hosted machine does so in
`.github/workflows/tests.yml`; without them the checks are skipped, and what needs no checker is tested all the same.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

TOOLS = Path(__file__).parent / "javascript"
WEB = Path(__file__).parents[3] / "vdt_mlx" / "play" / "web"
MODULES = sorted(path.name for path in WEB.glob("*.js"))


@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm")
@pytest.mark.skipif(not (TOOLS / "node_modules").is_dir(), reason=f"run `npm ci` in {TOOLS.name}/ for it")
@pytest.mark.parametrize("check", ["types", "lint"])
def test_types_and_style(check: str) -> None:
    done = subprocess.run(["npm", "run", "--silent", check], cwd=TOOLS, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_what_its_neighbours_export(name: str) -> None:
    text = (WEB / name).read_text(encoding="utf-8")
    for wanted, source in re.findall(r"^import \{ ([^}]+) \} from '\./([\w.]+)';$", text, re.MULTILINE):
        there = (WEB / source).read_text(encoding="utf-8")
        for word in wanted.split(", "):
            assert re.search(rf"^export (?:async )?(?:const|class|function) {word}\b", there, re.MULTILINE), word


def test_the_page_has_what_its_program_looks_for_and_loads_every_module_at_once() -> None:
    page = (WEB / "index.html").read_text(encoding="utf-8")
    ids = set(re.findall(r'\bid="([\w-]+)"', page))
    program = "".join((WEB / name).read_text(encoding="utf-8") for name in MODULES)
    wanted = set(re.findall(r"(?:\$|input|button|write|getElementById)\('([a-z][\w-]*)'", program))
    assert wanted <= ids, wanted - ids
    loaded = set(re.findall(r'(?:href|src)="static/(\w+\.js)"', page))
    assert loaded == set(MODULES) - {"types.js"}, "types.js has nothing that runs"
    assert page.count("KNOWN") == 1
