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


def lint_imports(config: Path) -> subprocess.CompletedProcess[str]:
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", code, "--no-cache", "--config", str(config)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_arrows_between_rooms_point_one_way():
    done = lint_imports(ROOT / "pyproject.toml")
    assert done.returncode == 0, done.stdout
    assert "0 broken" in done.stdout


def test_the_import_rules_see_the_imports(tmp_path):
    """Rules that the code does break are reported broken: directly, lazily, and through others."""
    config = tmp_path / "rules.toml"
    lines = ["[tool.importlinter]", 'root_packages = ["mmdtwin"]']
    broken = (("hardware", "sim"), ("hardware", "synth"), ("envs", "sim"), ("cli", "perception"))
    for source, target in broken:
        lines += [
            "[[tool.importlinter.contracts]]",
            f'name = "{source} without {target}"',
            'type = "forbidden"',
            f'source_modules = ["mmdtwin.{source}"]',
            f'forbidden_modules = ["mmdtwin.{target}"]',
        ]
    config.write_text("\n".join(lines))
    done = lint_imports(config)
    assert done.returncode == 1, done.stderr
    for source, target in broken:
        assert f"{source} without {target} BROKEN" in done.stdout


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
