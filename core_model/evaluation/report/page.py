"""Write results: JSON, CSV and one HTML page without scripts or anything from outside."""

from __future__ import annotations

import os
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from core_model.action_units import NAMES
from core_model.evaluation.report import plots
from core_model.evaluation.report.tables import COLUMNS, evaluation_rows, write_csv
from core_model.evaluation.result import EvaluationResult, Measure

RULES = {
    "last": "last epoch",
    "best_on_validation": "best epoch by validation people",
    "best_on_test": "best epoch on the people tested on",
}
POLICIES = {
    "fixed_0.5": "0.5",
    "val_swept_common": "one for all AUs, by validation people",
    "val_swept_per_au": "one for each AU, by validation people",
    "test_swept": "one for all AUs, on the people tested on",
}
MEASURES = {
    "f1": "F1",
    "auc": "AUC",
    "average_precision": "average precision",
    "calibration_error": "calibration error",
    "brier": "Brier score",
}


def write_evaluation(result: EvaluationResult, out: Path) -> Path:
    """Write ``evaluation.json``, ``evaluation.csv`` and ``evaluation.html``; return the page."""
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "evaluation.json", result.model_dump_json(indent=2) + "\n")
    write_csv(out / "evaluation.csv", COLUMNS, evaluation_rows(result))
    main = result.protocols.get("clean") or next(iter(result.protocols.values()))
    companies = {str(n): p.company for n, p in result.protocols.items()}
    page = render(
        "evaluation.html",
        result=result,
        main=main,
        f1_plot=plots.f1_by_au(result),
        epoch_plot=plots.epochs(result.epochs) if len(result.epochs) > 1 else None,
        reliability_plot=plots.reliability(main.reliability, main),
        alarm_plot=plots.company_map(result.action_units, main.company.false_alarms, "Reds"),
        hit_plot=plots.company_map(result.action_units, main.company.hits, "Blues"),
        others_plot=plots.by_others(companies),
        person_plot=plots.by_person(main.people, main.macro["f1"]),
    )
    write_text(out / "evaluation.html", page)
    return out / "evaluation.html"


def render(template: str, **values: object) -> str:
    """Return a page of this package's templates."""
    environment = Environment(
        loader=PackageLoader("core_model.evaluation.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["measure"] = show
    return environment.get_template(template).render(
        names=NAMES, rules=RULES, policies=POLICIES, measures=MEASURES, **values
    )


def show(m: Measure) -> str:
    """Return a measure as people read it: value and interval."""
    if m.value is None:
        return "—"
    if m.low is None or m.high is None:
        return f"{m.value:.3f}"
    return f"{m.value:.3f} [{m.low:.3f}, {m.high:.3f}]"


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
