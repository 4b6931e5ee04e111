"""What happens to sessions is noted in the registry."""

from __future__ import annotations

from typing import Any

from pyramid_pluggable_session.events import (
    EndReason,
    SessionClosed,
    SessionCreated,
    SessionEnded,
    SessionMoved,
)


def includeme(config: Any) -> None:
    notes: list[str] = []
    ended: dict[EndReason, int] = {}

    def note_created(event: SessionCreated) -> None:
        notes.append(f"{event.handle} created")

    def note_moved(event: SessionMoved) -> None:
        notes.append(f"{event.former} is now {event.handle}")

    def note_ended(event: SessionEnded) -> None:
        ended[event.reason] = ended.get(event.reason, 0) + 1

    def note_slow(event: SessionClosed) -> None:
        slow = [each.name for each in event.operations if each.seconds > 1 and each.error is None]
        notes.extend(f"{name} is slow on {event.plug}" for name in slow)

    config.registry.notes, config.registry.ended = notes, ended
    for subscriber, event in (
        (note_created, SessionCreated),
        (note_moved, SessionMoved),
        (note_ended, SessionEnded),
        (note_slow, SessionClosed),
    ):
        config.add_subscriber(subscriber, event)
