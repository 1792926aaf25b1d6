"""``celery -A worker.monitor flower``: the workers as Flower and Celery's own commands see them.

The broker's address comes from ``CELERY_BROKER_URL``.
"""

from celery import Celery

from worker.contract import BROKER_OPTIONS

app = Celery("monitor", set_as_current=False)
app.conf.broker_transport_options = dict(BROKER_OPTIONS)
