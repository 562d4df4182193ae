"""From the values of a call to the JSON entries that are sent: conversion, scrubbing, the outgoing filter.

Must not know a request, or how an entry travels.
"""
