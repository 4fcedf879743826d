"""DICOM files: what is written is read again, and what others write is honoured or refused."""

import warnings

import numpy as np
import pydicom
import pytest
from pydicom import Dataset, uid

from mmdtwin.config import load_scenario
from mmdtwin.errors import UserError
from mmdtwin.frame import Frame, Projection
from mmdtwin.synth.xray.dicom import DEFAULTS, read_xa, write_xa
from mmdtwin.synth.xray.display import Display
from mmdtwin.synth.xray.spectrum import load_spectrum

SHAPE = (36, 48)
SPECTRUM = "60kVp-3Al"
SMALL = (
    "imager.detector.rows=64",
    "imager.detector.columns=96",
    f"imager.spectrum={SPECTRUM}",
)
SHIFT, TURN = np.eye(4), np.diag([0.0, 0.0, 1.0, 1.0])
SHIFT[:3, 3] = 0.01, -0.02, 0.03  # m
TURN[0, 1], TURN[1, 0] = -1.0, 1.0  # about the central ray of a level gantry


def config(*assignments):
    return load_scenario("soft-sheet-bifurcation", [*SMALL, *assignments]).imager


def carm(primary=0.3, secondary=-0.2, shape=SHAPE, **placed):
    return Projection.from_carm(1.1, 0.75, 0.3e-3, shape, primary, secondary, **placed)


def frames(n=4, projection=None, times=None, top=4096, **more):
    rng, projection = np.random.default_rng(0), projection or carm()
    times = np.arange(n) / 15 if times is None else times
    dose = {"dose": 1e-7, "reference_kerma": 2e-5, "dap": 3e-8}
    return [
        Frame(
            image=rng.integers(0, top, projection.shape).astype(np.uint16),
            seq=k,
            t_exposure=float(t),
            t_received=float(t) + 0.1,
            projection=projection,
            **{**dose, **more},
        )
        for k, t in enumerate(times)
    ]


def written(path, *assignments, **more):
    """A file, and its data set to be spoilt."""
    write_xa(path, frames(**more), config(*assignments))
    return pydicom.dcmread(path)


def spoilt(path, dataset, **tags):
    """Save with tags changed, or taken away where they are None."""
    for keyword, value in tags.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path)
    return path


@pytest.mark.parametrize(
    "projection",
    [
        carm(),
        carm(0.0, 0.0),
        carm(-np.pi / 2, 0.0),
        carm(2.5, 1.2),
        carm(T_world_imager=SHIFT),
    ],
)
def test_what_is_written_is_read_again(tmp_path, projection):
    """Pixels exactly; geometry to what 16 decimal characters hold, in px over the field."""
    run = frames(projection=projection, times=np.arange(4) / 15 + 3.0)
    write_xa(tmp_path / "run.dcm", run, config())
    series = read_xa(tmp_path / "run.dcm")
    points = np.random.default_rng(1).uniform(-0.05, 0.05, (50, 3))
    for a, b in zip(run, series.frames, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_allclose(b.projection.matrix, projection.matrix, rtol=0, atol=1e-6)
        np.testing.assert_allclose(
            b.projection.project(points), projection.project(points), atol=1e-6
        )
        assert (b.projection.sid, b.projection.sod) == pytest.approx((1.1, 0.75), rel=1e-9)
        assert b.t_exposure == pytest.approx(a.t_exposure - 3.0, abs=1e-9)
        assert (b.seq, b.live, b.source) == (a.seq, True, "main")
        assert b.dap == pytest.approx(a.dap)
        assert b.reference_kerma == pytest.approx(a.reference_kerma)
    assert series.frame_rate == pytest.approx(15.0)
    assert series.kvp == 60.0
    assert series.dap == pytest.approx(4 * 3e-8)
    assert series.assumed == {}
    np.testing.assert_array_equal(series.intensity(run[0].image), run[0].image)


def test_times_that_are_uneven_are_kept(tmp_path):
    times = [0.0, 0.05, 0.2, 0.21]
    write_xa(tmp_path / "run.dcm", frames(times=times), config())
    assert [f.t_exposure for f in read_xa(tmp_path / "run.dcm").frames] == pytest.approx(times)


def test_a_single_frame_has_no_rate(tmp_path):
    write_xa(tmp_path / "one.dcm", frames(1), config())
    series = read_xa(tmp_path / "one.dcm")
    assert (len(series.frames), series.frame_rate) == (1, None)


def test_tags_tell_geometry_beam_and_dose_in_dicoms_units(tmp_path):
    """Detector under a supine patient, tilted: DICOM counts from the front towards the left."""
    lit = frames(projection=carm(np.radians(30.0), np.radians(-10.0)))
    write_xa(tmp_path / "run.dcm", lit, config())
    d = pydicom.dcmread(tmp_path / "run.dcm")
    assert d.SOPClassUID == uid.XRayAngiographicImageStorage
    assert d.file_meta.TransferSyntaxUID == uid.ExplicitVRLittleEndian
    assert (d.BitsAllocated, d.BitsStored, d.HighBit, d.NumberOfFrames) == (16, 12, 11, 4)
    told = (d.DistanceSourceToDetector, d.DistanceSourceToPatient, *d.ImagerPixelSpacing)
    assert told == pytest.approx((1100.0, 750.0, 0.3, 0.3))
    assert d.EstimatedRadiographicMagnificationFactor == pytest.approx(1.1 / 0.75)
    assert d.PositionerPrimaryAngle == pytest.approx(-150.0)
    assert d.PositionerSecondaryAngle == pytest.approx(-10.0)
    assert d.FrameTime == pytest.approx(1000 / 15)
    assert d.KVP == 60
    assert d.PixelIntensityRelationship == "LIN"
    assert d.ImageAndFluoroscopyAreaDoseProduct == pytest.approx(4 * 3e-8 * 1e5)  # dGy cm2
    assert d.EntranceDoseInmGy == pytest.approx(4 * 0.02)
    assert d.XRayTubeCurrentInuA * d.ExposureTimeInuS == pytest.approx(
        d.ExposureInuAs * 1e6, abs=1e6
    )
    area = np.prod(SHAPE) * 0.3e-3**2  # m2 at 1.1 m
    charge = 3e-8 / (load_spectrum(SPECTRUM).output * area / 1.1**2)
    assert d.ExposureInuAs == pytest.approx(charge * 1e6, abs=0.5)
    for keyword in ("PatientName", "PatientID", "StudyDescription", "ImageComments"):
        assert "synthetic" in str(d[keyword].value).lower()
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        assert uid.UID(d[keyword].value).is_valid


RECTANGLE = {
    "CollimatorLeftVerticalEdge": 18,
    "CollimatorRightVerticalEdge": 38,
    "CollimatorUpperHorizontalEdge": 14,
    "CollimatorLowerHorizontalEdge": 24,
}
CIRCLE = {"CenterOfCircularCollimator": [18, 28], "RadiusOfCircularCollimator": 10}


@pytest.mark.parametrize(
    ("shape", "height", "told"), [("rectangular", 0.003, RECTANGLE), ("round", 0.006, CIRCLE)]
)
def test_the_collimator_is_told_in_pixels_from_one(tmp_path, shape, height, told):
    """Centre 1 mm = 3.33 px right of the middle, (48 + 1) / 2 = 24.5 and (36 + 1) / 2 = 18.5."""
    lead = f"{{shape: {shape}, opening: [0.006, {height}], centre: [0.001, 0]}}"
    write_xa(tmp_path / "run.dcm", frames(), config(f"imager.collimator={lead}"))
    d = pydicom.dcmread(tmp_path / "run.dcm")
    for keyword, value in told.items():
        np.testing.assert_allclose(np.array(d[keyword].value, float), value, atol=0.5)


def test_the_corners_of_an_octagonal_collimator_are_told(tmp_path):
    """6 mm = 20 px across its flats, to the rounding of two edges."""
    lead = "imager.collimator={shape: octagonal, opening: [0.006, 0.006], centre: [0.001, 0]}"
    write_xa(tmp_path / "run.dcm", frames(), config(lead))
    d = pydicom.dcmread(tmp_path / "run.dcm")
    corners = np.array(d.VerticesOfThePolygonalCollimator, float).reshape(-1, 2)
    assert d.CollimatorShape == "POLYGONAL"
    assert len(corners) == 8
    np.testing.assert_allclose(np.ptp(corners, axis=0), 20.0, atol=1.0)
    np.testing.assert_allclose(corners.mean(axis=0), [18.5, 27.83], atol=0.5)


def test_the_same_frames_give_the_same_file(tmp_path):
    for name in "ab":
        write_xa(tmp_path / name, frames(), config())
    write_xa(tmp_path / "c", frames(top=4000), config())
    first, second, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == second != other
    uids = {pydicom.dcmread(tmp_path / name).SOPInstanceUID for name in "abc"}
    assert len(uids) == 2


def test_planes_of_a_biplane_belong_to_one_study(tmp_path):
    main, lateral = frames(), frames(source="lateral", projection=carm(-np.pi / 2))
    for run in (main, lateral):
        write_xa(tmp_path / run[0].source, run, config(), study="one", biplane=True)
    files = [pydicom.dcmread(tmp_path / name) for name in ("main", "lateral")]
    assert [f.ImageType[2] for f in files] == ["BIPLANE A", "BIPLANE B"]
    assert files[0].StudyInstanceUID == files[1].StudyInstanceUID
    assert files[0].SeriesInstanceUID != files[1].SeriesInstanceUID
    assert read_xa(tmp_path / "lateral").frames[0].source == "lateral"


@pytest.mark.parametrize(
    ("run", "says"),
    [
        ([], "no frames"),
        (frames(2, live=False), "held image"),
        (frames(2, top=5000), "below 2\\^12"),
        (frames(2, times=[0.0, 0.0]), "do not rise"),
        ([*frames(1), *frames(2, carm(0.0))[1:]], "another source, geometry"),
        ([*frames(1), *frames(2, source="lateral")[1:]], "another source"),
        (frames(1, carm(T_world_imager=TURN)), "askew"),
        (frames(1, carm(principal=(20.0, 17.5))), "meets pixel .20.0, 17.5."),
    ],
)
def test_frames_that_do_not_belong_together_are_not_written(tmp_path, run, says):
    with pytest.raises(UserError, match=says):
        write_xa(tmp_path / "run.dcm", run, config())
    assert list(tmp_path.iterdir()) == []


def test_missing_geometry_is_named_with_what_a_default_would_mean(tmp_path):
    path = tmp_path / "run.dcm"
    bare = written(path)
    without = {"PositionerPrimaryAngle": None, "FrameTime": None}
    spoilt(path, bare, DistanceSourceToDetector=None, **without)
    with pytest.raises(UserError) as caught:
        read_xa(path)
    line = str(caught.value)
    assert "\n" not in line
    for keyword in ("DistanceSourceToDetector (0018,1110)", "FrameTime (0018,1063)"):
        assert keyword in line
    assert "PositionerPrimaryAngle (0018,1510)" in line
    assert "DistanceSourceToDetector=1100 (mm, a common C-arm)" in line
    assert "ImagerPixelSpacing" not in line
    with pytest.raises(UserError, match="FrameTime") as caught:
        read_xa(path, {"DistanceSourceToDetector": 1200, "PositionerPrimaryAngle": "0"})
    assert "PositionerPrimaryAngle" not in str(caught.value)
    series = read_xa(path, {**DEFAULTS, "DistanceSourceToDetector": "1200"})
    assert series.frames[0].projection.sid == pytest.approx(1.2)
    assert set(series.assumed) >= {*without, "DistanceSourceToDetector"}
    assert series.frames[0].projection.pitch == pytest.approx(0.3e-3)  # not taken: it is there


def test_a_distance_follows_from_the_magnification(tmp_path):
    path = tmp_path / "run.dcm"
    spoilt(path, written(path), DistanceSourceToPatient=None)
    assert read_xa(path).frames[0].projection.sod == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("defaults", "says"),
    [
        ({"Nonsense": 1}, "unknown Nonsense; allowed are DistanceSource"),
        ({"FrameTime": "soon"}, "FrameTime is soon"),
        ({"ImagerPixelSpacing": -1}, "ImagerPixelSpacing is -1"),
        ({"DistanceSourceToDetector": np.inf}, "is inf"),
        ({"PixelIntensityRelationship": "DISP"}, "allowed are LIN and LOG"),
    ],
)
def test_defaults_that_make_no_sense_are_refused(tmp_path, defaults, says):
    written(tmp_path / "run.dcm")
    with pytest.raises(UserError, match=says):
        read_xa(tmp_path / "run.dcm", defaults)


@pytest.mark.parametrize(
    ("tags", "says"),
    [
        ({"DistanceSourceToPatient": 1200}, "must be less than DistanceSourceToDetector"),
        ({"DistanceSourceToPatient": 1100}, "must be less than DistanceSourceToDetector"),
        ({"DistanceSourceToDetector": -5}, "must be positive"),
        ({"ImagerPixelSpacing": [0.3, 0.2]}, "square pixels"),
        ({"ImagerPixelSpacing": [0, 0]}, "square pixels"),
        ({"PositionerMotion": "DYNAMIC"}, "runs of one geometry"),
        ({"FrameTime": 0}, "times that rise"),
        ({"SOPClassUID": uid.CTImageStorage}, "is CT Image Storage; allowed are"),
        ({"SamplesPerPixel": 3}, "in colour"),
        ({"NumberOfFrames": 400}, "damaged or truncated"),
        ({"Rows": 65535}, "damaged or truncated"),
        ({"BitsStored": 33}, "allowed are 1 to 16|damaged"),
        ({"PixelData": None}, "damaged or truncated"),
    ],
)
def test_tags_that_make_no_sense_are_refused_on_one_line(tmp_path, tags, says):
    path = tmp_path / "run.dcm"
    spoilt(path, written(path), **tags)
    with pytest.raises(UserError, match=says) as caught:
        read_xa(path)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_dicom_are_refused(tmp_path):
    path = tmp_path / "note.dcm"
    with pytest.raises(UserError, match="cannot be read"):
        read_xa(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_xa(tmp_path)
    for content in (b"", b"a note", bytes(200)):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"not a DICOM file|damaged"):
            read_xa(path)


def test_truncated_and_damaged_files_end_in_one_line(tmp_path):
    """Cut anywhere, or with bytes changed anywhere: an error on one line, or a whole series."""
    rng, path = np.random.default_rng(5), tmp_path / "run.dcm"
    written(path)
    whole = path.read_bytes()
    header = len(whole) - 2 * 4 * np.prod(SHAPE)
    refused = 0
    for k in range(250):
        data = bytearray(whole)
        if k % 2:
            data = data[: rng.integers(len(whole) - 1)]
        for _ in range(int(rng.integers(1, 6))):
            data[rng.integers(min(len(data), header)) if data else 0 : 0] = b""
            if data:
                data[rng.integers(min(len(data), header))] = rng.integers(256)
        path.write_bytes(bytes(data))
        try:
            series = read_xa(path)
        except UserError as error:
            assert "\n" not in str(error)
            refused += 1
        else:
            assert all(f.image.dtype == np.uint16 for f in series.frames)
    assert refused >= 125  # every one that was cut


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.999])
def test_a_file_that_is_cut_is_refused(tmp_path, keep):
    path = tmp_path / "run.dcm"
    written(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(UserError, match="damaged or truncated"):
        read_xa(path)


def test_values_that_fall_with_intensity_are_turned_round(tmp_path):
    path = tmp_path / "run.dcm"
    run = frames()[0].image
    spoilt(path, written(path), PhotometricInterpretation="MONOCHROME1")
    image = read_xa(path).frames[0].image
    np.testing.assert_array_equal(image, 4095 - run)
    np.testing.assert_array_equal(read_xa(path).intensity(image), image)
    told = pydicom.dcmread(path)
    spoilt(path, told, PixelIntensityRelationshipSign=1)
    np.testing.assert_array_equal(read_xa(path).frames[0].image, run)
    spoilt(path, told, PixelIntensityRelationshipSign=-1, PhotometricInterpretation="MONOCHROME2")
    np.testing.assert_array_equal(read_xa(path).frames[0].image, 4095 - run)


def test_signed_values_begin_at_zero(tmp_path):
    path = tmp_path / "run.dcm"
    signed = written(path)
    pixels = np.stack([f.image for f in frames()]).astype(np.int32) - 2048
    signed.PixelData = pixels.astype("<i2").tobytes()
    spoilt(path, signed, PixelRepresentation=1, RescaleIntercept=2048, RescaleSlope=1)
    series = read_xa(path)
    np.testing.assert_array_equal(series.frames[1].image, frames()[1].image)
    np.testing.assert_array_equal(series.intensity(series.frames[1].image), frames()[1].image)


def test_rescaled_values_are_linear_after_slope_and_intercept(tmp_path):
    path = tmp_path / "run.dcm"
    spoilt(path, written(path), RescaleSlope=2.0, RescaleIntercept=-100.0)
    image = np.array([[10, 50, 51, 4095]], np.uint16)
    np.testing.assert_allclose(read_xa(path).intensity(image), [[0, 0, 2, 8090]])


def test_a_logarithmic_file_becomes_linear_by_its_modality_lut(tmp_path):
    path = tmp_path / "run.dcm"
    table = np.round(65535 * 10 ** (2 * (np.arange(4096) / 4095 - 1))).astype("<u2")
    item = Dataset()
    item.LUTDescriptor, item.ModalityLUTType, item.LUTData = [4096, 0, 16], "US", table.tobytes()
    data = written(path)
    spoilt(path, data, PixelIntensityRelationship="LOG", ModalityLUTSequence=[item])
    series = read_xa(path)
    grey = np.array([[0, 100, 4095]], np.uint16)
    np.testing.assert_array_equal(series.intensity(grey)[0], table[[0, 100, 4095]])
    assert series.grey.relationship == "LOG"
    item.LUTData = table[:-1].tobytes()
    spoilt(path, data, ModalityLUTSequence=[item])
    with pytest.raises(UserError, match="4095 entries where 4096"):
        read_xa(path)


def test_what_a_logarithmic_display_shows_is_written_with_the_way_back(tmp_path):
    """Raw grey comes back within half a step of the curve, which grows with grey: a shown grey
    stands for a span of raw ones that is ln(4096) / 4095 of the raw grey, 0.2 %, or one."""
    display = config("imager.display.curve=log")
    raw = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    shown = Display(display.display, 4095)(raw)
    view = carm(shape=(64, 64))
    write_xa(tmp_path / "run.dcm", [Frame(shown, 0, 0.0, 0.0, view)], display)
    assert pydicom.dcmread(tmp_path / "run.dcm").PixelIntensityRelationship == "LOG"
    series = read_xa(tmp_path / "run.dcm")
    np.testing.assert_array_equal(series.frames[0].image, shown)
    back = series.intensity(shown) * (4095 / 65535)
    assert (np.abs(back - raw) <= np.maximum(0.6, 0.0021 * raw)).all()


@pytest.mark.parametrize("done", ["curve=gamma", "edge_enhancement=1", "recursion=0.5"])
def test_what_is_processed_for_display_is_written_as_such(tmp_path, done):
    path = tmp_path / "run.dcm"
    d = written(path, f"imager.display.{done}")
    assert d.PixelIntensityRelationship == "DISP"
    with pytest.raises(UserError, match="cannot be made linear"):
        read_xa(path).intensity(frames(1)[0].image)


def test_what_cannot_be_made_linear_is_said_when_it_is_asked_for(tmp_path):
    path = tmp_path / "run.dcm"
    data = written(path)
    spoilt(path, data, PixelIntensityRelationship="DISP")
    series = read_xa(path)
    with pytest.raises(UserError, match=r"are DISP .0028,1040.: they cannot be made linear"):
        series.intensity(series.frames[0].image)
    taken = read_xa(path, {"PixelIntensityRelationship": "LIN"})
    np.testing.assert_array_equal(taken.intensity(taken.frames[0].image), taken.frames[0].image)
    spoilt(path, data, PixelIntensityRelationship="LOG")
    with pytest.raises(UserError, match=r"without the ModalityLUTSequence .0028,3000."):
        read_xa(path).intensity(series.frames[0].image)
    decades = read_xa(path, {"LogDecades": 3}).intensity(np.array([[0, 4095]], np.uint16))
    np.testing.assert_allclose(decades, [[1e-3, 1.0]], rtol=1e-5)
    spoilt(path, data, PixelIntensityRelationship=None)
    with pytest.raises(UserError, match="have no PixelIntensityRelationship"):
        read_xa(path).intensity(series.frames[0].image)


def test_run_length_encoding_is_decoded_and_what_cannot_be_is_said(tmp_path):
    path = tmp_path / "run.dcm"
    data = written(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.compress(uid.RLELossless, generate_instance_uid=False)
        data.save_as(path)
    np.testing.assert_array_equal(read_xa(path).frames[2].image, frames()[2].image)
    data.file_meta.TransferSyntaxUID = uid.JPEGLosslessSV1
    data.save_as(path)
    with pytest.raises(UserError, match=r"JPEG Lossless.*decoder for pydicom") as caught:
        read_xa(path)
    assert "\n" not in str(caught.value)


def radiograph(path, **tags):
    """A chest radiograph as computed radiography stores it: no gantry, bone white."""
    data = written(path, n=1)
    gone = ("PositionerPrimaryAngle", "PositionerSecondaryAngle", "NumberOfFrames", "FrameTime")
    lost = dict.fromkeys((*gone, "FrameIncrementPointer"))
    kind = {"SOPClassUID": uid.ComputedRadiographyImageStorage, "Modality": "CR"}
    data.file_meta.MediaStorageSOPClassUID = uid.ComputedRadiographyImageStorage
    return spoilt(path, data, **{**lost, **kind, **tags})


def test_radiographs_are_bone_white(tmp_path):
    path, defaults = tmp_path / "chest.dcm", {**DEFAULTS}
    radiograph(path, PhotometricInterpretation="MONOCHROME1")
    series = read_xa(path, defaults)
    assert (series.modality, series.frame_rate) == ("CR", None)
    np.testing.assert_array_equal(series.frames[0].image, frames(1)[0].image)
    radiograph(path, PhotometricInterpretation="MONOCHROME2")
    image = read_xa(path, defaults).frames[0].image
    np.testing.assert_array_equal(image, 4095 - frames(1)[0].image)
    with pytest.raises(UserError, match="PositionerPrimaryAngle"):
        read_xa(path)
