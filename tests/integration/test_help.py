"""``--help`` that teaches: every command, argument and option says what it is."""

from importlib import import_module
from importlib.metadata import version

import pytest
import typer

PROGRAMS = ["consent.cli", "core_model.cli", "fl_client.cli", "fl_server.cli", "simulations.cli"]
CLICK = tuple(map(int, version("click").split(".")[:2]))


def leaves(command, *path):
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from leaves(inner, *path, name)
    else:
        yield " ".join(path), command


@pytest.mark.skipif(CLICK >= (8, 5), reason="make install: typer 0.20 hides such help with it")
@pytest.mark.parametrize("program", PROGRAMS)
def test_every_parameter_says_what_it_is(program) -> None:
    commands = dict(leaves(typer.main.get_command(import_module(program).app)))
    assert len(commands) >= 5
    assert [name for name, c in commands.items() if not c.help] == []
    silent = [f"{n} {p.name}" for n, c in commands.items() for p in c.params if not p.help]
    assert silent == []
