"""Random episodes: the wall holds, whatever the field does."""

import pytest

from benchmarks.episodes import fly, summary
from mmdtwin.config import load_scenario

AREA = "contact"
SCENARIOS = ("bead-bifurcation", "soft-sheet-bifurcation")


@pytest.mark.parametrize(
    "episodes", [pytest.param(8, id="few"), pytest.param(500, id="many", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_leaves_the_vessel(scenario, episodes, claim):
    """20 um: what facets of 0.1 mm and one substep at a quarter of the size leave between them;
    half of a sheet's thickness is where its middle would be in the wall."""
    found = summary(fly(load_scenario(scenario), range(1000, 1000 + episodes), jobs=2))
    p99, most = found["penetration_p99_um"], found["penetration_max_um"]
    assert found["in_contact"] > 0.2 * found["substeps"]  # or the wall was not tried
    assert claim(
        "random fields do not push a device through the wall",
        parameters=f"`{scenario}`, {episodes} episodes of 2 s, fields up to 10 mT, default step",
        reference="contacts with the wall's facets, every substep",
        acceptance="99 % of substeps in contact within 20 um, all within 92.5 um (half of the "
        "sheet's thickness); no escape, no physics error",
        result=f"{p99:.1f} um, {most:.1f} um, {found['escapes']} escapes, {found['errors']} errors",
        holds=p99 <= 20.0 and most <= 92.5 and not found["escapes"] and not found["errors"],
    )
