"""Template tags, loaded by `{% load koala %}`."""
