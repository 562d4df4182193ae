"""Any Python value as JSON: always valid, always bounded, never an exception.

Must not know entries or people, or which values are secret.
"""
