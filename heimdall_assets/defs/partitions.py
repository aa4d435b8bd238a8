"""The partitions: a recording session is a dynamic partition, its key the session's UUID."""

from uuid import UUID

from dagster import DynamicPartitionsDefinition

from heimdall_assets.errors import UnknownSession

recording_sessions_partitions = DynamicPartitionsDefinition(name="recording_sessions")


def session_id_of(partition_key: str) -> UUID:
    """The session that a partition key or a configured id names.

    Raises
    ------
    UnknownSession
        The text is not a UUID.
    """
    try:
        return UUID(partition_key)
    except ValueError:
        raise UnknownSession(f"{partition_key!r} is not a session's UUID") from None
