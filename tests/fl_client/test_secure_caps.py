"""What a dishonest server may try with roster and threshold, and what the site says."""

import pytest

from consent.keys import SigningKey
from core_model.protocol.messages import RefusalCode
from core_model.protocol.secure import UnmaskRequest
from core_model.secure_sum.roster import Member, Roster
from core_model.secure_sum.terms import SecureTerms
from fl_client.errors import RoundRefusedError
from fl_client.secure_caps import SecureCaps, check_peers, check_roster, check_terms, summable_aus
from fl_client.secure_round import check_unmask
from tests.secure_parties import Party, name_of, parties, roster_of

SITES = parties(5)
NAME = name_of(4)
ROSTER = roster_of(SITES, NAME)
OWN = ROSTER.members[0].signed
PEERS = {s.site_id: s.signing.verifier for s in SITES[1:]}
CAPS = SecureCaps()


def check(roster, name=NAME, caps=CAPS, peers=PEERS):
    check_roster(roster, name, OWN, peers, caps)


def swapped(place, member):
    members = list(ROSTER.members)
    members[place] = member
    return Roster(name=NAME, members=tuple(members))


def stranger(site_id):
    """A site that the server made up, with a key of its own."""
    return Member(signed=Party(site_id).signed(NAME))


def lowered(threshold):
    terms = SecureTerms(threshold=threshold, clip_norm=1.0)
    return ROSTER.model_copy(update={"name": NAME.model_copy(update={"terms": terms})})


def earlier(**changes):
    """Keys that site-b signed for another round; its secrets may be known by now."""
    return Member(signed=SITES[1].signed(name_of(4, **changes)))


def with_keys_of(site):
    keys = SITES[1].signed(NAME).keys.model_copy(update={"mask_key": site.keys.mask_key})
    signature = SITES[1].signing.sign(keys.statement(NAME)).hex()
    return Member(signed=OWN.model_copy(update={"keys": keys, "signature": signature}))


ATTACKS = {
    "the server swaps a site's keys for its own": lambda: swapped(
        1, Member(signed=Party("site-b").signed(NAME))),
    "a site with a self-made key that signs for itself": lambda: swapped(4, stranger("site-f")),
    "keys signed by another site": lambda: swapped(
        1, Member(signed=SITES[1].signed(NAME, SITES[2].signing))),
    "keys replayed from another round": lambda: swapped(1, earlier(round=2)),
    "keys replayed from another run": lambda: swapped(1, earlier(run_id="s")),
    "keys replayed from another model": lambda: swapped(1, earlier(model_in="6" * 64)),
    "keys signed under a lower threshold": lambda: swapped(
        1, earlier(terms=SecureTerms(threshold=2, clip_norm=1.0))),
    "the threshold is lowered": lambda: lowered(3),
    "this site is left out": lambda: Roster(name=NAME, members=ROSTER.members[1:]),
    "this site has other keys": lambda: swapped(
        0, Member(signed=Party("site-a").signed(NAME))),
    "this site stands twice": lambda: Roster(
        name=NAME, members=(ROSTER.members[0], *ROSTER.members)),
    "another site stands twice": lambda: swapped(2, ROSTER.members[1]),
    "the order is another one": lambda: Roster(name=NAME, members=ROSTER.members[::-1]),
    "a key stands twice": lambda: swapped(1, with_keys_of(OWN)),
    "AUs were added to signed keys": lambda: swapped(1, Member(signed=SITES[1].signed(
        NAME).model_copy(update={"keys": SITES[1].signed(NAME).keys.model_copy(
            update={"labelled_aus": (1,)})}))),
    "another round's roster": lambda: ROSTER.model_copy(update={"name": name_of(4, round=2)}),
    "others weigh next to nothing, so one stands out": lambda: Roster(
        name=NAME, members=(ROSTER.members[0], *(
            m.model_copy(update={"parts": 1}) for m in ROSTER.members[1:]))),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_dishonest_roster_is_refused(attack) -> None:
    check(ROSTER)
    with pytest.raises(RoundRefusedError) as e:
        check(attack())
    assert e.value.code is RefusalCode.ROSTER_REFUSED


COHORTS = {
    "three of five could be lied down to two": (5, 3, {}, False),
    "four of five leave four": (5, 4, {}, True),
    "half is not above half": (4, 2, {"min_sites": 2}, False),
    "two of three, and the site wants three": (3, 2, {}, False),
    "two of three, and two are enough": (3, 2, {"min_sites": 2}, True),
    "all of three": (3, 3, {}, True),
    "all of three, one of whom may side with the server": (3, 3, {"max_colluding": 1}, False),
    "all of four, one of whom may": (4, 4, {"max_colluding": 1}, True),
    "more than there are": (3, 4, {}, False),
}


@pytest.mark.parametrize(
    ("num", "threshold", "caps", "is_fine"), COHORTS.values(), ids=COHORTS.keys()
)
def test_small_cohort_is_refused(num, threshold, caps, is_fine) -> None:
    name, caps = name_of(threshold), SecureCaps(**caps)
    roster = roster_of(SITES[:num], name)
    own = roster.members[0].signed

    def ask():
        check_roster(roster, name, own, PEERS, caps)

    if is_fine:
        ask()
        check_terms(name, caps, 4)
        return
    with pytest.raises(RoundRefusedError):
        ask()


def test_threshold_that_the_known_sites_never_reach_is_refused_before_keys_are_made() -> None:
    with pytest.raises(RoundRefusedError, match="peers"):
        check_terms(name_of(3), CAPS, 1)
    with pytest.raises(RoundRefusedError, match="min_sites"):
        check_terms(name_of(2), CAPS, 5)


def asked(survivors, dropouts, **changes):
    sites = {c: f"site-{c}" for c in "abcdez"}
    return UnmaskRequest(**{
        "run_id": "r", "round": 1, "survivors": [sites[c] for c in survivors],
        "dropouts": [sites[c] for c in dropouts], **changes,
    })  # fmt: skip


UNMASKING = {
    "both shares of one site": asked("abcde", "b"),
    "both shares of all": asked("abcde", "abcde"),
    "a survivor twice": asked("abcdd", "e"),
    "fewer survivors than the threshold": asked("abc", "de"),
    "this site is said to have dropped out": asked("bcde", "a"),
    "a site that was sent no shares": asked("abcdez", ""),
    "a site is not mentioned": asked("abcd", ""),
    "another round": asked("abcde", "", round=2),
    "another run": asked("abcde", "", run_id="s"),
}


@pytest.mark.parametrize("request_", UNMASKING.values(), ids=UNMASKING.keys())
def test_dishonest_unmasking_is_refused(request_) -> None:
    check_unmask(asked("abcde", ""), ROSTER, "site-a")
    check_unmask(asked("eabc", "d"), ROSTER, "site-a")
    with pytest.raises(RoundRefusedError):
        check_unmask(request_, ROSTER, "site-a")


@pytest.mark.parametrize(
    ("labelled", "caps", "want"),
    [
        ([(1, 2), (1,), (1,), (1,), ()], {}, (1,)),  # one may be made to leave: four are needed
        ([(1, 2), (1,), (1,), (), ()], {}, ()),
        ([(1, 2), (1,), (1,), (), ()], {"min_sites_per_row": 2}, (1,)),
        ([(1, 2), (), (), (), ()], {"min_sites_per_row": 1}, (1, 2)),
    ],
)
def test_row_that_too_few_label_stays_at_the_site(labelled, caps, want) -> None:
    sites = [Party(f"site-{c}", aus) for c, aus in zip("abcde", labelled, strict=True)]
    roster = roster_of(sites, NAME)
    assert summable_aus(roster, roster.members[0].signed, SecureCaps(**caps)) == want


def test_peers_are_keys_and_no_key_stands_twice() -> None:
    vkey = SigningKey.generate("site-b/operator").verifier.vkey
    assert check_peers({"site-b": vkey}) == {"site-b": vkey}
    with pytest.raises(ValueError, match="same key"):
        check_peers({"site-b": vkey, "site-c": vkey})
    with pytest.raises(ValueError, match="C2SP"):
        check_peers({"site-b": "site-b"})
