"""A site's Celery app, as docs/how-to/transports.md has it."""

import json
import os

from celery import Celery

from koala_middleware.delivery.transports import celery as koala_celery
from koala_middleware.delivery.transports.celery import add_task

app = Celery("shop", broker=os.environ["BROKER"])
app.conf.broker_transport_options = json.loads(os.environ.get("BROKER_OPTIONS", "{}"))
app.conf.broker_connection_retry_on_startup = True

koala_celery.PATIENCE = float(os.environ.get("PATIENCE", koala_celery.PATIENCE))
add_task(app)
