"""The long-lived worker: the only process that holds data, keys, consent and the device.

Whoever can reach its socket may ask for a round, as the server may: every request is one of a
stranger. What comes back is an update that is signed and on record, or a code.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from consent.log import Clock
from consent.model import Role
from core_model.protocol.messages import RefusalCode, RoundRequest, SiteUpdate
from core_model.protocol.record_fields import RecordError
from core_model.protocol.records import (
    encode_refusal,
    encode_update,
    read_records,
    write_records,
)
from core_model.protocol.secure import (
    KeysRequest,
    MaskedRequest,
    RosterRequest,
    SecureRequest,
    UnmaskRequest,
    plan_of,
)
from core_model.protocol.secure_records import decode_any_request, encode_secure_reply
from fl_client.config import load_site_config
from fl_client.diary import ANSWERED, SIGNED, Diary, Entry
from fl_client.errors import RoundRefusedError
from fl_client.incoming import Incoming
from fl_client.limits import check_before_reading, check_before_training, used
from fl_client.round import run_round
from fl_client.secure_round import SecureRounds
from fl_client.site import Site, open_site

_log = logging.getLogger(__name__)
Run = Callable[[RoundRequest, Site], SiteUpdate]
OnEntry = Callable[[Entry], None]


def wall_clock() -> datetime:
    """Return the time of the clock on the wall."""
    return datetime.now(UTC)


class Worker:
    """Answers requests, one round at a time.

    Args:
        config: The site.toml. A change of it or of a list of recordings holds from the next round.
        diary: Of the same site, recovered.
        on_entry: Told of each request when it is answered.
        keep: Folder in which the last request is kept, for a later dry run.
        clock: Tells the time.
        run: What answers a request.
    """

    def __init__(
        self,
        config: Path,
        diary: Diary,
        *,
        on_entry: OnEntry = lambda _: None,
        keep: Path | None = None,
        clock: Clock = wall_clock,
        run: Run = run_round,
    ) -> None:
        self._config = config
        self._diary = diary
        self._entries = diary.entries()
        self._on_entry = on_entry
        self._keep = keep
        self._clock = clock
        self._run = run
        self._one_round = threading.Lock()
        self._secure = SecureRounds()
        self._is_stopping = False
        # All rounds run in one thread: torch and OpenMP count threads for each that calls them.
        self._thread = ThreadPoolExecutor(1, "round")
        self._site: Site | None = None
        self._stamp: object = None

    def site_id(self) -> str:
        """Return the site's public name."""
        return load_site_config(self._config).site_id

    def warm_up(self) -> Site:
        """Open the site, so that faults show before a request comes.

        Raises:
            SettingsError: The site.toml is not right.
            ConsentError: The consent log, or the operator's key, cannot be used.
            ValueError: A list of recordings or the device is not right.
        """
        return self._thread.submit(self._open).result()

    def answer(self, pieces: Iterator[bytes]) -> bytes:
        """Run the round that a request asks for; return an update or a code, as bytes.

        Args:
            pieces: Of the request. They are read only if a round may begin, and no further than
                the caps allow.
        """
        if self._is_stopping or not self._one_round.acquire(blocking=False):
            return write_records(encode_refusal(RefusalCode.SITE_BUSY))
        try:
            return self._thread.submit(self._answer, pieces).result()
        finally:
            self._one_round.release()

    def stop(self) -> bool:
        """Take no more requests; tell whether a round is still running."""
        self._is_stopping = True
        return self._one_round.locked()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the running round; tell whether it ended."""
        if not self._one_round.acquire(timeout=timeout_s):
            return False
        self._one_round.release()
        return True

    def _answer(self, pieces: Iterator[bytes]) -> bytes:
        page = Incoming(self._clock())
        try:
            raw, outcome, detail = *self._reply(pieces, page), ""
        except RoundRefusedError as e:
            raw, outcome, detail = *_refused(e.code), str(e)
        except RecordError as e:
            raw, outcome, detail = *_refused(RefusalCode.REQUEST_DAMAGED), str(e)
        except Exception:  # noqa: BLE001 - whatever it is, its text stays here
            _log.exception("this site cannot answer")
            raw, outcome, detail = *_refused(RefusalCode.SITE_FAULT), "see the worker's log"
        entry = page.entry(outcome, detail, len(raw))
        self._entries.append(entry)
        self._diary.end(entry)
        self._on_entry(entry)
        return raw

    def _reply(self, pieces: Iterator[bytes], page: Incoming) -> tuple[bytes, str]:
        """Return the answer, and what the diary calls it."""
        site = self._open()
        caps, spent = site.config.caps, used(self._entries, page.started_at)

        # (1) May a round begin now, and how large may its request be? A secure sum that began in
        # time may end.
        if self._secure.plan is not None:
            caps = caps.model_copy(update={"hours": None})
        most = check_before_reading(caps, spent, page.started_at.astimezone())

        # (2) What is asked? Of what a stranger sends, no more than that is held.
        raw = page.read(pieces, most)
        request = decode_any_request(read_records(raw))
        if self._keep is not None and isinstance(request, RoundRequest):
            keep_request(self._keep, raw)
        del raw
        page.plan = plan_of(request) or self._secure.plan
        if isinstance(request, RoundRequest | KeysRequest):
            check_before_reading(site.config.caps, spent, page.started_at.astimezone())

        # (3) Does it fit into what is left of the day?
        earlier = [e for e in self._entries if (e.run_id, e.purpose) == page.name]
        check_before_training(caps, spent, page.num_bytes, earlier)

        # (4) All else, from the plan to consent to the signature, is the round's own.
        if isinstance(request, KeysRequest | RosterRequest | UnmaskRequest):
            return self._sum(request, site), ANSWERED
        self._diary.begin(page.running())
        if isinstance(request, MaskedRequest):
            return self._sum(request, site), SIGNED
        return write_records(encode_update(self._run(request, site))), SIGNED

    def _sum(self, message: SecureRequest, site: Site) -> bytes:
        return write_records(encode_secure_reply(self._secure.answer(message, site)))

    def _open(self) -> Site:
        """Return the site; open it anew if its files changed, and take the key that signs now."""
        stamp = _stamp(self._config)
        if self._site is None or stamp != self._stamp:
            self._site, self._stamp = open_site(self._config, self._clock), stamp
        return dataclasses.replace(self._site, key=self._site.registry.signing_key(Role.OPERATOR))


def _refused(code: RefusalCode) -> tuple[bytes, str]:
    return write_records(encode_refusal(code)), code.name


def keep_request(folder: Path, raw: bytes) -> Path:
    """Keep a request as the last one; return its file. There are no secrets in it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "last-request"
    draft = path.with_suffix(".draft")
    draft.write_bytes(raw)
    draft.replace(path)
    return path


def _stamp(path: Path) -> object:
    """Return what differs when the site.toml or a list of recordings was written to."""
    config = load_site_config(path)
    stats = [p.stat() for p in (path, *config.recordings)]
    return [(s.st_mtime_ns, s.st_size, s.st_ino) for s in stats]
