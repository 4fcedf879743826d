"""`mmdtwin field check`: table, JSON and exit codes."""

import json

import pytest
import yaml
from typer.testing import CliRunner

from mmdtwin.cli.field import app
from mmdtwin.config.base import read
from mmdtwin.errors import UserError


@pytest.mark.parametrize(("degree", "code"), [(12, 0), (4, 1)])
def test_exit_code_and_json_agree(tmp_path, degree, code):
    """The shipped degree passes; degree 4 leaves (30 / 66)^4 = 4 % of the field and fails."""
    data, _ = read("coils", "octomag-like")
    system, report = tmp_path / "system.yaml", tmp_path / "new" / "check.json"
    system.write_text(yaml.safe_dump(data | {"harmonic_degree": degree}))
    args = ["check", str(system), "--points", "100", "--seed", "7", "--json", str(report)]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == code
    assert "divergence" in result.stdout
    written = json.loads(report.read_text())
    assert written["passed"] == (code == 0)
    assert written["passed"] == all(f["value"] <= f["limit"] for f in written["figures"])
    assert (written["seed"], written["points"]) == (7, 100)


def test_what_is_no_drawing_of_coils_is_refused_in_a_line(calibration):
    for name, kind in ((calibration, "calibration"), ("cube-20mm", "magnet")):
        result = CliRunner().invoke(app, ["check", str(name)])
        assert isinstance(result.exception, UserError)
        message = str(result.exception)
        assert message.startswith(f"{name}: is a {kind}; check is for coils as drawn")
        assert "\n" not in message


def test_a_folder_in_the_reports_place_is_refused_before_the_work(tmp_path):
    with pytest.raises(UserError, match=r"--json .*: is a folder; name a file"):
        CliRunner().invoke(app, ["check", "--json", str(tmp_path)], catch_exceptions=False)
