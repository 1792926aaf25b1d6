"""The names of tasks, queues and keys in Redis; all keys begin alike, so that one ACL rule covers them."""

from __future__ import annotations

KEY_PREFIX = "rerank:"

BROKER_OPTIONS = {"global_keyprefix": KEY_PREFIX, "priority_steps": [0]}
"""What all must tell Celery's transport to find the same queues: the prefix, and one list a queue."""

SCORE_TASK = "rerank.score"
"""Its argument is a `ScoreJob`."""

SCORE_MANY_TASK = "rerank.score_many"
"""Its argument is `ScoreJobs`."""

JOBS_KEY = "rerank:jobs"
"""The sorted set of the bulk jobs' ids, by when they were made."""

REQUEST_HEADER = "rerank-request"
"""The header of a message that says for which client's request it is, for the logs of both sides."""

ONLINE_PREFIX = "online."
"""What the names of the queues of searches begin with."""

CACHED_QUERIES_KEY = "rerank:cached-queries"
"""The sorted set of the keys with cached scores, by when they were last written (Redis's epoch seconds)."""

RUNNING_KEY = "rerank:running"
"""The hash of what each worker is computing right now: worker id/model → digests of its pairs."""

SUSPECTS_KEY = "rerank:suspects"
"""The hash of the pairs whose workers died over them: digest → how often."""


SHOWN_ANSWERS_KEY = "rerank:shown-answers"
"""The sorted set of the ids of answers whose clicks are still credited, by when they were given."""


def split_alias(model: str) -> tuple[str, str]:
    """The declared alias, and the version that it is pinned to; empty where it is not."""
    alias, _, version = model.partition("@")
    return alias, version


def online_queue(model: str) -> str:
    """The Celery queue of the jobs that a search waits for."""
    return f"{ONLINE_PREFIX}{model}"


def bulk_queue(model: str) -> str:
    """The Celery queue of the jobs that no search waits for: scored when nothing else is."""
    return f"bulk.{model}"


def reply_key(job_id: str) -> str:
    """The list that gets the replies to a job, one a part."""
    return f"rerank:reply:{job_id}"


def serving_key(model: str) -> str:
    """The hash of the workers that serve a model: worker id → `Serving`."""
    return f"rerank:serving:{model}"


def load_key(model: str) -> str:
    """The sorted set of a model's jobs under way: `Entry` by deadline."""
    return f"rerank:load:{model}"


def cancelled_key(job_id: str) -> str:
    """The key that exists when nobody waits for the job's replies any more."""
    return f"rerank:cancelled:{job_id}"


def runner_key(home: str) -> str:
    """The key that exists while somebody runs the jobs of a folder."""
    return f"rerank:job-runner:{home}"


def job_key(job_id: str) -> str:
    """The hash with the state of a bulk job."""
    return f"rerank:job:{job_id}"


def experiment_key(name: str, fingerprint: str) -> str:
    """The hash of what an experiment has counted since its arms are what they are."""
    return f"rerank:experiment:{name}:{fingerprint}"


def units_key(name: str, fingerprint: str, arm: int) -> str:
    """The bitmap of the sessions or users that an arm was shown to."""
    return f"rerank:experiment:{name}:{fingerprint}:units:{arm}"


def shown_key(query_id: str) -> str:
    """The hash of what one answer showed."""
    return f"rerank:shown:{query_id}"


def done_key(query_id: str) -> str:
    """The hash of what was done with one answer."""
    return f"rerank:shown:{query_id}:done"
