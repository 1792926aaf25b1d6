"""The fuzzer's properties, for some hundred inputs each; `python -m fuzz` goes on from there."""

import pytest
from hypothesis import HealthCheck, settings

from fuzz.targets import TARGETS

EVERY_SHAPE = settings(
    max_examples=200,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.filterwarnings("ignore:Generating overly large repr")
@pytest.mark.parametrize("target", TARGETS)
def test_what_has_to_hold_for_every_input(target):
    EVERY_SHAPE(TARGETS[target])()
