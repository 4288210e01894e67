"""The ClientApp of sites that live in this process: no sockets, rounds are called directly."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from core_model.protocol.messages import RoundRequest, SiteUpdate
from core_model.protocol.records import (
    encode_refusal,
    encode_site_id,
    encode_update,
)
from core_model.protocol.secure import SecureReply, SecureRequest
from core_model.protocol.secure_records import decode_any_request, encode_secure_reply
from fl_client.app import make_app
from fl_client.errors import RoundRefusedError
from fl_client.round import run_round
from fl_client.secure_round import SecureRounds
from fl_client.site import Site

SiteOf = Callable[[Context], Site]
Run = Callable[[RoundRequest, Site], SiteUpdate]
"""How a site answers a request; a dishonest one in its own way."""
RunSecure = Callable[[SecureRounds, SecureRequest, Site], SecureReply]


def direct_app(
    site_of: SiteOf, run: Run = run_round, run_secure: RunSecure = SecureRounds.answer
) -> ClientApp:
    """Return the app.

    Args:
        site_of: Finds the site of a Flower context.
        run: What answers a request.
        run_secure: What answers a message of a secure sum.
    """

    def tell(context: Context) -> RecordDict:
        return encode_site_id(site_of(context).site_id)

    secure: dict[int, SecureRounds] = defaultdict(SecureRounds)

    def train(message: Message, context: Context) -> RecordDict:
        try:
            request, site = decode_any_request(message.content), site_of(context)
            if isinstance(request, RoundRequest):
                return encode_update(run(request, site))
            return encode_secure_reply(run_secure(secure[context.node_id], request, site))
        except RoundRefusedError as e:
            return encode_refusal(e.code)

    return make_app(tell, train)
