import pytest

from consent.cosignature import ED25519, ML_DSA_44, Cosigner
from consent.errors import BadSignatureError, ConsentError, MalformedError
from consent.keys import SigningKey
from consent.note import TreeHead, sign_tree_head
from consent.trust import parse_policy

LOG = SigningKey.from_seed("site-a/consent-log", b"k" * 32)
HEAD = TreeHead(LOG.name, 7, b"r" * 32)
W = [Cosigner.generate(f"w{i}.example", ML_DSA_44 if i == 3 else ED25519) for i in range(4)]
WITNESSES = "".join(
    f"witness W{i} {w.verifier.vkey} https://w{i}.example\n" for i, w in enumerate(W)
)
TOP = f"# trust\nlog {LOG.verifier.vkey}\n{WITNESSES}"
TWO_LEVELS = "group A 2 W0 W1 W2\ngroup B any W3\n\tgroup both all A B \nquorum both\n"

QUORUMS = {
    "none": ("quorum none\n", [], True),
    "one witness": ("quorum W1\n", [1], True),
    "another witness": ("quorum W1\n", [0, 2, 3], False),
    "two of three": ("group g 2 W0 W1 W2\nquorum g\n", [0, 2], True),
    "one of three": ("group g 2 W0 W1 W2\nquorum g\n", [0, 3], False),
    "any": ("group g any W0 W1\nquorum g\n", [1], True),
    "all but one": ("group g all W0 W1 W2\nquorum g\n", [0, 1], False),
    "both groups": (TWO_LEVELS, [0, 1, 3], True),
    "one group": (TWO_LEVELS, [0, 1, 2], False),
}


@pytest.mark.parametrize(("lines", "signed", "holds"), QUORUMS.values(), ids=QUORUMS.keys())
def test_quorum(lines, signed, holds) -> None:
    policy = parse_policy(TOP + lines)
    note = sign_tree_head(HEAD, LOG) + "".join(W[i].cosign(HEAD, 1000 + i) for i in signed)
    if holds:
        trusted = policy.check(note)
        assert trusted.head == HEAD
        last = max(signed, default=None)
        assert (trusted.cosigned_at is None) == (last is None)
        if last is not None:
            assert trusted.cosigned_at.timestamp() == 1000 + last
    else:
        with pytest.raises(BadSignatureError, match="quorum"):
            policy.check(note)


def test_one_witness_counts_once_however_often_it_signs() -> None:
    policy = parse_policy(TOP + "group g 2 W0 W1\nquorum g\n")
    note = sign_tree_head(HEAD, LOG) + W[0].cosign(HEAD, 5) + W[0].cosign(HEAD, 6)
    with pytest.raises(BadSignatureError, match="quorum"):
        policy.check(note)


def test_a_cosignature_without_a_time_makes_no_statement() -> None:
    note = sign_tree_head(HEAD, LOG) + W[3].cosign(HEAD, 0)
    with pytest.raises(BadSignatureError, match="quorum"):
        parse_policy(TOP + "quorum W3\n").check(note)


def test_a_log_that_the_policy_does_not_know() -> None:
    other = SigningKey.from_seed("site-b/consent-log", b"b" * 32)
    head = TreeHead(other.name, 7, b"r" * 32)
    for note in (
        sign_tree_head(head, other),
        sign_tree_head(HEAD, SigningKey.from_seed(LOG.name, b"x" * 32)),
    ):
        with pytest.raises(BadSignatureError):
            parse_policy(TOP + "quorum none\n").check(note)


BAD = {
    "no quorum": "group g any W0\n",
    "two quorums": "quorum none\nquorum none\n",
    "an unknown quorum": "quorum X\n",
    "a group used before it is there": "group g any h\ngroup h any W0\nquorum g\n",
    "a group of itself": "group g any g\nquorum g\n",
    "a group without members": "group g any\nquorum g\n",
    "three of two": "group g 3 W0 W1\nquorum g\n",
    "none of two": "group g 0 W0 W1\nquorum g\n",
    "a half": "group g 1.5 W0 W1\nquorum g\n",
    "a member twice": "group g 2 W0 W0\nquorum g\n",
    "a member of two groups": "group g any W0\ngroup h any W0\nquorum g\n",
    "a name twice": "group W0 any W1\nquorum W0\n",
    "a group named none": "group none any W1\nquorum none\n",
    "none as a member": "group g any none\nquorum g\n",
    "a log twice": f"log {LOG.verifier.vkey}\nquorum none\n",
    "a witness twice": f"witness again {W[0].verifier.vkey}\nquorum none\n",
    "a log key as a witness": f"witness again {LOG.verifier.vkey}\nquorum none\n",
    "a witness key as a log": f"log {W[0].verifier.vkey}\nquorum none\n",
    "an unknown word": "trust me\nquorum none\n",
    "a carriage return": "quorum none\r\n",
    "too many words": "quorum none W0\n",
}


@pytest.mark.parametrize("lines", BAD.values(), ids=BAD.keys())
def test_bad_policies_are_refused(lines) -> None:
    with pytest.raises(MalformedError, match="policy"):
        parse_policy(TOP + lines)


def test_collusion_of_site_and_server_is_caught_by_a_third_witness_and_only_by_it() -> None:
    """Site and server write another history and sign it; a quorum of 2 of 3 needs an outsider.

    With no outsider in the policy the rewritten log passes: nothing in it is wrong.
    """
    server, union, authority = W[0], W[1], W[2]
    rewritten = TreeHead(LOG.name, 7, b"x" * 32)
    forged = sign_tree_head(rewritten, LOG) + server.cosign(rewritten, 2000)
    two_of_three = parse_policy(TOP + "group g 2 W0 W1 W2\nquorum g\n")
    true = sign_tree_head(HEAD, LOG) + server.cosign(HEAD, 1000) + union.cosign(HEAD, 1000)
    assert two_of_three.check(true).head == HEAD
    with pytest.raises(ConsentError, match="quorum"):
        two_of_three.check(forged)
    with pytest.raises(ConsentError):  # cosignatures of the true head do not help the other
        two_of_three.check(forged + authority.cosign(HEAD, 1000))
    server_alone = parse_policy(TOP + "quorum W0\n")
    assert server_alone.check(forged).head == rewritten  # undetected, as docs say
