import pytest

from tests.consent.audit.site import Site


@pytest.fixture
def site(registry, notice, clock, tmp_path):
    return Site(registry, notice, clock, tmp_path / "state")
