"""What arrives, checked and taken apart: bytes in, one batch or one clear refusal out.

Must not know HTTP, people or storage.
"""
