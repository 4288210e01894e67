"""The Flower ClientApp of a site: carries a request to the worker's socket, and the answer back.

Flower starts a new process for every message and tells the server the text of whatever is raised.
So this imports neither torch nor data, keys or consent (an import contract holds it), and answers
with a code when the worker cannot be asked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from core_model.protocol.messages import RefusalCode
from core_model.protocol.record_fields import RecordError
from core_model.protocol.records import (
    encode_refusal,
    encode_site_id,
    read_records,
    write_records,
)
from fl_client.socket_client import WorkerAwayError, ask_round, ask_site

_log = logging.getLogger(__name__)
Tell = Callable[[Context], RecordDict]
Train = Callable[[Message, Context], RecordDict]


def make_app(tell: Tell, train: Train) -> ClientApp:
    """Return the app.

    Args:
        tell: Says which site a node works for.
        train: Answers the request of a round.
    """
    app = ClientApp()

    @app.query("site")
    def on_query(message: Message, context: Context) -> Message:
        return Message(_coded(lambda: tell(context)), reply_to=message)

    @app.train()
    def on_train(message: Message, context: Context) -> Message:
        return Message(_coded(lambda: train(message, context)), reply_to=message)

    return app


def _coded(answer: Callable[[], RecordDict]) -> RecordDict:
    """Return an answer or a code. Whatever was raised, its text stays here."""
    try:
        return answer()
    except RecordError:
        return encode_refusal(RefusalCode.REQUEST_DAMAGED)
    except WorkerAwayError:
        return encode_refusal(RefusalCode.WORKER_AWAY)
    except Exception:  # noqa: BLE001 - whatever it is, its text stays here
        _log.exception("this site cannot answer")
        return encode_refusal(RefusalCode.SITE_FAULT)


def _ask_site(context: Context) -> RecordDict:
    return encode_site_id(ask_site(_socket(context)))


def _ask_round(message: Message, context: Context) -> RecordDict:
    """Hand the request on as it came: the worker, which trusts nobody, looks into it."""
    return read_records(ask_round(_socket(context), _take(message), message.metadata.ttl))


def _take(message: Message) -> bytes:
    """Return what a message holds, and empty it: a model is not held twice while a site trains."""
    raw = write_records(message.content)
    message.content = RecordDict()
    return raw


def _socket(context: Context) -> Path:
    """Return the worker's socket, all that a node is told: ``--node-config 'socket="PATH"'``."""
    return Path(str(context.node_config["socket"]))


app = make_app(_ask_site, _ask_round)
