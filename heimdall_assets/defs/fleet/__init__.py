"""Runs on Celery workers, warm and on any machine; used only where HEIMDALL_CELERY_BROKER_URL is set."""
