"""Knows what a soak is judged by, and how it is told in a table."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from statistics import median

from tests.system.soak.clients import Answered
from tests.system.soak.faults import Injected
from tests.system.soak.remains import Footprint

DEADLINE_S = 2.0
SLACK_S = 1.5  # of a busy machine, on top of the deadline and of the cluster's own pauses


@dataclass(frozen=True)
class Record:
    """All that happened."""

    seed: str
    sent: int
    hung_up: int
    answers: list[Answered]
    injected: list[Injected]
    calm: float  # when the last fault was over
    restarts: int
    thought_dead: int  # how often a worker wrote that another had died
    drained_s: float  # how long Redis was not empty after the last search
    left_over: list[bytes]
    gateway_log: str
    before: dict[str, Footprint]
    after: dict[str, Footprint]

    @property
    def recovered_s(self):
        """From the end of all faults to the last answer in the cluster's order."""
        late = [answer.got for answer in self.answers if not answer.is_applied]
        return max(0.0, max(late, default=0.0) - self.calm)

    def is_late(self, answer):
        pauses = [fault for fault in self.injected if fault.name == "cluster paused"]
        paused_s = sum(fault.overlap_s(answer.sent, answer.got) for fault in pauses)
        return answer.took_s > DEADLINE_S + paused_s + SLACK_S

    def count_outcomes(self):
        """How many answers were applied, how many failed, by reason."""
        return Counter(answer.reason or answer.status or "no answer" for answer in self.answers)

    def recoveries(self):
        """By fault: how long it took until a fresh query was scored, where no other fault came between."""
        times = defaultdict(list)
        scored = [answer for answer in self.answers if answer.is_applied and answer.search.salt]
        for fault in self.injected:
            others = [other for other in self.injected if other is not fault and other.ended >= fault.ended]
            until = min((other.began for other in others), default=float("inf"))
            after = [answer.got for answer in scored if fault.ended <= answer.sent]
            if after and min(after) < until:
                times[fault.name].append(min(after) - fault.ended)
        return times

    def tell(self):
        outcomes, took = self.count_outcomes(), sorted(answer.took_s for answer in self.answers)
        rows = [
            ("seed", self.seed),
            ("searches", f"{self.sent}, {self.hung_up} of them given up by their clients"),
            ("applied", f"{outcomes['applied']} ({outcomes['applied'] / max(len(took), 1):.1%})"),
            *((f"failed, {reason}", n) for reason, n in outcomes.most_common() if reason != "applied"),
            ("seconds", f"p50 {_at(took, 0.5):.2f}, p99 {_at(took, 0.99):.2f}, longest {_at(took, 1):.2f}"),
            ("late, wrong", f"{sum(map(self.is_late, self.answers))}, {len(self.faults())}"),
        ]
        recoveries = self.recoveries()
        for name, n in sorted(Counter(fault.name for fault in self.injected).items()):
            seconds = recoveries[name]
            told = "not seen"
            if seconds:
                told = f"{median(seconds):.1f} s, at most {max(seconds):.1f} s ({len(seconds)} seen)"
            rows.append((f"{name}: {n}", f"a fresh query scored again after {told}"))
        rows += [
            ("workers", f"{self.restarts} started again, {self.thought_dead} thought to have died"),
            ("recovered", f"{self.recovered_s:.1f} s after the last fault"),
            ("Redis drained", f"{self.drained_s:.1f} s after the last search; left over: {self.left_over}"),
        ]
        for name, after in self.after.items():
            pairs = zip(Footprint._fields, self.before[name], after, strict=True)
            rows.append((name, ", ".join(f"{field} {then} → {now}" for field, then, now in pairs)))
        return "\n".join(f"{name:26} {told}" for name, told in rows)

    def faults(self):
        return [answer for answer in self.answers if answer.fault]


def _at(values, share):
    return values[round(share * (len(values) - 1))] if values else 0.0
