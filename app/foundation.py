"""What web and worker stand on: logs, the database and the engine, in one Flask application."""

from flask import Flask

from app import log, memory, resolving
from app.config import CHECKOUT, Config
from app.database import db, init_database
from app.engine import core


def lay(config: Config) -> Flask:
    """An application without routes, all that a worker needs; opens no connection."""
    memory.give_back()
    resolving.install(config.worker_concurrency)
    log.configure(config)
    app = Flask("app", template_folder=str(CHECKOUT / "templates"), static_folder=str(CHECKOUT / "static"))
    init_database(app, config)
    with app.app_context():
        app.extensions["engine"] = core.build(config, db.engine)
    return app
