"""The application as gunicorn and `flask --app wsgi` load it."""

from app import garbage

garbage.hold_off()

# ruff: noqa: E402 (the collector is held off before what there is to load)
from app.config import of_this_process
from app.factory import create_app

app = create_app(of_this_process())
garbage.settle()
