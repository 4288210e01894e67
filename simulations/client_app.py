"""The ClientApp of sites that live in this process: no sockets, rounds are called directly."""

from __future__ import annotations

from collections.abc import Callable

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from core_model.protocol.messages import RoundRequest, SiteUpdate
from core_model.protocol.records import (
    decode_request,
    encode_refusal,
    encode_site_id,
    encode_update,
)
from fl_client.app import make_app
from fl_client.errors import RoundRefusedError
from fl_client.round import run_round
from fl_client.site import Site

SiteOf = Callable[[Context], Site]
Run = Callable[[RoundRequest, Site], SiteUpdate]
"""How a site answers a request; a dishonest one in its own way."""


def direct_app(site_of: SiteOf, run: Run = run_round) -> ClientApp:
    """Return the app.

    Args:
        site_of: Finds the site of a Flower context.
        run: What answers a request.
    """

    def tell(context: Context) -> RecordDict:
        return encode_site_id(site_of(context).site_id)

    def train(message: Message, context: Context) -> RecordDict:
        try:
            return encode_update(run(decode_request(message.content), site_of(context)))
        except RoundRefusedError as e:
            return encode_refusal(e.code)

    return make_app(tell, train)
