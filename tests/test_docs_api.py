"""The API by example, executed: each shell block of the page in order, against a server that really runs."""

import os
import re
import subprocess

import pytest

from tests import live
from tests.live import ROOT
from tests.providers.http import http_server
from tests.providers.smtp import PASSWORD, USERNAME, smtp_server

PAGE = ROOT / "docs" / "api.md"


def blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), flags=re.DOTALL | re.MULTILINE)


@pytest.mark.slow
def test_the_page_does_what_it_says(tmp_path):
    script = tmp_path / "api.sh"
    script.write_text("set -euo pipefail\n" + "\n".join(blocks()))

    with live.running() as server, smtp_server(security="starttls") as mailbox, http_server() as target:
        settings = {
            "BITQUEUE_URL": server.url,
            "BITQUEUE_KEY": server.owner_key(),
            "SMTP_HOST": "localhost",
            "SMTP_PORT": str(mailbox.port),
            "SMTP_USER": USERNAME,
            "SMTP_PASSWORD": PASSWORD,
            "SMTP_SELF_SIGNED": "true",
            "TARGET_URL": f"{target.url}/done",
        }
        done = subprocess.run(
            ["bash", "-x", str(script)],
            env=os.environ | settings,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:] + server.log()[-3000:]
        (mail,) = mailbox.messages
        live.wait_until(lambda: len(target.received) >= 3, seconds=20, what="the replayed call and the task")

    assert mail["Subject"] == "order A-2"
    assert mail.get_content().strip() == "the total is 150"
    assert sorted(request.json()["order"] for request in target.received) == ["A-2", "A-2", "A-3"]
