"""Results about a model, as auditors write them: all within the limits of the tests."""

from core_model.evaluation.attack_result import AttackResult, AttackResults, Row
from core_model.evaluation.identity_result import (
    GroupResult,
    IdentityResult,
    SurfaceResult,
    VerificationResult,
    WeakProbe,
)
from core_model.evaluation.result import Measure, ModelFacts
from core_model.privacy.audit_result import AuditResult


def results_about(model):
    """Return results as auditors write them."""
    nothing = Measure(value=0.5, low=0.4, high=0.6)
    verified = VerificationResult(
        equal_error_rate=Measure(value=0.3, low=0.25, high=0.36), tar_at_far_1e3=nothing,
        num_genuine=100, num_impostors=1000,
    )  # fmt: skip
    surface = SurfaceResult(attacks=(), verification=verified)
    group = GroupResult(
        name="new", are_new=True, num_people=16, num_recordings=32, num_frames=320, chance=0.06,
        surfaces={"features": surface},
        weak_probe=WeakProbe(paper=0.2, converged_random_split=0.4),
    )  # fmt: skip
    facts = ModelFacts(
        name="m", digest=model, licence="Apache-2.0", run_id="test-run", num_epochs=1, image_size=32
    )
    rows = (
        Row(against="open", measure="PSNR", value=60, low=58, high=62, chance=14, is_baseline=True),
        Row(against="ours, noise", measure="PSNR", value=6, low=5, high=7, chance=14),
        Row(against="ours, search", measure="PSNR", value=18, low=17, high=19, chance=14),
    )
    attack = AttackResult(
        attack="inversion", question="?", means="", rows=rows, effort="quick", seed=1, seconds=1.0
    )
    return {
        "audit": AuditResult(
            model=model, promise=1.0, delta=1e-4, canaries=600, guesses=100, right=56,
            least_epsilon=0.0, largest_move=0.997, replayed=12, seed=1,
        ),
        "identity": IdentityResult(model=facts, frames_per_recording=50, groups=(group,)),
        "attacks": AttackResults(command="omote-sim attack", machine="m", results=(attack,)),
    }  # fmt: skip
