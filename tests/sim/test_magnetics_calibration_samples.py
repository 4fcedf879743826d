"""Samples for a calibration: what is refused, with the row, the number or the unit named."""

from dataclasses import replace

import numpy as np
import pytest

from mmdtwin.config.base import load
from mmdtwin.config.coils import CoilsConfig
from mmdtwin.errors import UserError
from mmdtwin.sim.magnetics.calibration.calibrate import calibrate
from mmdtwin.sim.magnetics.calibration.samples import Samples, check, read_samples
from mmdtwin.sim.magnetics.calibration.study import Hidden, HiddenSystem


@pytest.fixture(scope="module")
def octomag():
    return load(CoilsConfig, "coils", "octomag-like")


@pytest.fixture(scope="module")
def navion():
    return load(CoilsConfig, "coils", "navion-like")


def scattered(n, c, seed=0):
    rng = np.random.default_rng(seed)
    fields = rng.normal(size=(n, 3)) * 1e-2
    return Samples(rng.normal(size=(n, 3)) * 0.01, rng.uniform(-10, 10, (n, c)), fields)


def test_too_few_samples(octomag):
    """8 coils with 10 unknowns each and 6 of the sensor, twice over: 172 numbers, 58 rows."""
    with pytest.raises(UserError, match=r"57 samples are too few for 8 coils; at least 58"):
        calibrate(scattered(57, 8), octomag)


def test_currents_that_do_not_tell_coils_apart():
    samples = scattered(100, 5)
    samples.currents[:, 3] = -2 * samples.currents[:, 1]
    with pytest.raises(UserError, match=r"coils 2, 4 always keep one proportion.* 5 independent"):
        check(samples, 10)
    samples.currents[:, 3] = 0
    with pytest.raises(UserError, match=r"coil 4 never carries a current"):
        check(samples, 10)


@pytest.mark.parametrize(("flat", "shape"), [(1, "a plane"), (2, "a line"), (3, "one point")])
def test_positions_that_do_not_span_space(flat, shape):
    samples = scattered(100, 3)
    samples.positions[:, :flat] = 0.01
    with pytest.raises(UserError, match=f"positions lie on {shape}; they must span three"):
        check(samples, 10)


def test_parametric_needs_a_drawing():
    with pytest.raises(UserError, match=r"--model parametric: needs a coil system"):
        calibrate(scattered(100, 3), None, rigid=True)


def test_samples_inside_the_windings_are_refused(octomag):
    samples = scattered(100, 8)
    samples.positions[7] = [0.07, 0.0, 0.0]
    with pytest.raises(UserError, match=r"row 8: 70.0 mm from the centre .* 66.1 mm"):
        calibrate(samples, octomag)


def test_fields_in_another_unit_are_refused(navion):
    samples, _ = HiddenSystem(navion, Hidden(samples=100), seed=1).measure()
    with pytest.raises(UserError, match=r"times those of the coils as drawn.*mT\?"):
        calibrate(replace(samples, fields=1e3 * samples.fields), navion)


def test_samples_must_surround_the_centre(navion):
    """Fields of samples all above z = 10 mm say nothing about the ball around the centre."""
    samples, _ = HiddenSystem(navion, Hidden(samples=100), seed=1).measure()
    centred = samples.positions - samples.positions.mean(axis=0)
    lowest = centred[:, 2].min()
    up = np.array([0.0, 0.0, 1.0])
    above = replace(samples, positions=centred + (10e-3 - lowest) * up)
    message = rf"centre .* at least 1\d\.\d mm outside .*0\.0, {10 - lowest * 1e3:.1f}\] mm"
    with pytest.raises(UserError, match=message):
        calibrate(above, navion)
    touching = replace(samples, positions=centred - (lowest + 2e-3) * up)
    with pytest.raises(UserError, match=r"samples around it to \d\.\d mm only.*a tenth"):
        calibrate(touching, navion)


HEADER = "x,y,z,i1,i2,bx,by,bz\n"
ROW = "0.01,0,0,1,2,1e-3,0,0\n"


@pytest.mark.parametrize(
    ("text", "n_coils", "message"),
    [
        ("", None, "no rows"),
        (HEADER, None, "no rows"),
        ("# a comment\n" + HEADER, None, "no rows"),
        ("x,y,i1,bx,by,bz\n1,1,1,1,1,1\n", None, "columns missing: z;"),
        ("x,y,z,bx,by,bz\n1,1,1,1,1,1\n", None, "columns missing: i1;"),
        ("x,y,z,i1,i3,bx,by,bz\n" + ROW, None, "missing: i2; unknown: i3"),
        (HEADER.replace("bz", "bz,t") + ROW.replace("\n", ",1\n"), None, "unknown: t"),
        (HEADER.replace("i2", "i1") + ROW, None, "twice: i1"),
        (HEADER + ROW, 3, "currents of 2 coils (i1..i2); the coil system has 3"),
        (HEADER + ROW + "0,0\n", None, "line 3: 2 columns; the header has 8"),
        ("# c\n" + HEADER + ROW + ROW.replace("2", "nan") + ROW.replace("0,0,1", "0,,1"), None,
         "rows 2, 3 (line 4): a value is not a finite number"),
        (HEADER + ROW.replace("0.01", "-12"), None, "row 1 (line 2): a position above 1 m; positi"),
        (HEADER + ROW.replace("1e-3", "35"), None, "a field above 10 T; fields are in T (mT?)"),
        (HEADER + ROW.replace("1,2", "1,2000"), None, "a current above 1000 A; currents are in A"),
        (HEADER + ROW.replace("1e-3", "1.5"), None, "0.67 T/A; coils make less than 0.5; field"),
    ],
)  # fmt: skip
def test_faults_of_files_are_named_on_one_line(tmp_path, text, n_coils, message):
    path = tmp_path / "samples.csv"
    path.write_text(text)
    with pytest.raises(UserError) as error:
        read_samples(path, n_coils)
    assert message in str(error.value) and str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_glitch_or_a_strong_magnet_is_not_taken_for_another_unit(tmp_path):
    """A reading of 5 T among others, and 2 T of iron poles at 10 A: what a robust fit is for."""
    path = tmp_path / "samples.csv"
    path.write_text(HEADER + 9 * ROW + ROW.replace("1e-3", "5") + ROW.replace("1e-3", "0"))
    assert len(read_samples(path)) == 11
    path.write_text(HEADER + 9 * ROW.replace("1,2", "10,0").replace("1e-3", "2"))
    assert len(read_samples(path)) == 9
    path.write_text(HEADER + ROW.replace("1,2", "0,0"))  # idle coils are for `check` to refuse
    assert len(read_samples(path)) == 1


@pytest.mark.parametrize(
    "name", ["octomag-like", "minimag-like", "navion-like", "helmholtz-maxwell"]
)
def test_millitesla_are_noticed_without_a_drawing(tmp_path, name):
    """Every shipped system makes more than 0.5 mT/A, so that mT taken for T are refused."""
    system = HiddenSystem(load(CoilsConfig, "coils", name), Hidden(samples=50), seed=1)
    samples, _ = system.measure()
    names = ["x", "y", "z", *(f"i{k + 1}" for k in range(samples.n_coils)), "bx", "by", "bz"]
    path = tmp_path / "samples.csv"
    for factor in (1, 1e3):
        table = np.hstack([samples.positions, samples.currents, samples.fields * factor])
        np.savetxt(path, table, delimiter=",", header=",".join(names), comments="")
        if factor == 1:
            assert len(read_samples(path)) == 50
            continue
        with pytest.raises(UserError, match=r"mT\?"):
            read_samples(path)


def test_columns_in_any_order(tmp_path):
    path = tmp_path / "samples.csv"
    path.write_text("# from the bench\nbz,by,bx,I2,i1,z,y,x\n3,2,1,20,10,0.3,0.2,0.1\n\n")
    samples = read_samples(path)
    assert samples.positions.tolist() == [[0.1, 0.2, 0.3]]
    assert samples.currents.tolist() == [[10, 20]]
    assert samples.fields.tolist() == [[1, 2, 3]]
    assert len(samples.sha256) == 64 and samples.n_coils == 2 and len(samples) == 1
