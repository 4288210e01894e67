"""Sites that have all keys, or almost, and answer as they like."""

import dataclasses
import shutil
import threading

import numpy as np

from consent.attestation import open_attestation, sign_attestation
from consent.keys import SigningKey
from consent.model import Purpose
from core_model.protocol.records import decode_request, encode_site_id, encode_update
from fl_client.round import run_round
from fl_client.site import open_site
from simulations.dishonest import hide_withdrawal, send_identity_head, sign_again

torch_at_once = threading.Lock()


class Cheat:
    """A site that has all keys and answers as it likes; remembers what it really trained."""

    def __init__(self, folder) -> None:
        self.folder = folder
        self.site = open_site(folder.config)
        self.sent = []

    def reply(self, message):
        if message.metadata.message_type.startswith("query"):
            return encode_site_id(self.site.site_id)
        with torch_at_once:
            return encode_update(self.answer(decode_request(message.content)))

    def answer(self, request):
        self.sent.append(run_round(request, self.site))
        return self.sent[-1]


class Replays(Cheat):
    """Sends the update of round 1 again: as it was signed, then signed anew."""

    def answer(self, request):
        update = super().answer(request)
        if request.plan.round == 2:
            return self.sent[0]
        return sign_again(update, self.sent[0].arrays, self.site.key)


class SendsIdentityHead(Cheat):
    def answer(self, request):
        return send_identity_head(request, self.site)


class HidesWithdrawal(Cheat):
    """After round 1 a person withdraws, and the site goes on with the log from before."""

    def answer(self, request):
        before = self.folder.folder / "before"
        if request.plan.round == 1:
            shutil.copytree(self.folder.folder / "consent", before)
            return super().answer(request)
        if request.plan.round == 2:
            self.folder.withdraw("site-hides-p0", [Purpose.FINETUNING])
        return hide_withdrawal(request, self.site, before)


class SendsNaN(Cheat):
    def answer(self, request):
        update = super().answer(request)
        arrays = {name: array.copy() for name, array in update.arrays.items()}
        next(iter(arrays.values())).reshape(-1)[0] = np.nan
        return sign_again(update, arrays, self.site.key)


class Scales(Cheat):
    def answer(self, request):
        update = super().answer(request)
        arrays = {
            name: request.arrays[name] + 100 * (array - request.arrays[name])
            for name, array in update.arrays.items()
        }
        return sign_again(update, arrays, self.site.key)


class SignsWithAnotherKey(Cheat):
    """Its node is let in, but the key that signs is not the one that was enrolled."""

    def answer(self, request):
        update = super().answer(request)
        said = open_attestation(update.attestation, self.site.key.verifier).attestation
        other = SigningKey.generate(self.site.key.name)
        return dataclasses.replace(update, attestation=sign_attestation(said, other))


CHEATS = {
    "site-key": SignsWithAnotherKey,
    "site-replays": Replays,
    "site-leaks": SendsIdentityHead,
    "site-hides": HidesWithdrawal,
    "site-nan": SendsNaN,
    "site-scales": Scales,
}
