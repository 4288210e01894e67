"""The folder that holds all of a site's consent: its files, and how it begins.

::

    log.sqlite        entries, tree, heads, sealed openings
    store.url         instead of it: where the log is in PostgreSQL; holds no password
    high-water        the last head signed: a restored backup is noticed
    keystore.sqlite   wrapped keys of the openings, apart from the log on purpose
    keys/             one file for each key; kek.key unwraps the keystore
    hooks/            what is done after a withdrawal
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from consent import private_file
from consent.keys import SigningKey
from consent.log import Clock, ConsentLog, Location, check_url, open_store
from consent.model import Role
from consent.site_events import SiteDescribed
from consent.site_keys import SiteKeys, key_name
from consent.vault import Vault

OWN_ROLES = (Role.LOG, Role.ROOT, Role.DPO, Role.REGISTRAR, Role.OPERATOR)


@dataclass(frozen=True)
class SiteFolder:
    """Where everything lies."""

    folder: Path

    @property
    def log(self) -> Location:
        """The log: a file here, or the URL of the database that holds it."""
        url = self.folder / "store.url"
        if url.exists():
            return check_url(private_file.read(url).decode().strip())
        return self.folder / "log.sqlite"

    @property
    def high_water(self) -> Path:
        """The mark of the last head signed. It stays at the site, wherever the log is."""
        return self.folder / "high-water"

    def open_log(
        self,
        log_key: SigningKey | None = None,
        vault: Vault | None = None,
        outgoing: SigningKey | None = None,
    ) -> ConsentLog:
        """Open the log: for reading, or with the keys that sign its heads."""
        return ConsentLog(self.log, log_key, vault, outgoing=outgoing, high_water=self.high_water)

    @property
    def keys(self) -> SiteKeys:
        """The site's own keys."""
        return SiteKeys(self.folder / "keys")

    @property
    def append_lock(self) -> Path:
        """Locked while someone appends."""
        return self.folder / "append.lock"

    def open_vault(self) -> Vault:
        """Open the keystore."""
        return Vault.open(self.folder / "keystore.sqlite", self.folder / "keys" / "kek.key")

    def found(
        self,
        site: str,
        clock: Clock,
        territory: str | None,
        num_roots: int,
        ready: Mapping[Role, SigningKey],
        store: str | None = None,
    ) -> None:
        """Make all files: a key of each role, and a log that says whose it is.

        Args:
            site: Public name; the log is named ``<site>/consent-log``.
            clock: Tells the time.
            territory: ISO 3166 code of where the data are used.
            num_roots: Root keys to make.
            ready: Keys to take instead of new ones.
            store: URL of a PostgreSQL database for the log, without password.

        Raises:
            KeyFileError: There are files already.
            FileExistsError: There is a log in the database already.
            StoreError: The database cannot be used, or the URL holds a password.
        """
        if store is not None:
            open_store(check_url(store)).check_empty()  # before anything is made
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.keys.folder.mkdir(exist_ok=True, mode=0o700)
        if store is not None:
            private_file.write_new(self.folder / "store.url", f"{store}\n".encode())
        vault = Vault.create(self.folder / "keystore.sqlite", self.folder / "keys" / "kek.key")
        roles = [*OWN_ROLES, *[Role.ROOT] * (num_roots - 1)]
        new = [(role, SigningKey.generate(key_name(site, role))) for role in roles]
        made = [(role, ready.get(role, key)) for role, key in new]
        for role, key in made:
            self.keys.save(role, key)
        (_, log_key), *others = made
        public = [(role, key.verifier) for role, key in others]
        log = ConsentLog.create(self.log, log_key, vault, public, clock, high_water=self.high_water)
        log.append([SiteDescribed(site=site, territory=territory)], log_key, clock)
