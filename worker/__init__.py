"""The Celery worker that scores jobs with a resident model; import what you need from its modules."""
