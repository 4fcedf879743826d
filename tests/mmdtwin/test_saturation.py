"""The current law of saturating cores: slopes, limits, inverse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from mmdtwin.errors import UserError
from mmdtwin.saturation import LAWS, Saturation

laws = st.builds(
    lambda knee, share, law: Saturation.of([knee], [share], [law]),
    st.floats(0.1, 100) | st.just(np.inf),
    st.floats(0, 1),
    st.sampled_from(LAWS),
)
currents = st.floats(-300, 300)


@given(laws, currents)
def test_odd_monotone_and_never_above_the_linear_law(law, i):
    e, slope = float(law.effective([i])[0]), float(law.slope([i])[0])
    assert float(law.effective([-i])[0]) == -e
    assert abs(e) <= abs(i) * (1 + 1e-12)
    assert 0 <= slope <= 1 + 1e-12
    assert float(law.slope([0.0])[0]) == 1.0


@given(laws, currents)
def test_slope_is_the_derivative(law, i):
    """Central difference, step 1e-4 of the knee: error (h / knee)^2 / 3."""
    h = 1e-4 * float(np.minimum(law.knee[0], 100.0))
    rise = (law.effective([i + h]) - law.effective([i - h])) / (2 * h)
    assert_allclose(law.slope([i]), rise, atol=1e-7)


@given(laws, st.floats(-3, 3))
def test_inverse_undoes(law, x):
    """Up to three knees: beyond, the slope of a pure core falls below what doubles resolve."""
    i = np.array([x * float(np.minimum(law.knee[0], 100.0))])
    assert_allclose(law.inverse(law.effective(i)), i, rtol=1e-6, atol=1e-12)


def test_beyond_full_saturation_there_is_no_current():
    law = Saturation.of([5.0, 5.0], [1.0, 0.8], ["tanh", "erf"])
    found = law.inverse([-6.0, 6.0])
    assert found[0] == -np.inf
    assert np.isfinite(found[1])
    assert_allclose(law.effective([0.0, found[1]])[1], 6.0)


def test_the_winding_alone_is_left_far_beyond_the_knee():
    """e -> (1 - share) i + share knee."""
    law = Saturation.of([2.0], [0.75], ["erf"])
    assert_allclose(law.effective([100.0]), 0.25 * 100 + 0.75 * 2)


def test_coils_keep_to_themselves():
    law = Saturation.of([3.0, np.inf, 3.0], [0.9, 0.0, 0.9], ["tanh", "tanh", "erf"])
    i = np.array([4.0, 4.0, 4.0])
    e = law.effective(i)
    assert e[1] == 4.0
    assert e[0] == pytest.approx(0.4 + 2.7 * np.tanh(4 / 3))
    assert not law.linear
    assert Saturation.none(3).linear


@pytest.mark.parametrize(
    ("knee", "share", "law", "message"),
    [(0.0, 0.5, "tanh", "knee"), (-1.0, 0.5, "tanh", "knee"), (1.0, 1.5, "tanh", "share"),
     (np.nan, 0.5, "tanh", "knee"), (1.0, 0.5, "atan", "law")],
)  # fmt: skip
def test_impossible_laws_are_refused(knee, share, law, message):
    with pytest.raises(UserError, match=message):
        Saturation.of([knee], [share], [law])
