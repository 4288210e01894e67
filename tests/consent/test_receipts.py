import base64
import json
import re
import tomllib
from importlib.resources import files

import pytest
from typer.testing import CliRunner

from consent.commands.receipts import app
from consent.cosignature import Cosigner
from consent.dpv import STATUSES
from consent.errors import BadSignatureError, ConsentError, MalformedError, ProofError, RecordError
from consent.keys import SigningKey, VerifierKey
from consent.model import Purpose, Role
from consent.note import parse_tree_head, split_note
from consent.proof_file import make_proof
from consent.receipt_page import LANGUAGES, render_page, token_of
from consent.receipts import check_receipt, issue
from consent.registry import Registry
from consent.trust import TrustPolicy, Witness, parse_policy
from tests.consent.conftest import Clock, give, key_of

WITNESS = Cosigner.generate("witness.example")


@pytest.fixture
def person(registry, notice):
    someone = registry.register("someone")
    give(registry, someone, notice)
    person = registry.register("p")
    give(registry, person, notice, Purpose.FINETUNING, Purpose.PRETRAINING)
    registry.register("another")
    return person


@pytest.fixture
def trusting(registry):
    """Believe the log's key, and ask for no witness."""
    return TrustPolicy((VerifierKey.parse(registry.log_vkey),), {}, {}, None)


@pytest.fixture
def demanding(registry):
    """Believe the log's key, if the witness cosigned."""
    text = f"log {registry.log_vkey}\nwitness w {WITNESS.verifier.vkey}\nquorum w\n"
    return parse_policy(text)


def cosign(registry) -> None:
    note = registry.snapshot().tree_head
    line = WITNESS.cosign(parse_tree_head(split_note(note)[0]), 1_800_000_000)
    registry.journal.replay.log.add_cosignatures(note + line, [WITNESS.verifier])


def test_a_receipt_holds(registry, person, trusting) -> None:
    receipt = issue(registry, person)
    checked = check_receipt(receipt.token, trusting)
    assert checked.event == registry.state().subjects[person].answers[Purpose.FINETUNING].event
    assert checked.receipt.identifier == receipt.identifier
    assert checked.trusted.head.size == registry.state().size
    assert receipt.payload["@type"] == "dpv:ConsentReceipt"
    header = json.loads(unpad(receipt.token.split(".")[0]))
    key_id = VerifierKey.parse(registry.log_vkey).key_id.hex()
    assert header == {"alg": "Ed25519", "typ": "consent-receipt+jwt", "kid": key_id}


def test_the_signature_is_plain_ed25519(registry, person) -> None:
    """Checked without the library that made it: RFC 7515, section 5.2."""
    signed, _, signature = issue(registry, person).token.rpartition(".")
    VerifierKey.parse(registry.log_vkey).check(signed.encode(), unpad(signature))


def test_a_receipt_of_each_kind_of_answer(registry, person, notice, trusting) -> None:
    registry.refuse(person, [Purpose.PUBLICATION], notice)
    registry.withdraw(person, [Purpose.FINETUNING])
    history = registry.state().subjects[person].history
    for item in (i for i in history if i.event.type in STATUSES):
        checked = check_receipt(issue(registry, person, item.index).token, trusting)
        assert checked.event == item.event
    assert check_receipt(issue(registry, person).token, trusting).event.type == "consent.withdrawn"


def test_a_lost_receipt_is_issued_again_under_the_same_number(registry, person, notice) -> None:
    first = issue(registry, person)
    index = first.entry.seq
    registry.withdraw(person)
    again = issue(registry, person, index)
    assert again.identifier == first.identifier
    assert again.token != first.token  # against a newer head


def test_a_receipt_outlives_the_erasure_of_the_person(registry, person, trusting) -> None:
    receipt = issue(registry, person)
    registry.erase(person, "GDPR 17(1)(b)")
    check_receipt(receipt.token, trusting)
    with pytest.raises(RecordError, match="erased"):
        issue(registry, person)


def test_no_receipt_of_what_is_not_theirs(registry, person) -> None:
    with pytest.raises(RecordError, match="no answer"):
        issue(registry, person, 0)
    with pytest.raises(RecordError, match="no answer"):
        issue(registry, registry.find("another"))
    with pytest.raises(RecordError, match="no such person"):
        issue(registry, "nobody")


# --- lies ------------------------------------------------------------------------------------


def unpad(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def pad(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def forge(receipt, key, *, header=None, **payload) -> str:
    """Sign a receipt with other contents, as whoever holds ``key`` could."""
    head = {"alg": "Ed25519", "typ": "consent-receipt+jwt", "kid": key.verifier.key_id.hex()}
    body = {k: v for k, v in (receipt.payload | payload).items() if v is not None}
    signed = f"{pad(json.dumps(head | (header or {})).encode())}.{pad(json.dumps(body).encode())}"
    return f"{signed}.{pad(key.sign(signed.encode()))}"


def test_a_forged_receipt_that_changes_nothing_holds(registry, person, trusting) -> None:
    check_receipt(forge(issue(registry, person), key_of(Role.LOG)), trusting)


HEADERS = {
    "no algorithm": {"alg": "none"},
    "keyed hash with the public key": {"alg": "HS256"},
    "another type": {"typ": "JWT"},
    "critical extension": {"crit": ["b64"], "b64": False},
    "another key id": {"kid": "00000000"},
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_headers_that_weaken_the_signature(registry, person, trusting, header) -> None:
    token = forge(issue(registry, person), key_of(Role.LOG), header=header)
    with pytest.raises((MalformedError, BadSignatureError)):
        check_receipt(token, trusting)


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.REGISTRAR])
def test_a_receipt_by_another_key_of_the_site(registry, person, trusting, role) -> None:
    receipt, log_key_id = issue(registry, person), key_of(Role.LOG).verifier.key_id.hex()
    for header in ({}, {"kid": log_key_id}):
        with pytest.raises(BadSignatureError):
            check_receipt(forge(receipt, key_of(role), header=header), trusting)


def test_every_changed_byte_is_noticed(registry, person, trusting) -> None:
    token = issue(registry, person).token
    for at in range(0, len(token), 97):
        other = "A" if token[at] != "A" else "B"
        with pytest.raises(ConsentError):
            check_receipt(token[:at] + other + token[at + 1 :], trusting)


def test_a_receipt_without_a_proof(registry, person, trusting) -> None:
    token = forge(issue(registry, person), key_of(Role.LOG), **{"omote:proof": None})
    with pytest.raises(MalformedError, match="missing"):
        check_receipt(token, trusting)


def test_a_receipt_with_the_proof_of_another_entry(registry, person, trusting) -> None:
    receipt = issue(registry, person)
    other = make_proof(registry.snapshot(), receipt.entry.seq - 1)
    with pytest.raises(ProofError, match="the proof is of entry"):
        check_receipt(receipt.token, trusting, other)
    relabelled = other.text().replace(f"index {other.index}", f"index {receipt.entry.seq}")
    token = forge(receipt, key_of(Role.LOG), **{"omote:proof": relabelled})
    with pytest.raises(ProofError):
        check_receipt(token, trusting)


def test_a_receipt_against_an_uncosigned_head(registry, person, demanding, trusting) -> None:
    receipt = issue(registry, person)
    check_receipt(receipt.token, trusting)
    with pytest.raises(BadSignatureError, match="quorum"):
        check_receipt(receipt.token, demanding)
    cosign(registry)
    newer = make_proof(registry.snapshot(), receipt.entry.seq)
    assert check_receipt(receipt.token, demanding, newer).trusted.cosigned_at is not None
    registry.register("one more")  # the newest head is not cosigned; the receipt takes the older
    check_receipt(issue(registry, person).token, demanding)


def test_a_witness_that_is_not_asked_for_does_not_count(registry, person, demanding) -> None:
    cosign(registry)
    other = Cosigner.generate("witness.example").verifier
    policy = TrustPolicy(demanding.logs, {"w": Witness(other, None)}, {}, "w")
    with pytest.raises(BadSignatureError):
        check_receipt(issue(registry, person).token, policy)


def test_a_receipt_of_an_entry_that_was_never_logged(registry, person, trusting, tmp_path) -> None:
    """The site keeps a second log, writes the consent there, and gives out its proof."""
    keys = {role: key_of(role) for role in Role if role is not Role.SUBJECT}
    hidden = Registry.create(tmp_path / "hidden", "site-a", Clock(), keys=keys)
    notice = hidden.publish_notice("study", "en", "We train a detector.", list(Purpose))
    other = hidden.register("p")
    give(hidden, other, notice)
    token = issue(hidden, other).token
    check_receipt(token, trusting)  # without witnesses nobody can tell
    cosign(registry)
    text = f"log {registry.log_vkey}\nwitness w {WITNESS.verifier.vkey}\nquorum w\n"
    with pytest.raises(BadSignatureError, match="quorum"):
        check_receipt(token, parse_policy(text))


def test_a_receipt_of_another_log(registry, person, tmp_path) -> None:
    stranger = SigningKey.generate("site-b/consent-log")
    policy = TrustPolicy((stranger.verifier,), {}, {}, None)
    with pytest.raises(BadSignatureError, match="knows no log"):
        check_receipt(issue(registry, person).token, policy)


def test_the_site_promises_more_than_it_logged(registry, person, trusting) -> None:
    """Signed by the log's own key, and still refused: the words are not those of the entry."""
    receipt = issue(registry, person)

    def lie(change) -> str:
        records = json.loads(json.dumps(receipt.payload["dpv:hasRecordOfActivity"]))
        change(records)
        return forge(receipt, key_of(Role.LOG), **{"dpv:hasRecordOfActivity": records})

    def other_status(records) -> None:
        records[0]["dpv:hasConsentStatus"][-1]["@type"] = ["dpv:ConsentRefused"]

    def other_purpose(records) -> None:
        records[0]["dpv:hasProcess"]["dpv:hasPurpose"]["@id"] = "omote:publication"

    def other_person(records) -> None:
        records[0]["dpv:hasDataSubject"]["dct:identifier"] = "0" * 32

    def shorter(records) -> None:
        until = {"@type": "dpv:UntilTimeDuration", "rdf:value": "2026-02-01T00:00:00+00:00"}
        records[0]["dpv:hasConsentStatus"][-1]["dpv:hasDuration"] = [until]

    for change in (other_status, other_purpose, other_person, shorter, list.pop, list.clear):
        with pytest.raises(ProofError, match="something else"):
            check_receipt(lie(change), trusting)
    record_twice = receipt.payload["dpv:hasRecordOfActivity"] * 2
    with pytest.raises(ProofError, match="something else"):
        check_receipt(
            forge(receipt, key_of(Role.LOG), **{"dpv:hasRecordOfActivity": record_twice}), trusting
        )


def test_an_opening_that_is_not_of_the_entry(registry, person, trusting, notice) -> None:
    receipt = issue(registry, person)
    event = receipt.payload["omote:event"] | {"kind": "written_release"}
    salt = base64.b64encode(b"0" * 32).decode()
    for changed in ({"omote:event": event}, {"omote:salt": salt}):
        with pytest.raises(ProofError, match="does not commit"):
            check_receipt(forge(receipt, key_of(Role.LOG), **changed), trusting)


# --- the page --------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_stands_alone(registry, person, language) -> None:
    receipt = issue(registry, person)
    page = render_page(receipt, language)
    assert token_of(page) == (language, receipt.token)
    assert "<script" not in page
    assert not re.search(r'(src|href)=|url\(|@import|\son\w+="', page)
    shown = re.sub(r"<[^>]+>", " ", page)
    proof = receipt.proof
    root = parse_tree_head(split_note(proof.tree_head)[0]).root
    for text in (receipt.identifier, person, base64.b64encode(root).decode().replace("+", "&#43;")):
        assert text in shown or text.replace("&#43;", "+") in shown
    assert page.count("<tr>") == 1 + 2


def test_the_page_is_a_function_of_the_receipt(registry, person) -> None:
    receipt = issue(registry, person)
    assert render_page(receipt, "ja") == render_page(receipt, "ja")
    with pytest.raises(MalformedError, match="en, ja"):
        render_page(receipt, "fr")


def test_both_languages_say_everything() -> None:
    texts = tomllib.loads(files("consent").joinpath("templates/receipt.toml").read_text("utf-8"))
    assert tuple(texts) == LANGUAGES
    assert set(texts["en"]) == set(texts["ja"])
    assert {*Purpose} | {t.partition(".")[2] for t in STATUSES} <= set(texts["en"])
    for key, text in texts["en"].items():
        assert sorted(re.findall(r"{\w+}", text)) == sorted(re.findall(r"{\w+}", texts["ja"][key]))


def test_names_are_escaped(registry, person) -> None:
    receipt = issue(registry, person)
    receipt.payload["dct:publisher"] = "<b>site"
    assert "<b>site" not in render_page(receipt, "en")


def test_commands(registry, person, tmp_path) -> None:
    run, folder = CliRunner(), ["--folder", str(registry.folder)]
    made = {}
    for form in ("jws", "html", "tlog-proof"):
        made[form] = tmp_path / f"receipt.{form}"
        args = ["receipt", person, "--format", form, "-o", str(made[form]), *folder]
        assert run.invoke(app, args).exit_code == 0
    trust = ["--vkey", registry.log_vkey]
    for form in ("jws", "html"):
        good = run.invoke(app, ["receipt-check", str(made[form]), *trust])
        assert (good.exit_code, "Holds: receipt" in good.output) == (0, True), good.output
    with_proof = ["receipt-check", str(made["jws"]), "--proof", str(made["tlog-proof"]), *trust]
    assert run.invoke(app, with_proof).exit_code == 0
    page = made["html"].read_text("utf-8")
    made["html"].write_text(page.replace(">Yes<", ">No<"), "utf-8")
    changed = run.invoke(app, ["receipt-check", str(made["html"]), *trust])
    assert (changed.exit_code, "words of this page" in changed.output) == (1, True)
    made["jws"].write_text(made["jws"].read_text()[:-9] + "AAAAAAAA\n")
    broken = run.invoke(app, ["receipt-check", str(made["jws"]), *trust])
    assert (broken.exit_code, "INVALID" in broken.output) == (3, True)
    assert run.invoke(app, ["receipt-check", str(made["jws"])]).exit_code == 2
