"""Ground truth: the known source that a session's transmission came from, as the tables say now.

The source that the session names is the truth if its place is known, and no other one is: a named source without a
place leaves the transmitter unknown. Where the session names none, the only source near its frequency is taken;
several near it, those without a place included, leave it unknown too.
"""

from __future__ import annotations

OTHER_TRUTH = "other_truth"
"""The stale_reason of features that were stored with another ground truth than the tables give now."""
MOST_TOLERANCE_HZ = 10**15
MOST_FREQUENCY_HZ = 4 * 10**18
"""Frequencies are compared in 64 bits: beyond this a session has none."""

_COLUMNS = """
        ks.id, ks.name, ks.frequency_hz, ks.source_type, ks.latitude::double precision AS latitude,
        ks.longitude::double precision AS longitude,
        CASE WHEN ks.power_dbm BETWEEN -1e300 AND 1e300 THEN ks.power_dbm::double precision END AS power_dbm""".strip()
_HAS_PLACE = "{0}.latitude BETWEEN -90 AND 90 AND {0}.longitude BETWEEN -180 AND 180"


def true_source(named: str, frequency_hz: str, tolerance_hz: float) -> str:
    """SQL for the source that is a session's ground truth, if there is one.

    Parameters
    ----------
    named, frequency_hz : str
        SQL expressions: the known_source_id of the session, and the frequency that all its measurements have.
    tolerance_hz : float
        Without a named source, sources within this of the frequency, the bound included, are near it.

    Returns
    -------
    str
        A SELECT of at most one row: columns of known_sources, and ``ground_truth``, session or frequency.
    """
    return f"""
        SELECT {_COLUMNS}, 'session' AS ground_truth
        FROM heimdall.known_sources ks WHERE ks.id = {named} AND {_HAS_PLACE.format("ks")}
        UNION ALL
        SELECT near.id, near.name, near.frequency_hz, near.source_type, near.latitude, near.longitude, near.power_dbm,
               'frequency'
        FROM (SELECT {_COLUMNS}, count(*) OVER () AS num_near FROM heimdall.known_sources ks
              WHERE {named} IS NULL AND {is_near("ks.frequency_hz", frequency_hz, tolerance_hz)}) near
        WHERE near.num_near = 1 AND {_HAS_PLACE.format("near")}"""


def is_near(source_hz: str, frequency_hz: str, tolerance_hz: float) -> str:
    """SQL for whether a frequency is within the tolerance of another one; NULL or false where either is NULL."""
    frequency = f"CASE WHEN abs({frequency_hz}::numeric) < {MOST_FREQUENCY_HZ} THEN {frequency_hz} END"
    step = min(int(tolerance_hz), MOST_TOLERANCE_HZ)  # frequencies are whole numbers
    return f"{source_hz} BETWEEN ({frequency})::bigint - {step} AND ({frequency})::bigint + {step}"


def differs_from_truth(row: str, source: str, *, is_how_compared: bool = True) -> str:
    """SQL for whether a row was stored with another truth than the tables give now.

    Parameters
    ----------
    row, source : str
        Names of something that has the tx columns of a row of features, and its ground_truth; and of the outer-joined
        result of :func:`true_source`.
    is_how_compared : bool
        False: whatever the row says of how the source was found.
    """
    found = f", {row}.ground_truth" if is_how_compared else ""
    now = f", {source}.ground_truth" if is_how_compared else ""
    return f"""
        (coalesce({row}.tx_known, false), {row}.tx_latitude, {row}.tx_longitude, {row}.tx_power_dbm{found})
        IS DISTINCT FROM
        ({source}.id IS NOT NULL, {source}.latitude, {source}.longitude, {source}.power_dbm{now})"""
