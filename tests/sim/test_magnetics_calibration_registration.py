"""Registration of the sensor's stage by fiducials: the motion, and how well it is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mmdtwin.errors import UserError
from mmdtwin.geometry import transform
from mmdtwin.sim.magnetics.calibration.registration import read_fiducials, register


@settings(max_examples=25, deadline=None)
@given(
    turn=st.tuples(*[st.floats(-1.5, 1.5)] * 3),
    shift=st.tuples(*[st.floats(-0.5, 0.5)] * 3),
    seed=st.integers(0, 100),
)
def test_registration_finds_any_rigid_motion(tmp_path_factory, turn, shift, seed):
    """Exact fiducials give the motion to rounding."""
    T = transform(Rotation.from_rotvec(turn).as_matrix(), shift)
    stage = np.random.default_rng(seed).normal(size=(5, 3)) * 0.05
    path = tmp_path_factory.mktemp("fiducials") / "fiducials.csv"
    table = np.hstack([stage, stage @ T[:3, :3].T + T[:3, 3]])
    header = "x,y,z,x_coils,y_coils,z_coils"
    np.savetxt(path, table, delimiter=",", header=header, comments="", fmt="%.17g")
    registration = read_fiducials(path)
    assert np.abs(registration.T_coils_stage - T).max() < 1e-12
    assert registration.rms < 1e-14 and len(registration.fiducials) == 5
    assert np.abs(registration.origin - shift).max() < 1e-12
    assert np.abs(Rotation.from_rotvec(registration.turn).as_matrix() - T[:3, :3]).max() < 1e-12
    assert registration.errors_at(stage).max() < 1e-13


@pytest.mark.parametrize("n", [4, 6])
def test_errors_are_those_of_repeated_registrations(n):
    """400 registrations with noise of 0.1 mm: scatter at and far from the fiducials' centre.

    A standard deviation of 400 is good to 1 / sqrt(800) = 3.5 %; an error from 3 n - 6 numbers
    scatters, but its mean square over 400 does so by sqrt(2 / (400 x 6)) = 3 %. So 15 % is four of
    both. The farther point's error is 3 times the centre's and more.
    """
    rng = np.random.default_rng(n)
    stage = rng.normal(size=(n, 3)) * 0.03
    points = np.vstack([stage.mean(axis=0), [0.0, 0.0, 0.0], [0.2, -0.1, 0.1]])
    found, said = [], []
    for _ in range(400):
        registration = register(stage, stage + rng.normal(0, 1e-4, stage.shape))
        T = registration.T_coils_stage
        found.append(points @ T[:3, :3].T + T[:3, 3] - points)
        said.append(registration.errors_at(points) ** 2)
    scatter, errors = np.sqrt(np.mean(np.square(found), axis=0)), np.sqrt(np.mean(said, axis=0))
    assert errors == pytest.approx(scatter, rel=0.15)
    assert errors[0] == pytest.approx(np.full(3, 1e-4 / np.sqrt(n)), rel=0.15)
    assert errors[2].max() > 3 * errors[0].max()


def test_three_fiducials_leave_the_error_unknown():
    """Noise across their plane is taken up whole: nothing remains of it, however large."""
    stage = np.array([[0.0, 0, 0], [0.05, 0, 0], [0, 0.05, 0]])
    registration = register(stage, stage + np.outer([1e-5, -2e-5, 1e-5], [0, 0, 1]))
    assert registration.rms < 1e-8
    assert registration.errors_at(stage) is None


def test_fiducials_on_a_line(tmp_path):
    path = tmp_path / "fiducials.csv"
    rows = "".join(f"{k},0,0,{k},0,0\n" for k in range(4))
    path.write_text("x,y,z,x_coils,y_coils,z_coils\n" + rows)
    with pytest.raises(UserError, match=r"4 fiducials; at least 3 are needed that do not lie"):
        read_fiducials(path)
