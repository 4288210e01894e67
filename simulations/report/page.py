"""Write the report: one HTML file without scripts or anything from outside."""

from __future__ import annotations

import tomllib
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from core_model.action_units import NAMES
from simulations.baseline import baseline_of
from simulations.report import pictures, plots
from simulations.report.claims import check_claims
from simulations.results import Results
from simulations.scenario import Scenario

WITHOUT, WITH = "federated_without_iat", "federated_iat"
LANGUAGES = ("en", "ja")


def write_report(
    results: Results, scenario: Scenario, out: Path, cache: Path, language: str = "en"
) -> Path:
    """Write ``report.html`` (``report-ja.html`` in Japanese) and return its path.

    Raises:
        ValueError: There is no report in this language.
    """
    texts = load_texts(language)
    environment = Environment(
        loader=PackageLoader("simulations.report"), autoescape=True, undefined=StrictUndefined
    )
    groups = [*(s.site_id for s in scenario.sites), "unseen-site"]
    page = environment.get_template("report.html").render(
        t=texts,
        language=language,
        results=results,
        scenario=scenario,
        claims=check_claims(results),
        baseline=baseline_of(scenario, cache),
        names=NAMES,
        au_picture=pictures.au_picture(scenario, cache),
        site_pictures={g: pictures.site_picture(scenario, g, cache) for g in groups},
        f1_plot=plots.f1_by_au(results, WITHOUT, WITH, texts),
        probe_plot=plots.probes(results, WITHOUT, WITH, texts),
        curve_plot=plots.trade_off(results, texts),
    )
    path = out / ("report.html" if language == "en" else f"report-{language}.html")
    path.write_text(page, encoding="utf-8")
    return path


def load_texts(language: str) -> dict[str, str]:
    """Return the texts of a language.

    Raises:
        ValueError: There are none.
    """
    if language not in LANGUAGES:
        raise ValueError(f"no report in {language!r}; there are: {', '.join(LANGUAGES)}")
    path = Path(__file__).parent / "texts" / f"{language}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))
