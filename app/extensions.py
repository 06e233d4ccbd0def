"""Flask's extensions that serve pages and the API."""

from flask import Flask
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_login import LoginManager
from flask_wtf import CSRFProtect

login_manager = LoginManager()
csrf = CSRFProtect()
limiter = Limiter(get_remote_address)


def init_extensions(app: Flask) -> None:
    for extension in (login_manager, csrf, limiter):
        extension.init_app(app)
