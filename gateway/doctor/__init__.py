"""What is wrong around a gateway: cluster, Redis, workers, policies, listeners, looked at once and judged."""

from gateway.doctor.examination import CHECKS, examine
from gateway.doctor.finding import Finding, Level
from gateway.doctor.surroundings import Surroundings, open_surroundings

__all__ = ["CHECKS", "Finding", "Level", "Surroundings", "examine", "open_surroundings"]
