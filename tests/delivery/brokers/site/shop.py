"""A site's Celery app, as docs/how-to/transports.md has it."""

import json
import os

from celery import Celery

from koala_middleware.delivery.relay import celery_worker

app = Celery("shop", broker=os.environ["BROKER"])
app.conf.broker_transport_options = json.loads(os.environ.get("BROKER_OPTIONS", "{}"))
app.conf.broker_connection_retry_on_startup = True

celery_worker.WAIT_LIMIT = float(os.environ.get("WAIT_LIMIT", celery_worker.WAIT_LIMIT))
celery_worker.add_task(app)
