import json
import logging

import pytest
import structlog
from redis.exceptions import ConnectionError  # noqa: A004 - the one that is meant

from app import log
from app.config import Config


@pytest.fixture
def configured(tmp_path):
    def configure(**environ):
        secrets = {"SECRET_KEY": "x" * 32, "CREDENTIAL_KEYS": "k1:" + "A" * 43 + "="}
        log.configure(Config.load({**secrets, "BITQUEUE_HOME": str(tmp_path), **environ}))
        return structlog.get_logger()

    before = structlog.get_config()
    yield configure
    structlog.configure(**before)
    logging.captureWarnings(capture=False)
    for handler in list(logging.getLogger().handlers):
        if isinstance(handler.formatter, structlog.stdlib.ProcessorFormatter):
            logging.getLogger().removeHandler(handler)


def test_text_is_one_line_an_event(configured, capsys):
    configured().info("task_succeeded", task="tsk_1", ms=12)

    (line,) = capsys.readouterr().err.splitlines()

    assert line.endswith("Z [info] task_succeeded ms=12 task=tsk_1")


def test_json_has_an_instant_in_utc(configured, capsys):
    configured(LOG_FORMAT="json").info("task_succeeded", task="tsk_1")

    record = json.loads(capsys.readouterr().err)

    assert record["event"] == "task_succeeded"
    assert record["timestamp"].endswith("Z")


def test_less_than_the_level_is_not_written(configured, capsys):
    logger = configured(LOG_LEVEL="warning")

    logger.info("quiet")
    logging.getLogger("anyone").info("quiet")

    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize(
    "said",
    [
        {"api_key": "hunter2"},
        {"headers": {"Authorization": "hunter2"}},
        {"items": [{"password": "hunter2"}]},
        {"passwords": ["hunter2"]},
        {"url": "https://user:hunter2@example.com/"},
        {"url": "https://example.com/?token=hunter2&x=1"},
        {"cause": "refused: Authorization: Bearer hunter2"},
    ],
)
def test_no_secret_is_written(configured, capsys, log_format, said):
    configured(LOG_FORMAT=log_format).warning("said", **said)

    text = capsys.readouterr().err

    assert "said" in text
    assert "[hidden]" in text
    assert "hunter2" not in text


def test_what_the_standard_library_logs_takes_the_same_form(configured, capsys):
    configured(LOG_FORMAT="json")

    logging.getLogger("gunicorn.error").warning("worker %s password=hunter2", 7)

    record = json.loads(capsys.readouterr().err)
    assert record["event"] == "worker 7 password=[hidden]"
    assert record["logger"] == "gunicorn.error"


def test_a_traceback_holds_no_local_variables_and_no_secret(configured, capsys):
    logger = configured()
    local = "kept" + "-to-itself"

    try:
        raise ValueError("Bearer hunter2 " + local[:0])
    except ValueError:
        logger.exception("bug")

    text = capsys.readouterr().err
    assert "Traceback" in text
    assert "hunter2" not in text
    assert "kept-to-itself" not in text


def test_a_redis_that_is_away_is_told_without_a_traceback(configured, capsys):
    configured()

    try:
        raise ConnectionError("connection refused")
    except ConnectionError:
        logging.getLogger("rq.worker").exception("found an unhandled exception, quitting...")

    (line,) = capsys.readouterr().err.splitlines()
    assert "found an unhandled exception" in line
    assert "error=ConnectionError" in line


def test_a_fault_of_ours_keeps_its_traceback(configured, capsys):
    log_ = configured()

    try:
        raise KeyError("gone")
    except KeyError:
        log_.exception("task_broke")

    assert "Traceback" in capsys.readouterr().err
