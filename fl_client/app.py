"""The Flower ClientApp: unpack, run the round, pack. Nothing about data leaves in an error."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from core_model.protocol.messages import RefusalCode, RoundRequest, SiteUpdate
from core_model.protocol.records import (
    RecordError,
    decode_request,
    encode_refusal,
    encode_site_id,
    encode_update,
)
from fl_client.errors import RoundRefusedError
from fl_client.round import run_round
from fl_client.site import Site, open_site

_log = logging.getLogger(__name__)
Run = Callable[[RoundRequest, Site], SiteUpdate]


def make_app(site_of: Callable[[Context], Site], run: Run = run_round) -> ClientApp:
    """Return the app.

    Args:
        site_of: Finds the site of a Flower context.
        run: What answers a request; simulations of dishonest sites pass their own.
    """
    app = ClientApp()

    @app.query("site")
    def tell_site(message: Message, context: Context) -> Message:
        return Message(_answer(lambda: encode_site_id(site_of(context).site_id)), reply_to=message)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        def answer() -> RecordDict:
            return encode_update(run(decode_request(message.content), site_of(context)))

        return Message(_answer(answer), reply_to=message)

    return app


def _answer(answer: Callable[[], RecordDict]) -> RecordDict:
    """Return an answer or a code. Flower sends the text of whatever is raised to the server."""
    try:
        return answer()
    except RoundRefusedError as e:
        return encode_refusal(e.code)
    except RecordError:
        return encode_refusal(RefusalCode.REQUEST_DAMAGED)
    except Exception:  # noqa: BLE001 - whatever it is, its text stays here
        _log.exception("this site cannot answer")
        return encode_refusal(RefusalCode.SITE_FAULT)


def _configured_site(context: Context) -> Site:
    """Open the site.toml that the operator gave this node: ``--node-config 'site="PATH"'``."""
    return open_site(Path(str(context.node_config["site"])))


app = make_app(_configured_site)
