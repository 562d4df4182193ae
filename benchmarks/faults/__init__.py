"""Faults: the same misbehaving collector for this package and its peers, and what each of them loses.

`make faults` runs all of it (about ten minutes) and writes benchmarks/FAULTS.md.
"""
