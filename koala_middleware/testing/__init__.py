"""For the tests of an app that uses Koala: what was recorded, a collector to send to, and `drain`.

The pytest plugin makes fixtures of these; other test runners use them as they are. No production code imports
this.
"""

from __future__ import annotations

from koala_middleware.testing.collector import Answer, Collector, Received
from koala_middleware.testing.draining import drain
from koala_middleware.testing.events import Recorded, RecordedBatches
from koala_middleware.testing.recording import recording

__all__ = ["Answer", "Collector", "Received", "Recorded", "RecordedBatches", "drain", "recording"]
