"""Brokers: engines that a site runs already, between its web processes and the endpoint.

Each module has two halves: the transport that hands batches in, and what takes them out to a relay. None is
loaded unless the settings name it.
"""
