"""Which server's log of rounds this site watches.

The invitation lies in the node's folder, which may belong to the SuperNode's user. Whoever changes
it there must not change whom the worker believes, so joining keeps the key in the site's own state.
"""

from __future__ import annotations

import os

from consent import private_file
from consent.keys import VerifierKey
from core_model.durable import put_in_place
from core_model.protocol.enrolment import Invitation
from fl_client.config import SiteConfig
from fl_client.node_folder import NodeFolder

FILE = "server-key"


def pin_server(config: SiteConfig, invitation: Invitation) -> VerifierKey | None:
    """Believe the server of an invitation from now on; return its key, None if it names none.

    Raises:
        MalformedError: It is no key.
    """
    if invitation.server_key is None:
        (config.state / FILE).unlink(missing_ok=True)  # not the key of the server before
        return None
    key = VerifierKey.parse(invitation.server_key)
    config.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = config.state / f"{FILE}.{os.getpid()}.draft"
    draft.unlink(missing_ok=True)
    private_file.write_new(draft, key.vkey.encode())
    put_in_place(draft, config.state / FILE)
    return key


def server_key(config: SiteConfig) -> VerifierKey | None:
    """Return the key of the log of rounds of the server that was joined; None before.

    Raises:
        SettingsError: The invitation is not right.
        KeyFileError: The key can be read by others.
        MalformedError: It is no key.
    """
    path, node = config.state / FILE, NodeFolder(config.node)
    if path.exists():
        return VerifierKey.parse(private_file.read(path).decode())
    return pin_server(config, node.joined()) if node.invitation.exists() else None
