"""``celery -A worker.monitor flower``: the workers as Flower and Celery's own commands see them.

The broker's address comes from ``CELERY_BROKER_URL``, as the workers have it.
"""

import os

from celery import Celery

from worker.contract.address import RedisAddress

app = Celery("monitor", set_as_current=False)
app.conf.update(
    RedisAddress.from_url(os.environ.get("CELERY_BROKER_URL", "redis://localhost:6379/0")).configure_celery()
)
