"""The layout that DESIGN asks for: rooms as folders, linked, importable, one direction."""

import ast
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("sim", "synth", "perception", "control", "envs", "hardware", "configs")


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_is_linked_relatively(room):
    link = ROOT / "mmdtwin" / room
    assert link.is_symlink()
    assert str(link.readlink()) == f"../{room}"
    assert (ROOT / room / "__init__.py").is_file()


def test_the_import_graph_holds_every_room():
    graph = grimp.build_graph("mmdtwin", cache_dir=None)
    for room in ROOMS:
        assert f"mmdtwin.{room}" in graph.modules
    for room in ROOMS[:-1]:
        inner = [m for m in graph.modules if m.startswith(f"mmdtwin.{room}.")]
        assert len(inner) >= 2, room


def test_nobody_imports_a_room_by_its_bare_name():
    for path in ROOT.rglob("*.py"):
        if any(part.startswith(".") for part in path.relative_to(ROOT).parts):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            found = []
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found = [node.module or ""]
            assert not {name.split(".")[0] for name in found} & set(ROOMS), path


def test_command_line_starts_without_the_heavy_libraries():
    heavy = ["pybullet", "magpylib", "torch", "scipy", "numba", "cv2", "matplotlib", "gymnasium"]
    code = (
        "import sys; from mmdtwin.cli.app import app; "
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
