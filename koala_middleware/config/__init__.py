"""Every setting, its default, its check and its documentation.

Must not know a framework; front doors pass in what their framework has.
"""
