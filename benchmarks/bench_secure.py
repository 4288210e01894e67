"""What a secure sum costs against a plain one: 5 M and 22 M weights, 3 to 20 sites, no network.

For each size: a site's time to clip, code and mask its update; the server's to add all vectors up
and to take the masks off, with all sites and with one that dropped out; and the plain mean of as
many updates. In processor seconds. Before that, a small vector is summed by all sites in full, and
must come out to the bit.

    python benchmarks/bench_secure.py [--quick]
"""

from __future__ import annotations

import argparse
import platform
import time
from dataclasses import dataclass, field

import numpy as np
from bench_aggregate import make_update, schema_of

from consent.keys import SigningKey
from core_model.action_units import UNION
from core_model.protocol.secure import SealedShares, Unmasking
from core_model.secure_sum import sharing
from core_model.secure_sum.masking import put_on
from core_model.secure_sum.masks import commitment
from core_model.secure_sum.roster import RoundName, SignedKeys, SiteKeys
from core_model.secure_sum.terms import SITE_PARTS, SecureTerms
from core_model.secure_sum.vector import ALL, Layout
from fl_server.aggregation import Aggregator
from fl_server.secure_sum import Enrolled, SecureSum

SIZES = {"5 M": (192, 12), "22 M": (384, 12)}
NUM_SITES = (3, 5, 10, 20)
PARTS = {ALL: SITE_PARTS, **dict.fromkeys(UNION, SITE_PARTS)}


def threshold_of(num: int) -> int:
    return num - num // 4 if num > 3 else 2


@dataclass
class Site:
    """A site without data."""

    site_id: str
    mask_key: sharing.PrivateKey = field(default_factory=sharing.new_key)
    share_key: sharing.PrivateKey = field(default_factory=sharing.new_key)
    seed: bytes = field(default_factory=lambda: np.random.default_rng().bytes(32))
    signing: SigningKey = field(default_factory=lambda: SigningKey.generate("s/operator"))

    def signed(self, name: RoundName) -> SignedKeys:
        """Return its keys for a round."""
        keys = SiteKeys(
            site_id=self.site_id,
            mask_key=sharing.public_text(self.mask_key),
            share_key=sharing.public_text(self.share_key),
            labelled_aus=UNION,
        )
        return SignedKeys(keys=keys, signature=self.signing.sign(keys.statement(name)).hex())


class Round:
    """Sites and a server that have agreed on a roster."""

    def __init__(self, num: int, num_words: int) -> None:
        self.terms = SecureTerms(threshold=threshold_of(num), clip_norm=1e4)
        name = RoundName(
            run_id="bench", round=1, purpose="finetuning", model_in="", terms=self.terms
        )
        self.sites = [Site(f"site-{k:03d}") for k in range(num)]
        enrolled = {s.site_id: Enrolled(s.signing.verifier, SITE_PARTS) for s in self.sites}
        self.server = SecureSum(name, enrolled, num_words)
        for site in self.sites:
            self.server.add_keys(site.site_id, site.signed(name))
        context, names = self.server.roster.digest(), [s.site_id for s in self.sites]
        for site in self.sites:
            sealed = {n: "sealed" for n in names if n != site.site_id}
            shares = SealedShares(shares=sealed, commitment=commitment(site.seed, context))
            self.server.add_shares(site.site_id, shares)
        threshold = self.terms.threshold
        self.seeds = {s.site_id: sharing.split(s.seed, threshold, num) for s in self.sites}
        self.keys = {s.site_id: sharing.split(sharing.key_secret(s.mask_key), threshold, num)
                     for s in self.sites}  # fmt: skip

    def mask(self, site: Site, vector: np.ndarray) -> None:
        """Put a site's masks on."""
        put_on(vector, site.mask_key, site.seed, site.site_id, self.server.roster)

    def unmask(self) -> np.ndarray:
        """Have those who stayed give their shares; return the sum."""
        asked, seeds, keys = self.server.unmask_request(), self.seeds, self.keys
        for place, site in enumerate(self.sites):
            if site.site_id in asked.survivors:
                given = {s: seeds[s][place].hex() for s in asked.survivors}
                lost = {s: keys[s][place].hex() for s in asked.dropouts}
                self.server.add_unmasking(site.site_id, Unmasking(seeds=given, keys=lost))
        return self.server.total()


def seconds_of(what) -> float:
    started = time.process_time()
    what()
    return time.process_time() - started


def check(num: int) -> None:
    """Sum a small vector in full, with one drop-out; it must be right to the bit."""
    round_, chance = Round(num, 5000), np.random.default_rng(num)
    want = np.zeros(5000, np.uint32)
    for site in round_.sites[1:]:
        vector = chance.integers(0, 2**32, 5000, np.uint32)
        want += vector
        round_.mask(site, vector)
        round_.server.fold(site.site_id, vector)
    assert np.array_equal(round_.unmask(), want), "the sum is wrong"


def measure(size: str, num: int) -> None:
    schema = schema_of(*SIZES[size])
    layout = Layout(schema, UNION)
    old, new = make_update(schema, 0), make_update(schema, 1)
    aggregator = Aggregator(schema, UNION)
    plain = num * seconds_of(lambda: aggregator.fold(new, 1.0, dict.fromkeys(UNION, 1.0)))
    plain += seconds_of(lambda: aggregator.mean(old))
    round_ = Round(num, layout.num_words)
    vectors: list[np.ndarray] = []

    def send() -> None:
        vectors.append(layout.encode(old, new, PARTS, round_.terms, num))
        round_.mask(round_.sites[0], vectors[0])

    site = seconds_of(send)
    # The sum of the same vector is no model, and takes as long.
    costs = []
    for dropouts in (0, 1):
        again = Round(num, layout.num_words)
        adding = sum(seconds_of(lambda s=s, again=again: again.server.fold(s.site_id, vectors[0]))
                     for s in again.sites[dropouts:])  # fmt: skip
        costs.append(adding + seconds_of(again.unmask))
    print(f"| {size} | {num} | {site:.2f} | {costs[0]:.2f} | {costs[1]:.2f} | {plain:.2f} | "
          f"{vectors[0].nbytes / schema.num_bytes():.4f} |", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    numbers = (3, 5) if options.quick else NUM_SITES
    print(f"{platform.machine()}, numpy {np.__version__}, processor seconds")
    for num in numbers:
        check(num)
    print("| weights | sites | a site masks | server sums | one drops out | plain mean | bytes |")
    print("|---|---|---|---|---|---|---|")
    for size in ("5 M",) if options.quick else SIZES:
        for num in numbers:
            measure(size, num)


if __name__ == "__main__":
    main()
