"""Flower's SuperLink, with the weights of sites in memory alone.

Flower keeps messages and what is in them in one database, in clear, in a file that never shrinks.
Here the database keeps who is registered and which runs there were, so that SuperNodes reconnect
after a restart; the objects, which are the updates of sites, never touch the disk. After a crash
they are gone, and the round begins anew.
"""

from __future__ import annotations

from importlib import import_module

from flwr.supercore.constant import FLWR_IN_MEMORY_DB_NAME
from flwr.supercore.object_store import ObjectStoreFactory
from flwr.superlink import config_loader


def keep_objects_in_memory() -> None:
    """Make the SuperLink of this process keep its objects in memory, whatever its database is."""
    # A version of Flower that has it no more must fail here, and not pass in silence.
    assert vars(config_loader)["ObjectStoreFactory"] is ObjectStoreFactory

    def in_memory(_database: str) -> ObjectStoreFactory:
        return ObjectStoreFactory(FLWR_IN_MEMORY_DB_NAME)

    vars(config_loader)["ObjectStoreFactory"] = in_memory


def main() -> None:
    """Start a SuperLink; the arguments are Flower's own."""
    keep_objects_in_memory()
    import_module("flwr.superlink.cli.flower_superlink").flower_superlink()


if __name__ == "__main__":
    main()
