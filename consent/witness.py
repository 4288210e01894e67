"""A witness cosigns a log's tree head only if the log grew from the head that it saw before.

What is decided here is pure: a request, the log's keys, and the heads seen so far, in; an answer,
or a refusal by the status codes of C2SP tlog-witness, out. Knows neither files nor HTTP.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from consent import merkle
from consent.errors import BadSignatureError, MalformedError, ProofError, WitnessError
from consent.keys import VerifierKey
from consent.note import TreeHead, decode_base64, open_tree_head, parse_tree_head, split_note

MAX_PROOF_LINES = 63
MAX_REQUEST_BYTES = 131_072  # a proof, and a note with some thirty cosignatures by ML-DSA
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})", re.ASCII)


@dataclass(frozen=True)
class Request:
    """A tree head that a log asks to be cosigned, with the proof from an older one."""

    old_size: int
    proof: tuple[bytes, ...]
    note: str
    claimed: TreeHead  # what the note says, not checked yet

    def body(self) -> bytes:
        """The body of an ``add-checkpoint`` request."""
        lines = [f"old {self.old_size}", *(base64.b64encode(h).decode() for h in self.proof)]
        return ("\n".join(lines) + "\n\n" + self.note).encode()


@dataclass(frozen=True)
class Seen:
    """A tree head that was cosigned."""

    head: TreeHead
    note: str


def make_request(old_size: int, proof: Sequence[bytes], note: str) -> Request:
    """Return the request for a tree head of one's own."""
    return Request(old_size, tuple(proof), note, parse_tree_head(split_note(note)[0]))


def parse_request(body: bytes) -> Request:
    """Read the body of an ``add-checkpoint`` request.

    Raises:
        WitnessError: 400, it is malformed.
    """
    try:
        if len(body) > MAX_REQUEST_BYTES:
            raise MalformedError("the request is too large")
        top, _, note = body.decode().partition("\n\n")
        first, *proof = top.split("\n")
        match = _OLD.fullmatch(first)
        if match is None or len(proof) > MAX_PROOF_LINES:
            raise MalformedError(f"expected 'old SIZE' and at most {MAX_PROOF_LINES} proof lines")
        hashes = tuple(decode_base64(line) for line in proof)
        if any(len(value) != 32 for value in hashes):
            raise MalformedError("expected hashes of 32 bytes")
        return Request(int(match[1]), hashes, note, parse_tree_head(split_note(note)[0]))
    except (MalformedError, UnicodeDecodeError) as e:
        raise WitnessError(400, f"malformed request: {e}") from e


def open_request(request: Request, keys: Sequence[VerifierKey]) -> TreeHead:
    """Return the head of a request after its signature was checked.

    Args:
        request: The request.
        keys: The keys of the log that it names; empty if the log is unknown.

    Raises:
        WitnessError: 404, the log is unknown; 403, no key of it signed the head.
    """
    if not keys:
        raise WitnessError(404, "this witness does not know the log")
    try:
        return open_tree_head(request.note, *keys)
    except (MalformedError, BadSignatureError) as e:
        raise WitnessError(403, "the tree head is not signed by the log") from e


def decide(request: Request, head: TreeHead, last: TreeHead | None) -> None:
    """Let a head through that extends the last one cosigned.

    Args:
        request: The request.
        head: Its head, from ``open_request``.
        last: The last head cosigned for this log.

    Raises:
        WitnessError: 400, the old size is larger than the new one; 409, it is not the last one
            cosigned, or that has another root; 422, the proof does not hold.
    """
    last_size, last_root = (last.size, last.root) if last else (0, merkle.EMPTY_ROOT)
    if request.old_size > head.size:
        raise WitnessError(400, f"old size {request.old_size} is larger than {head.size}")
    if request.old_size != last_size:
        raise WitnessError(409, f"{last_size}\n")
    if head.size == last_size and head.root != last_root:
        raise WitnessError(409, f"{last_size}\n")
    try:
        if last_size == 0:
            if request.proof:
                raise ProofError("there is nothing to prove from an empty log")
        else:
            merkle.verify_consistency(last_size, head.size, last_root, head.root, request.proof)
    except ProofError as e:
        raise WitnessError(422, f"{e}") from e


def check_equivocation(first: str, second: str, *keys: VerifierKey) -> tuple[TreeHead, TreeHead]:
    """Check that two notes prove a log's guilt: it signed two roots for one size.

    Needs nothing but the log's public keys, so anyone can judge.

    Raises:
        ProofError: They prove nothing.
        MalformedError: They are not tree heads.
        BadSignatureError: They are not by this log.
    """
    one, two = open_tree_head(first, *keys), open_tree_head(second, *keys)
    if one.size != two.size or one.root == two.root:
        raise ProofError("expected two heads of one size with different roots")
    return one, two
