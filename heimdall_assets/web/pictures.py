"""Pictures of recordings, drawn when somebody looks, and kept for the next one."""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from fastapi import APIRouter, Depends, Header, HTTPException, status
from fastapi.responses import Response

from heimdall_assets.db.sessions import load_session
from heimdall_assets.errors import RecordingError, RecordingNotFound, SignalError
from heimdall_assets.iq import open_location
from heimdall_assets.records import Measurement
from heimdall_assets.settings import Settings
from heimdall_assets.web.auth import Guard
from heimdall_assets.web.database import Database
from heimdall_assets.web.problems import REFUSALS, Problem

Kind = Literal["spectrum", "spectrogram", "envelope"]
Theme = Literal["light", "dark"]
KINDS: tuple[Kind, ...] = ("spectrum", "spectrogram", "envelope")

MAX_PICTURES = 200
"""Of about 100 kB each."""
MAX_VIEWS = 20
BROWSER_CACHE_S = 3600

_Value = TypeVar("_Value")


class Kept(dict[Hashable, Any]):
    """The values that were asked for last.

    Parameters
    ----------
    most : int
        How many.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._order: OrderedDict[Hashable, None] = OrderedDict()

    def get_or_make(self, key: Hashable, make: Callable[[], _Value]) -> _Value:
        """The value of a key, made where it is not there."""
        if key not in self:
            self[key] = make()
        self._order[key] = None
        self._order.move_to_end(key)
        while len(self._order) > self._most:
            del self[self._order.popitem(last=False)[0]]
        value: _Value = self[key]
        return value


class Gallery:
    """Draws pictures of recordings, one at a time: each takes a core for half a second.

    Parameters
    ----------
    settings : Settings
        Where recordings are, and how they are measured.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._turn = threading.Lock()
        self._views = Kept(MAX_VIEWS)
        self._pictures = Kept(MAX_PICTURES)

    def picture(self, measurement: Measurement, kind: Kind, theme: Theme) -> tuple[bytes, str]:
        """A PNG file and its entity tag, which changes when the recording does.

        Raises
        ------
        RecordingError, SignalError
            The recording cannot be read, or not be drawn.
        """
        # Half a second of imports that only this needs.
        from heimdall_assets.plots import recording as draw  # noqa: PLC0415
        from heimdall_assets.plots.view import view_of  # noqa: PLC0415

        settings = self._settings
        opened = open_location(
            measurement.iq_data_location or "",
            settings,
            format=measurement.iq_data_format,
            sample_rate_hz=measurement.iq_sample_rate_hz,
            center_frequency_hz=measurement.frequency_hz,
        )
        with opened as source, self._turn:
            identity = (measurement.id, source.etag, measurement.settings)
            view = self._views.get_or_make(
                identity,
                lambda: view_of(
                    source,
                    name=measurement.station.name,
                    sample_rate_hz=source.sample_rate_hz or settings.default_sample_rate_hz,
                    chunk_duration_ms=settings.chunk_ms,
                    num_chunks=settings.num_chunks,
                    false_alarm_probability=settings.false_alarm_probability,
                    calibration_db=measurement.settings.calibration_db,
                    passband_hz=measurement.settings.passband_hz,
                    remove_dc=measurement.settings.remove_dc,
                    response=measurement.settings.response,
                ),
            )
            painters = {
                "spectrum": draw.spectrum_png,
                "spectrogram": draw.spectrogram_png,
                "envelope": draw.envelope_png,
            }
            png = self._pictures.get_or_make(
                (*identity, kind, theme), lambda: painters[kind](view, dark=theme == "dark")
            )
        return (
            png,
            f'"{measurement.id}-{kind}-{theme}-{source.etag}-{zlib.crc32(repr(measurement.settings).encode()):08x}"',
        )


def pictures_router(settings: Settings, database: Database, guard: Guard) -> APIRouter:
    """``/sessions/{id}/receivers/{measurement_id}/{spectrum|spectrogram|envelope}.png``."""
    router = APIRouter(tags=["pictures"], dependencies=[Depends(guard)], responses=REFUSALS)
    gallery = Gallery(settings)

    @router.get(
        "/sessions/{session_id}/receivers/{measurement_id}/{kind}.png",
        summary="Picture of a recording",
        response_class=Response,
        responses={
            200: {"content": {"image/png": {}}, "description": "The picture."},
            304: {"description": "It is the one that the browser has."},
            404: {"model": Problem, "description": "No such session, measurement or recording."},
            409: {"model": Problem, "description": "The recording cannot be drawn; says why."},
        },
    )
    def picture(
        session_id: UUID,
        measurement_id: UUID,
        kind: Kind,
        theme: Theme = "light",
        if_none_match: Annotated[str | None, Header(include_in_schema=False)] = None,
    ) -> Response:
        """Drawn from the IQ when it is asked for, and kept."""
        with database.transaction() as connection:
            session = load_session(connection, session_id, source_tolerance_hz=settings.source_tolerance_hz)
        measurement = next((m for m in session.measurements if m.id == measurement_id), None)
        if measurement is None:
            detail = f"session {session_id} has no measurement {measurement_id} with IQ data"
            raise HTTPException(status.HTTP_404_NOT_FOUND, detail)
        try:
            png, tag = gallery.picture(measurement, kind, theme)
        except RecordingNotFound as error:
            raise HTTPException(status.HTTP_404_NOT_FOUND, error.message) from None
        except (RecordingError, SignalError) as error:
            raise HTTPException(status.HTTP_409_CONFLICT, f"{error.reason}: {error.message}") from None
        headers = {"ETag": tag, "Cache-Control": f"private, max-age={BROWSER_CACHE_S}"}
        if if_none_match == tag:
            return Response(status_code=status.HTTP_304_NOT_MODIFIED, headers=headers)
        return Response(png, media_type="image/png", headers=headers)

    return router
