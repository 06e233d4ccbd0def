"""Measurements of the running product; nothing here is part of it."""
