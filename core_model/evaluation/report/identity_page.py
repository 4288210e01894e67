"""Write an identity evaluation: JSON, CSV and one HTML page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from core_model.evaluation.identity_result import GroupResult, IdentityResult
from core_model.evaluation.report.page import render, write_text
from core_model.evaluation.report.plots import CLEAN, GREY, INK, PAPER, error_bars, new_figure, svg
from core_model.evaluation.report.tables import write_csv

COLUMNS = (
    "model", "people", "are_new", "surface", "attacker", "measure", "value", "low", "high",
    "chance", "num_people",
)  # fmt: skip
SURFACES = {"features": "features", "logits": "AU logits", "au_outputs": "AU outputs"}
ATTACKERS = {"linear": "linear", "mlp": "MLP", "knn": "nearest neighbours"}
_COLOURS = {"linear": CLEAN, "mlp": PAPER, "knn": GREY}


def write_identity(result: IdentityResult, out: Path) -> Path:
    """Write ``identity.json``, ``identity.csv`` and ``identity.html``; return the page."""
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "identity.json", result.model_dump_json(indent=2) + "\n")
    write_csv(out / "identity.csv", COLUMNS, _rows(result))
    page = render(
        "identity.html",
        result=result,
        surfaces=SURFACES,
        attackers=ATTACKERS,
        figures=[attack_plot(g) for g in result.groups],
    )
    write_text(out / "identity.html", page)
    return out / "identity.html"


def attack_plot(group: GroupResult) -> str:
    """Return the accuracy of every attacker on every surface, against guessing."""
    figure, axes = new_figure(7.2, 3.0)
    for i, name in enumerate(ATTACKERS):
        found = [
            next(a for a in surface.attacks if a.attacker == name)
            for surface in group.surfaces.values()
        ]
        places = [x + (i - 1) * 0.27 for x in range(len(found))]
        values = [a.accuracy.value or 0 for a in found]
        axes.bar(places, values, 0.25, color=_COLOURS[name], label=ATTACKERS[name])
        error_bars(axes, places, [a.accuracy for a in found])
    axes.axhline(group.chance, color=INK, linestyle="--", linewidth=1, label="guessing")
    axes.set_xticks(range(len(group.surfaces)), [SURFACES[s] for s in group.surfaces])
    axes.set_ylim(0, 1)
    axes.set_ylabel("frames given to the right person")
    axes.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=9)
    return svg(figure)


def _rows(result: IdentityResult) -> Iterator[tuple[object, ...]]:
    for group in result.groups:
        head = (result.model.name, group.name, group.are_new)
        tail = (group.chance, group.num_people)
        for surface, found in group.surfaces.items():
            for a in found.attacks:
                for name, m in (
                    ("frame_accuracy", a.accuracy), ("recording_accuracy", a.recording_accuracy),
                ):  # fmt: skip
                    yield (*head, surface, a.attacker, name, m.value, m.low, m.high, *tail)
            if v := found.verification:
                for name, m, guess in (
                    ("equal_error_rate", v.equal_error_rate, 0.5),
                    ("tar_at_far_1e3", v.tar_at_far_1e3, 1e-3),
                ):
                    rates = (m.value, m.low, m.high, guess, group.num_people)
                    yield (*head, surface, "learned_metric", name, *rates)
        for name, value in group.weak_probe.model_dump().items():
            yield (*head, "features", "weak_probe", name, value, None, None, *tail)
