"""Errors of the consent package.

* ConsentError
  * KeyFileError              a key file is missing, readable by others, or not a key
  * MalformedError            bytes are not of the format that they claim
  * BadSignatureError         a signature does not match its text and key
  * ProofError                a Merkle proof does not verify
  * RoleError                 a key may not sign this event
  * RecordError               an event does not fit what the log says already
  * HookError                 what follows a withdrawal could not be done
  * AccountsError             the desk's accounts cannot be used, or not so changed
  * StoreError                the database of a log cannot be used
  * VaultError                sealed data cannot be opened with the keys at hand
  * LogDamagedError           a log does not agree with itself; names the entry
  * LogRolledBackError        a log is older than, or not an extension of, what was seen before
  * WitnessError              a witness refuses a tree head; has a ``status``
  * AttestationError          an attestation does not fit the round it came with; has a ``code``
  * ConsentChangedError       consent ended while its data was in use
  * BundleError               an evidence bundle does not hold; names the place
  * DeniedError               the rules deny it
"""

from __future__ import annotations


class ConsentError(Exception):
    """Base of all consent errors."""


class KeyFileError(ConsentError):
    """A key file is missing, readable by others, or not a key."""


class MalformedError(ConsentError):
    """Bytes are not of the format that they claim."""


class BadSignatureError(ConsentError):
    """A signature does not match its text and key."""


class ProofError(ConsentError):
    """A Merkle proof does not verify."""


class RoleError(ConsentError):
    """A key may not sign this event."""


class RecordError(ConsentError):
    """An event does not fit what the log says already. Names no person."""


class StoreError(ConsentError):
    """The database of a log cannot be used. Names neither server nor password."""


class HookError(ConsentError):
    """What follows a withdrawal could not be done. The withdrawal itself stands."""


class AccountsError(ConsentError):
    """The desk's accounts cannot be used, or not so changed."""


class VaultError(ConsentError):
    """Sealed data cannot be opened with the keys at hand."""


class LogDamagedError(ConsentError):
    """A log does not agree with itself."""


class LogRolledBackError(ConsentError):
    """A log is older than, or not an extension of, what was seen before."""


class WitnessError(ConsentError):
    """A witness refuses a tree head; ``status`` as in C2SP tlog-witness, ``body`` says why."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"{status}: {body.strip()}")
        self.status = status
        self.body = body


class AttestationError(ConsentError):
    """An attestation does not fit the round it came with.

    ``code`` is one of wrong_site, wrong_round, wrong_purpose, wrong_model, wrong_update,
    broken_chain, wrong_policy, wrong_code, wrong_epsilon, too_few_subjects.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


class ConsentChangedError(ConsentError):
    """Consent ended while its data was in use. Tells how many people, never who."""


class BundleError(ConsentError):
    """An evidence bundle does not agree with itself, or not with the log's key. Names the place."""


class DeniedError(ConsentError):
    """The rules deny it."""
