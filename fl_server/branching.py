"""Go on from an earlier round, or beside a run: a new run that has the first rounds of another.

Nothing is deleted and no round is told twice. The new run has a name of its own in every signature;
its first entry in the log of rounds says where it left the other. What the server saw of each site
last goes along, so nobody can hide behind a branch: consent logs and privacy ledgers only grow.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from consent.keys import SigningKey
from core_model.checkpoint import load_checkpoint, manifest_path
from core_model.durable import put_in_place
from fl_server.config import FederationDraft, load_draft
from fl_server.errors import StartError
from fl_server.figures import figures_path
from fl_server.folder import ServerFolder
from fl_server.kept_attestations import keep_attestations, kept_envelopes
from fl_server.round_log import RoundLog
from fl_server.round_state import BranchPoint, RunState, load_state, model_path, save_state
from fl_server.run_lock import hold

_NAME = re.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Branch:
    """A run that was begun."""

    run_id: str
    point: BranchPoint
    kept: Path  # settings of the run that was left


def roll_back(folder: ServerFolder, number: int) -> Branch:
    """Begin a run after round ``number``, under the next free name.

    Raises:
        StartError: The server runs, or there is no such round.
    """
    run_id = load_draft(folder.federation).run_id
    at = 2
    while _is_used(folder, f"{run_id}-{at}"):
        at += 1
    return branch_off(folder, f"{run_id}-{at}", number)


def branch_off(folder: ServerFolder, name: str, number: int) -> Branch:
    """Begin a run after round ``number`` of the one that federation.toml names, and name it there.

    Args:
        folder: Of the server, which must not run.
        name: Of the new run.
        number: The last round that both have.

    Raises:
        StartError: The server runs, the name is taken or none, or there is no such round.
        RoundLogError: The log tells something else than the run.
        CheckpointError: The model of that round cannot be read.
    """
    if _NAME.fullmatch(name) is None or _is_used(folder, name):
        raise StartError(f"{name!r}: expected a name that is not used yet: letters, digits, dashes")
    draft = load_draft(folder.federation)
    with hold(folder.lock), hold(draft.output / "run.lock"):
        state = load_state(draft.output, draft.run_id)
        if not 1 <= number <= state.round:
            raise StartError(
                f"{draft.run_id}: {state.round} rounds are finished, so none is {number}"
            )
        # (1) what was finished is in the log before anything else happens
        log = RoundLog(folder.round_log, SigningKey.load(folder.log_key))
        log.catch_up(draft.run_id, state.summaries, state.branch)
        # (2) the new run's folder, whole or not at all
        point = _where(state, number)
        _copy(draft, _output(folder, name), _begin(state, name, number, point), number)
        # (3) last, the settings that point to it
        kept = _rename_run(folder, draft.run_id, name)
    return Branch(name, point, kept)


def _where(state: RunState, number: int) -> BranchPoint:
    """Return the run under which a round is logged."""
    if state.branch is not None and number <= state.branch.round:
        return BranchPoint(run_id=state.branch.run_id, round=number)
    return BranchPoint(run_id=state.run_id, round=number)


def _begin(state: RunState, name: str, number: int, point: BranchPoint) -> RunState:
    """Return the state after the rounds that both have, with all that was seen of sites since."""
    sites = {s: seen.model_copy(update={"attestation": ""}) for s, seen in state.sites.items()}
    return RunState(run_id=name, summaries=state.summaries[:number], sites=sites, branch=point)


def _copy(draft: FederationDraft, output: Path, state: RunState, number: int) -> None:
    unfinished = output.with_name(f"{output.name}.draft")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    load_checkpoint(model_path(draft.output, number))  # before anything points to it
    figures_path(unfinished, 1).parent.mkdir()
    for each in range(1, number + 1):
        path = model_path(draft.output, each)
        for file in (path, manifest_path(path), figures_path(draft.output, each)):
            if file.exists():  # never written to again, so no copy
                os.link(file, unfinished / file.relative_to(draft.output))
    for summary in state.summaries:
        envelopes = kept_envelopes(draft.output, summary.round, summary.admitted)
        keep_attestations(unfinished, summary.round, envelopes)
    save_state(unfinished, state)
    put_in_place(unfinished, output)


def _rename_run(folder: ServerFolder, old: str, name: str) -> Path:
    """Point federation.toml to the new run; keep the old one beside it."""
    text = folder.federation.read_text(encoding="utf-8")
    kept = folder.root / f"federation.{old}.toml"
    if not kept.exists():
        shutil.copy(folder.federation, kept)
    output = _output(folder, name).relative_to(folder.root.resolve())
    for key, value in (("run_id", name), ("output", str(output))):
        text, num = re.subn(
            rf"(?m)^{key}\s*=\s*(\"[^\"\n]*\"|'[^'\n]*')", f"{key} = {json.dumps(value)}", text
        )
        if num != 1:
            raise StartError(f"{folder.federation}: expected one line with {key}; set it by hand")
    draft = folder.federation.with_name(f"federation.toml.{os.getpid()}.draft")
    draft.write_text(text, encoding="utf-8")
    put_in_place(draft, folder.federation)
    return kept


def _output(folder: ServerFolder, name: str) -> Path:
    return folder.root.resolve() / f"rounds-{name}"


def _is_used(folder: ServerFolder, name: str) -> bool:
    """Tell whether a run has or had this name here."""
    if _output(folder, name).exists() or load_draft(folder.federation).run_id == name:
        return True
    log = RoundLog(folder.round_log, SigningKey.load(folder.log_key))
    return any(entry.run_id == name for entry in log.entries)
