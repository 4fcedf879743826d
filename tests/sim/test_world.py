"""The world: going on from a snapshot, and what is left when the physics leaves its range."""

import json

import numpy as np
import pytest

from mmdtwin.config import load_scenario
from mmdtwin.errors import PhysicsError, UserError
from mmdtwin.sim import Snapshot, World

SCENARIO = load_scenario("soft-sheet-bifurcation")


@pytest.fixture(scope="module")
def world():
    w = World.from_config(SCENARIO)
    yield w
    w.close()


def start(world):
    branch = world.vessel.map.branches["trunk"]
    world.reset(branch.points[40], branch.tangents[40])


def fly(world, steps, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        world.inputs = rng.uniform(-1, 1, 8)
        world.step(1e-3)
    return world.state().nodes


def test_a_snapshot_goes_on_as_the_world_did(world, tmp_path):
    """Through a file; 1e-7 m: contacts make rounding grow tenfold every few steps."""
    start(world)
    fly(world, 300)
    world.snapshot().write(tmp_path / "state.json", seed=0)
    first = fly(world, 100, seed=1)
    start(world)
    world.restore(Snapshot.read(tmp_path / "state.json"))
    assert world.time == pytest.approx(0.3)
    again = fly(world, 100, seed=1)
    assert np.abs(again - first).max() < 1e-7
    assert np.abs(first - fly(world, 50, seed=2)).max() > 1e-6  # or nothing had moved


def test_a_broken_snapshot_is_one_line(tmp_path):
    path = tmp_path / "state.json"
    for text in ("{}", "no json", json.dumps({"time": "x"})):
        path.write_text(text)
        with pytest.raises(UserError, match=r"state\.json: not a snapshot"):
            Snapshot.read(path)


def test_a_diverging_world_is_left_at_its_last_good_state(world, monkeypatch):
    start(world)
    fly(world, 20)
    push = type(world.device).push

    def kick(device, step, ambient):
        h = push(device, step, ambient)
        device._p.applyExternalForce(device.bodies[0], -1, [np.nan] * 3, [0, 0, 0], 1)
        return h

    monkeypatch.setattr(type(world.device), "push", kick)
    before = world.last_good
    with pytest.raises(PhysicsError, match="not finite"):
        world.step(1e-3)
    assert np.isfinite(world.state().nodes).all()
    assert world.time == before.time
    monkeypatch.undo()
    fly(world, 20)  # and it goes on from there


def test_a_snapshot_of_another_scenario_is_refused(world):
    start(world)
    other = World.from_config(load_scenario("soft-sheet-bifurcation", ["device.links=12"]))
    try:
        with pytest.raises(UserError, match="another scenario"):
            world.restore(other.snapshot())
    finally:
        other.close()


@pytest.mark.parametrize(
    ("position", "direction", "words"),
    [
        ([0, 0], [1, 0, 0], "position"),
        ([0, 0, np.nan], [1, 0, 0], "position"),
        ([0, 0, 0], [0, 0, 0], "direction is zero"),
    ],
)
def test_a_start_that_is_none_is_refused(world, position, direction, words):
    with pytest.raises(UserError, match=words):
        world.reset(position, direction)


@pytest.mark.parametrize("dt", [0.0, -1e-3, np.nan, np.inf])
def test_a_step_that_is_none_is_refused(world, dt):
    start(world)
    with pytest.raises(UserError, match="dt is"):
        world.step(dt)


def test_a_device_that_fits_nowhere_at_the_start_is_refused():
    wide = load_scenario("soft-sheet-bifurcation", ["device.length=6e-3", "device.width=5e-3"])
    with pytest.raises(UserError, match=r"device: 5\.00 mm wide.*trunk.*at most"):
        World(wide)
