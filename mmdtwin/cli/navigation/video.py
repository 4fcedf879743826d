"""The video file of a run."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mmdtwin.control.view import SIZE, Picture

if TYPE_CHECKING:
    from av import VideoStream


def encoder() -> str:
    """Name of the best H.264 or MPEG-4 encoder that is built in; empty if none."""
    import av

    for name in ("libx264", "libopenh264", "mpeg4"):
        if name in av.codecs_available:
            return name
    return ""


class VideoWriter:
    """Writes frames to an MP4; `close` makes it a valid file, however short."""

    def __init__(self, path: Path, rate: float) -> None:
        import av

        self._container = av.open(str(path), "w", format="mp4")
        stream = self._container.add_stream(encoder(), rate=Fraction(rate).limit_denominator())
        self._stream = cast("VideoStream", stream)
        self._stream.width, self._stream.height = SIZE
        self._stream.pix_fmt = "yuv420p"
        self._stream.bit_rate = 2_500_000

    def write(self, picture: Picture) -> None:
        """Add a picture (720, 1280, 3) BGR."""
        import av

        frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Flush and finish the file."""
        self._container.mux(self._stream.encode())
        self._container.close()
