"""Claims: the validation report is what the tests that check the models record.

A test that takes the `claim` fixture states what it checks, against what, within what, and what it
found. `make validation` runs these tests and writes `docs/validation/` from their statements, so
that no figure there can differ from the one that was checked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

DPI = 80  # of the figures


@dataclass(frozen=True)
class Claim:
    """One statement of the report; all fields are Markdown."""

    area: str  # what it is about: the device, or vessels, flow, patient
    claim: str
    parameters: str  # with units and their source
    reference: str  # what it is compared with, with its source
    acceptance: str  # and why it is this much
    result: str
    holds: bool
    limits: str  # where the model is not valid, or what was not reached
    figure: str  # file name, or empty


class Claims:
    """States claims for the report, and fails the test where one does not hold."""

    def __init__(self, area: str, name: str, folder: Path | None, record: Callable) -> None:
        self._area, self._name, self._folder, self._record = area, name, folder, record
        self._count = 0

    def __call__(
        self,
        claim: str,
        *,
        parameters: str,
        reference: str,
        acceptance: str,
        result: str,
        holds: bool,
        limits: str = "",
        draw: Callable[[Any], None] | None = None,
    ) -> bool:
        """State a claim; return whether it holds. `draw` fills matplotlib axes for a figure."""
        figure = self._draw(claim, draw)
        holds = bool(holds)
        stated = Claim(
            self._area, claim, parameters, reference, acceptance, result, holds, limits, figure
        )
        self._record("claim", asdict(stated))
        if not holds:
            pytest.fail(f"{claim}: {result}; accepted is {acceptance}")
        return True

    def _draw(self, title: str, draw: Callable[[Any], None] | None) -> str:
        if draw is None or self._folder is None:
            return ""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        draw(axes)
        axes.set_title(title, fontsize=9)
        self._count += 1
        name = f"{self._area}-{self._name}-{self._count}.png"
        folder = self._folder / "images"
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / name, dpi=DPI)
        return name


@pytest.fixture
def claim(request: pytest.FixtureRequest, record_property: Callable) -> Claims:
    """Return what states claims for the validation report."""
    area = getattr(request.module, "AREA", request.module.__name__.split("test_")[-1])
    folder = request.config.getoption("validation")
    name = request.node.name.removeprefix("test_").replace("_", "-")
    name = "".join(c if c.isalnum() or c == "-" else "-" for c in name)[:60].strip("-")
    return Claims(area, name, Path(folder) if folder else None, record_property)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--validation", metavar="DIR", help="write the validation report to DIR")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --validation, run the tests that state claims, and only those."""
    if not config.getoption("validation"):
        return
    stating = [item for item in items if "claim" in getattr(item, "fixturenames", ())]
    kept = set(map(id, stating))
    config.hook.pytest_deselected(items=[item for item in items if id(item) not in kept])
    items[:] = stating


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Write the report from what the tests recorded; print its figures."""
    folder = config.getoption("validation")
    if not folder or hasattr(config, "workerinput"):
        return
    reports = [r for kind in terminalreporter.stats.values() for r in kind]
    claims = [
        Claim(**value)
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == "claim"
    ]
    by_area: dict[str, list[Claim]] = defaultdict(list)
    for stated in sorted(claims, key=lambda c: (c.area, c.claim, c.parameters)):
        by_area[stated.area].append(stated)
    Path(folder).mkdir(parents=True, exist_ok=True)
    for area, stated in by_area.items():
        (Path(folder) / f"{area}.md").write_text(_page(area, stated))
    (Path(folder) / "README.md").write_text(_index(by_area))
    for stated in claims:
        mark = "ok  " if stated.holds else "NOT "
        terminalreporter.write_line(f"{mark}{stated.area}: {stated.claim}: {stated.result}")


def _index(by_area: Mapping[str, list[Claim]]) -> str:
    lines = [
        "# Validation",
        "",
        "What the models claim, what each claim was compared with, and what was found. Written by",
        "`make validation` from the tests that check it; parameters, limits and figures are on the",
        "pages of the areas.",
        "",
        "| area | claim | accepted | found | holds |",
        "|---|---|---|---|---|",
    ]
    for area, stated in by_area.items():
        for c in stated:
            holds = "yes" if c.holds else "**no**"
            lines.append(
                f"| [{area}]({area}.md) | {c.claim} | {c.acceptance} | {c.result} | {holds} |"
            )
    return "\n".join(lines) + "\n"


def _page(area: str, stated: list[Claim]) -> str:
    parts = [f"# Validation: {area}\n"]
    for c in stated:
        rows = [
            ("parameters", c.parameters),
            ("reference", c.reference),
            ("accepted", c.acceptance),
            ("found", f"{c.result} ({'holds' if c.holds else '**does not hold**'})"),
            ("limits", c.limits),
        ]
        body = "\n".join(f"- {name}: {text}" for name, text in rows if text)
        figure = f"\n![{c.claim}](images/{c.figure})\n" if c.figure else ""
        parts.append(f"## {c.claim}\n\n{body}\n{figure}")
    return "\n".join(parts)
