"""A log's tree heads without a log: for tests of what is signed about it."""

import base64

from consent import merkle
from consent.attestation import Attestation, Code, LogState
from consent.attestation_check import Expected
from consent.keys import SigningKey
from consent.model import Purpose
from consent.note import TreeHead, sign_tree_head

SITE = SigningKey.from_seed("site-a/site", b"s" * 32)
LOG = SigningKey.from_seed("site-a/consent-log", b"l" * 32)
EXPECTED = Expected("site-a", "run", 3, Purpose.FINETUNING, "ab" * 16, "1" * 64, "2" * 64, 2)


class Heads:
    """Entries that are only hashed, and heads of their first ``n``."""

    def __init__(self, *entries: bytes, key: SigningKey = LOG) -> None:
        self.leaves = [merkle.leaf_hash(e) for e in entries]
        self.key = key

    def head(self, size=None) -> TreeHead:
        size = len(self.leaves) if size is None else size
        return TreeHead(self.key.name, size, merkle.root(merkle.tree_of(self.leaves), size))

    def state(self, start, old=0) -> LogState:
        tree, size = merkle.tree_of(self.leaves), len(self.leaves)
        proof = merkle.consistency_proof(tree, old, size) if old else []
        since = merkle.consistency_proof(tree, start, size)
        return LogState(
            start_head=sign_tree_head(self.head(start), self.key),
            tree_head=sign_tree_head(self.head(), self.key),
            since_start=tuple(h.hex() for h in since),
            consistency=tuple(h.hex() for h in proof),
        )


def attestation(heads, start=None, old=0, **changes) -> Attestation:
    statement = Attestation(
        site="site-a",
        run_id="run",
        round=3,
        purpose=Purpose.FINETUNING,
        nonce="ab" * 16,
        model_in="1" * 64,
        update="2" * 64,
        labelled_aus=(1, 2),
        manifest="3" * 64,
        min_subjects=2,
        consent=heads.state(len(heads.leaves) if start is None else start, old),
        code=Code(name="omote 0.1.0", sha256="4" * 64),
        started_at="2026-01-01T00:00:00Z",
        ended_at="2026-01-01T00:10:00Z",
    )
    return statement.model_copy(update=changes)


def base64url(text: str) -> str:
    return base64.urlsafe_b64encode(base64.b64decode(text)).decode()
