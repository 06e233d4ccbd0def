"""The application as gunicorn and `flask --app wsgi` load it."""

import sys

from app import create_app, garbage
from app.config import Config, ConfigError

try:
    app = create_app(Config.from_environment())
except ConfigError as error:
    sys.exit("\n".join(f"bitqueue cannot start: {sentence}" for sentence in error.sentences))
garbage.settle()
