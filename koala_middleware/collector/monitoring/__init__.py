"""What machines ask a running collector: health, Prometheus metrics, the OpenAPI document. No personal data."""
