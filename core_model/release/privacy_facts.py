"""What a release gate found, as it stands in the card of a model. No torch.

The words are made of the figures; the file's metadata holds both.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from core_model.config import Settings

_SHA256 = "^[0-9a-f]{64}$"
Language = Literal["en", "ja"]


class AttackTried(Settings):
    """One attack of the suite, on generated people and trained as this model was."""

    attack: str
    works_undefended: bool  # where nothing defends; else its failures say nothing
    leaks: tuple[str, ...]  # where it succeeded although something defends


class PrivacyFacts(Settings):
    """What is known of the privacy of people behind a model, and of people it will see."""

    epsilon: float = Field(ge=0)  # of a person at one site, all rounds
    delta: float = Field(gt=0, lt=1)
    accountant: Literal["rdp"] = "rdp"
    is_simulation: bool = False  # seeded noise: protects nobody
    num_sites: int = Field(ge=1)
    num_rounds: int = Field(ge=1)
    least_epsilon: float = Field(ge=0)  # what an audit proved against a promise, 95 %
    audit_promise: float = Field(gt=0)
    canaries: int = Field(ge=1)
    largest_move: float = Field(ge=0)  # of a step when a person is left out; 1 is as promised
    equal_error_rate: float = Field(ge=0, le=1)  # new people, features; 0.5 is guessing
    new_people: int = Field(ge=2)
    attacks: tuple[AttackTried, ...]
    consent_rules: tuple[str, ...]  # digests of the rules in force at the sites
    round_log: str = Field(pattern=_SHA256)  # root of the signed log of rounds
    start: str | None = Field(None, pattern=_SHA256)  # weights before round 1
    results: dict[str, str]  # SHA-256 of each file of results
    limits: dict[str, float]  # that the policy set

    @property
    def text(self) -> dict[Language, str]:
        """The figures in plain words. Made anew each time: words cannot drift from figures."""
        return {"en": english(self), "ja": japanese(self)}


def english(f: PrivacyFacts) -> str:
    """Say it to somebody who has to decide."""
    lines = [
        "PRIVACY OF PEOPLE WHO WERE TRAINED ON",
        f"Epsilon is {f.epsilon:g} for a person (all frames, all {f.num_rounds} rounds), with "
        f"delta {f.delta:g}. What somebody thinks about a person from this model can become at "
        f"most {_times(f.epsilon)} times as likely as it would be had that person not taken part. "
        f"Smaller is better. {f.num_sites} sites took part; who is at two of them has the sum.",
        *(["THE NOISE WAS SEEDED (a simulation): this protects nobody."] * f.is_simulation),
        f"An audit with {f.canaries} made-up people against a promise of {f.audit_promise:g} "
        f"proved that epsilon is at least {f.least_epsilon:.2f}. It can find faults, not prove "
        "their absence.",
        "",
        "PRIVACY OF PEOPLE WHOM THE MODEL WILL SEE",
        f"Its features tell people apart: on {f.new_people} people whom nobody had seen, an "
        f"attacker was wrong in {f.equal_error_rate:.0%} of cases (50% is guessing). Treat "
        "features, logits and AU outputs as personal data.",
        "",
        "ATTACKS TRIED, ON GENERATED PEOPLE AND PUBLIC PHOTOGRAPHS",
        *(f"- {a.attack}: {_outcome(a)}" for a in f.attacks),
        "",
        "WHAT IT RESTS ON",
        f"Consent rules in force: {', '.join(r[:16] for r in f.consent_rules) or 'none named'}. "
        f"Signed log of rounds: {f.round_log[:16]}.",
        "",
        "WHAT IS NOT PROTECTED",
        "- What is true of people in general.",
        "- People whom the model sees later (see above).",
        "- That a site takes part, and when.",
        f"- People behind the weights that training started from{_start(f, ' ({})')}.",
        "- Against attacks that were not tried: nothing beyond what epsilon says.",
    ]
    return "\n".join(lines)


def japanese(f: PrivacyFacts) -> str:
    """Say the same in Japanese."""
    rules = "、".join(r[:16] for r in f.consent_rules) or "指定なし"
    lines = [
        "学習に使われた人のプライバシー",
        f"1人あたりのイプシロンは {f.epsilon:g}（全フレーム、全 {f.num_rounds} ラウンド）、"
        f"デルタは {f.delta:g} です。"
        "このモデルからある人について推測されることは、その人が参加しなかった場合と比べて、"
        f"最大で {_times(f.epsilon)} 倍までしか確からしくなりません。小さいほど安全です。"
        f"{f.num_sites} 拠点が参加しました。複数の拠点に登録された人では合計になります。",
        *(["雑音の種が固定されています（シミュレーション）。誰も保護されません。"]
          * f.is_simulation),
        f"架空の {f.canaries} 人を使い、約束値 {f.audit_promise:g} に対して監査した結果、"
        f"イプシロンは少なくとも {f.least_epsilon:.2f} と示されました。"
        "監査は欠陥を見つけられますが、欠陥がないことは証明できません。",
        "",
        "このモデルが今後見る人のプライバシー",
        f"特徴量から人を見分けられます。初めて見る {f.new_people} 人に対し、"
        f"攻撃者の誤り率は {f.equal_error_rate:.0%} でした（50% は当てずっぽう）。"
        "特徴量、ロジット、AU の出力は個人データとして扱ってください。",
        "",
        "試した攻撃（生成した人物と公開写真による）",
        *(f"- {a.attack}：{_outcome_ja(a)}" for a in f.attacks),
        "",
        "根拠",
        f"適用された同意規則：{rules}。署名済みラウンド記録：{f.round_log[:16]}。",
        "",
        "保護されないもの",
        "- 人々一般に当てはまること。",
        "- このモデルが今後見る人（上記参照）。",
        "- 拠点が参加していること、およびその時期。",
        f"- 学習の出発点となった重みに使われた人{_start(f, '（{}）')}。",
        "- 試していない攻撃（イプシロンが示す範囲を超えるもの）。",
    ]  # fmt: skip
    return "\n".join(lines)


def _times(epsilon: float) -> str:
    return f"{math.exp(epsilon):,.1f}" if epsilon < 4 else f"{math.exp(min(epsilon, 700)):,.0f}"


def _start(f: PrivacyFacts, form: str) -> str:
    return form.format(f.start[:16]) if f.start else ""


def _outcome(a: AttackTried) -> str:
    if not a.works_undefended:
        return "failed even where nothing defends; it says nothing."
    return f"succeeded against: {'; '.join(a.leaks)}." if a.leaks else "no leak shown."


def _outcome_ja(a: AttackTried) -> str:
    if not a.works_undefended:
        return "防御がない場合でも失敗したため、何も言えません。"
    return f"成功した対象：{'；'.join(a.leaks)}。" if a.leaks else "漏えいは示されませんでした。"
