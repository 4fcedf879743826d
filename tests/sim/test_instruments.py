"""Instruments and contents of vessels as bodies in a scene."""

from functools import cache

import numpy as np
import pytest
import yaml

from mmdtwin.config import load_scenario, names, read
from mmdtwin.errors import ConfigError, UserError
from mmdtwin.frame import Projection
from mmdtwin.geometry import apply, arclength, transform
from mmdtwin.sim import World
from mmdtwin.sim.instruments import instrument_bodies, on_table
from mmdtwin.sim.phantoms import build_vessel
from mmdtwin.sim.shapes import Solids, Wire
from mmdtwin.synth.xray.materials import attenuation
from mmdtwin.synth.xray.path_lengths import covered_roi, path_lengths

SCENARIO = "soft-sheet-bifurcation"
IN_VESSEL = ("catheter-4f", "microcatheter", "guidewire-014", "guidewire-steel", "stent-nitinol")
VIEW = Projection.from_carm(1.1, 0.75, 0.3e-3, (300, 300))
FACETS = 30e-6  # m within which a wall of facets is known


@cache
def vessel(phantom="bifurcation"):
    return build_vessel(load_scenario(SCENARIO, phantom=phantom).phantom)


def scenario(*assignments):
    return load_scenario(SCENARIO, assignments)


def config(preset, **changes):
    """An instrument's configuration, with changes, as a scenario reads it."""
    item = yaml.safe_dump({"preset": preset, **changes}, default_flow_style=True, width=1e6).strip()
    return scenario(f"instruments=[{item}]").instruments[0]


def bodies(preset, phantom="bifurcation", contents="blood", **changes):
    return instrument_bodies(config(preset, **changes), vessel(phantom).map, contents)


def depth(bodies):
    """What bodies add to the exponent of 60 keV's attenuation, in an image."""
    total = np.zeros(VIEW.shape)
    for body in bodies:
        mu = attenuation(body.material, 60.0) - attenuation(body.displaces, 60.0)
        total += mu * path_lengths(body, VIEW, (0, VIEW.shape[0], 0, VIEW.shape[1]))[0]
    return total


@pytest.mark.parametrize("preset", names("instruments"))
def test_every_preset_is_of_known_materials_and_of_sizes_that_fit(preset):
    found = bodies(preset, contents="water")
    assert found
    for body in found:
        assert attenuation(body.material, np.array([60.0])) > 20.0  # 1/m, as water
        place = body.points if isinstance(body, Wire) else body.centre
        assert np.abs(place).max() < 0.12
        outside = "soft-tissue" if preset == "clip-titanium" else "air"
        assert body.displaces == ("water" if preset in IN_VESSEL else outside)
    assert on_table(config(preset)) == (preset in ("ecg-lead", "ruler-beads"))


@pytest.mark.parametrize("branch", ["trunk", "left", "right"])
@pytest.mark.parametrize("preset", IN_VESSEL)
def test_what_is_in_the_vessel_is_in_its_lumen(preset, branch):
    """Every point of every wire is its radius or more from the wall, on each side of the lumen."""
    for angle in (0.0, 2.0, 4.0):
        turned = {} if preset == "stent-nitinol" else {"angle": angle, "offset": 1.0}
        for body in bodies(preset, branch=branch, **turned):
            assert vessel().sdf(body.points).min() > body.radius - FACETS


def test_instruments_lie_in_vessels_that_nobody_drew():
    for body in bodies("microcatheter", "random-tree", branch="ba", depth=4e-3):
        assert vessel("random-tree").sdf(body.points).min() > body.radius - FACETS
    for body in bodies("microcatheter", "ct-aorta", branch="left-carotid", depth=10e-3):
        assert vessel("ct-aorta").sdf(body.points).min() > body.radius - FACETS


@pytest.mark.parametrize(("branch", "depth"), [("left", 0.012), ("trunk", 0.015), ("right", 0.02)])
def test_it_reaches_from_the_inlet_to_its_depth(branch, depth):
    """Depth counts from the end of the branch that is nearer to the inlet; corners that are cut
    where branches meet may cost a radius."""
    (wire,) = bodies("guidewire-steel", branch=branch, depth=depth, offset=0.0)
    lumen = vessel().map.branches
    assert wire.points[0] == pytest.approx(lumen["trunk"].points[0], abs=1e-9)
    assert wire.points[-1] == pytest.approx(lumen[branch].at(depth)[0], abs=1e-4)
    whole = depth + (0.0 if branch == "trunk" else lumen["trunk"].length)
    assert arclength(wire.points)[-1] == pytest.approx(whole, abs=2e-3)


def test_offset_takes_it_to_the_wall():
    middle, aside = (bodies("guidewire-steel", offset=x)[0] for x in (0.0, 1.0))
    gap = [vessel().sdf(wire.points).mean() - wire.radius for wire in (middle, aside)]
    assert gap[0] > 1.5e-3 and gap[1] < 0.2e-3


def test_a_catheters_marker_is_at_its_tip():
    tube, band = bodies("catheter-4f")
    assert (tube.radius, tube.inner) == (1.33e-3 / 2, 0.97e-3 / 2)
    assert band.inner == tube.radius and band.radius == pytest.approx(tube.radius + 50e-6)
    assert arclength(band.points)[-1] == pytest.approx(1e-3, rel=1e-6)
    tip = np.linalg.norm(band.points[-1] - tube.points[-1])
    assert tip == pytest.approx(0.5e-3, rel=0.02)
    assert bodies("catheter-4f", marker=None)[0].radius == tube.radius


def test_a_guidewires_coil_has_the_mass_of_its_turns():
    """A turn of wire w wide along a helix of touching turns: volume pi/4 w^2 times the length of
    the helix, which is about 2 pi (R - w/2) per w of the coil."""
    shaft, core, coil = bodies("guidewire-014")
    w, mean = 60e-6, 0.36e-3 / 2 - 30e-6
    turns = 10e-3 / w
    expected = np.pi / 4 * w**2 * 2 * np.pi * mean * turns
    assert arclength(coil.points)[-1] == pytest.approx(10e-3, rel=1e-6)
    volume = np.pi * (coil.radius**2 - coil.inner**2) * 10e-3
    assert volume == pytest.approx(expected, rel=1e-3)
    assert core.radius < coil.inner and coil.radius == shaft.radius
    assert shaft.points[-1] == pytest.approx(core.points[0])


def test_a_stent_rests_against_the_wall_and_no_wider_than_it_is():
    held, free = bodies("stent-nitinol", branch="left"), bodies("stent-nitinol", diameter=2e-3)
    assert len(held) == len(free) == 16
    gaps = np.concatenate([vessel().sdf(wire.points) - wire.radius for wire in held])
    assert gaps.min() > -FACETS and gaps.mean() < 0.1e-3
    middle = vessel().map.branches["trunk"]
    distance = np.linalg.norm(free[0].points[:, None] - middle.points, axis=2).min(axis=1)
    assert distance == pytest.approx(1e-3 - 0.05e-3, abs=0.02e-3)


def test_beads_of_a_ruler_are_evenly_spaced():
    (beads,) = bodies("ruler-beads", direction=[0, 3, 0], count=4, spacing=5e-3)
    assert isinstance(beads, Solids)
    assert np.diff(beads.centre, axis=0) == pytest.approx(np.tile([0, 5e-3, 0], (3, 1)))


@pytest.mark.parametrize("points", [2, 5])
def test_a_lead_goes_through_its_points(points):
    given = np.array(config("ecg-lead").lead)[:points]
    snap, wire = bodies("ecg-lead", lead=given.tolist())
    assert snap.centre[0] == pytest.approx(given[0])
    gaps = np.linalg.norm(wire.points[:, None] - given, axis=2).min(axis=0)
    assert gaps.max() < 1.1e-3  # half the spacing of the wire's points


@pytest.mark.parametrize(
    ("preset", "changes", "message"),
    [
        ("catheter-4f", {"branch": "aorta"}, "unknown branch 'aorta'; allowed: trunk, left, right"),
        ("catheter-4f", {"depth": 0.05}, "depth 50.00 mm is beyond the end"),
        ("catheter-4f", {"depth": 0.0}, "at the inlet"),
        ("catheter-4f", {"depth": 1e-3}, "too short for its marker"),
        ("catheter-4f", {"diameter": 5e-3}, "5.10 mm wide does not fit the lumen"),
        ("stent-nitinol", {"length": 0.03}, "stent: 30.00 mm long"),
        ("stent-nitinol", {"wire_diameter": 4.5e-3, "diameter": 10e-3}, "thicker than the lumen"),
    ],
)
def test_what_does_not_fit_is_refused(preset, changes, message):
    with pytest.raises(UserError, match=message) as error:
        bodies(preset, **changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["instruments=[nothing]"], "unknown name 'nothing'; known: catheter-4f"),
        (["instruments=[catheter-4f]", "instruments.1.depth=1"], "no item '1'.*allowed: 0 to 0"),
        (["instruments.0.depth=1"], "instruments"),
        (["instruments=[{kind: spoon}]"], "instruments.0.*'spoon'"),
        (["instruments=[{preset: catheter-4f, colour: red}]"], "colour: unknown key; allowed"),
        (["instruments=[{preset: catheter-4f, diameter: 1.33}]"], "is it in mm"),
        (["instruments=[{preset: catheter-4f, inner_diameter: 2.0e-3}]"], "less than the diameter"),
        (["instruments=[{preset: guidewire-014, diameter: 0.1e-3}]"], "wider than the guidewire"),
        (["instruments=[{preset: stent-nitinol, wire_diameter: 3.0e-3}]"], "less than half"),
        (["instruments=[{preset: ruler-beads, direction: [0, 0, 0]}]"], "must not be zero"),
        (["instruments=[{preset: clip-titanium, across: [0.6, 0.8, 0]}]"], "nor parallel"),
        (["instruments=[{preset: ecg-lead, lead: [[0, 0, 0], [0, 0, 0]]}]"], "twice in a row"),
        (["instruments=[3]"], "instruments.0"),
        (["phantom.contents="], "phantom.contents"),
    ],
)
def test_bad_configurations_say_what_is_allowed(assignments, message):
    with pytest.raises(ConfigError, match=message) as error:
        scenario(*assignments)
    assert "\n" not in str(error.value)


def test_instruments_are_named_changed_and_found_beside_the_scenario(tmp_path, monkeypatch):
    data, _ = read("scenarios", SCENARIO)
    wire, _ = read("instruments", "guidewire-steel")
    (tmp_path / "wire.yaml").write_text(yaml.safe_dump({**wire, "diameter": 0.5e-3}))
    items = ["wire.yaml", {"preset": "catheter-4f", "depth": 4e-3}, {**wire, "angle": 1.0}]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**data, "instruments": items}))
    monkeypatch.chdir("/")
    found = load_scenario(tmp_path / "mine.yaml", ["instruments.1.depth=0.005"]).instruments
    assert [i.kind for i in found] == ["guidewire", "catheter", "guidewire"]
    assert (found[0].diameter, found[1].depth, found[2].angle) == (0.5e-3, 0.005, 1.0)
    replaced = load_scenario(tmp_path / "mine.yaml", ["instruments=ruler-beads"]).instruments
    assert [i.kind for i in replaced] == ["ruler"]
    assert scenario().instruments == ()


def test_without_instruments_and_with_blood_a_scene_holds_the_device():
    world = World.from_config(scenario())
    scene = world.scene()
    assert scene.instruments == () and scene.lumen is None
    assert [body.displaces for body in scene.device] == ["blood"]
    world.close()


def test_contents_fill_the_lumen_and_are_what_bodies_displace():
    """Contents in the vessel at rest, in tissue. A device of silicone in contrast medium is bright:
    it takes away more than it brings."""
    world = World.from_config(
        scenario(
            "phantom.contents=iodine:300", "instruments=[catheter-4f]", "device.material=silicone"
        )
    )
    world.T_world_rest = shift = transform(translation=[1e-3, 2e-3, 3e-3])
    scene = world.scene()
    lumen = scene.lumen
    assert (lumen.material, lumen.displaces) == ("iodine:300", "soft-tissue")
    assert lumen.vertices == pytest.approx(apply(shift, world.vessel.vertices))
    assert world.scene().lumen is lumen
    for body in (*scene.device, *scene.instruments):
        assert body.displaces == "iodine:300"
    (device,) = scene.device
    roi = covered_roi(device, VIEW)
    beside, through = (
        np.exp(-depth(b))[roi[0] : roi[1], roi[2] : roi[3]] for b in ((lumen,), (lumen, device))
    )
    assert np.all(through >= beside) and (through / beside).max() > 1.02
    assert beside.min() < 0.6  # the lumen itself is dark
    world.T_world_rest = np.eye(4)
    assert world.scene().lumen.vertices == pytest.approx(world.vessel.vertices)
    world.close()


def test_instruments_in_the_vessel_move_with_the_anatomy():
    """Those on the table stay; what has not moved is not placed anew."""
    config = scenario("patient=anaesthetised-rabbit", "instruments=[guidewire-steel, ruler-beads]")
    world = World.from_config(config)
    wire, beads = world.scene().instruments
    world.held = True
    world.step(0.4)
    scene = world.scene()
    moved, stayed = scene.instruments
    shift = moved.points - wire.points
    assert np.abs(shift - shift[0]).max() < 1e-12
    assert np.linalg.norm(shift[0]) > 0.1e-3
    at_rest = apply(world.T_world_rest, bodies("guidewire-steel")[0].points)
    assert moved.points - at_rest == pytest.approx(np.tile(scene.displacement, (len(shift), 1)))
    assert stayed is beads
    assert world.scene().instruments is scene.instruments
    world.close()


def test_the_physics_does_not_feel_instruments():
    ends = []
    for items in ("[]", "[{preset: catheter-4f, depth: 0.02, offset: 0.0}]"):
        world = World.from_config(scenario(f"instruments={items}"))
        world.step(0.05)
        ends.append(world.state().nodes)
        world.close()
    assert np.array_equal(*ends)
