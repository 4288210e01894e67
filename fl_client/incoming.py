"""What becomes known of a request while it is answered; all of it is a stranger's until checked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime

from core_model.protocol.messages import RefusalCode, RoundPlan
from fl_client.caps import RUN_ID
from fl_client.diary import Entry, Running
from fl_client.errors import RoundRefusedError

MAX_DETAIL = 300


class Incoming:
    """A request from its first byte to the line in the diary."""

    def __init__(self, started_at: datetime) -> None:
        self.started_at = started_at
        self.num_bytes = 0
        self.plan: RoundPlan | None = None
        self._begun = time.monotonic()

    @property
    def name(self) -> tuple[str, str]:
        """The run and the purpose. A run's name is the server's: what is no name is not kept."""
        if self.plan is None or RUN_ID.fullmatch(self.plan.run_id) is None:
            return "", ""
        return self.plan.run_id, self.plan.purpose

    def read(self, pieces: Iterator[bytes], most: int) -> bytes:
        """Read a request of at most some bytes."""
        raw = bytearray()
        for piece in pieces:
            self.num_bytes += len(piece)
            if self.num_bytes > most:
                detail = f"the request has more than {most} bytes"
                raise RoundRefusedError(RefusalCode.PLAN_NOT_ALLOWED, detail)
            raw += piece
        return bytes(raw)

    def running(self) -> Running:
        """Return the note for the diary."""
        run_id, purpose = self.name
        return Running(
            started_at=self.started_at,
            run_id=run_id,
            round=self.plan.round if self.plan else 0,
            purpose=purpose,
            num_bytes=self.num_bytes,
        )

    def entry(self, outcome: str, detail: str, sent: int) -> Entry:
        """Return the line for the diary."""
        running = self.running()
        return Entry(
            **running.model_dump(exclude={"num_bytes"}),
            outcome=outcome,
            detail=plain(detail),
            seconds=time.monotonic() - self._begun,
            num_bytes=self.num_bytes + sent,
        )


def plain(text: str) -> str:
    """Return a text that is safe to print: parts of it may be a stranger's."""
    return "".join(c if c.isprintable() else "?" for c in text[:MAX_DETAIL])
