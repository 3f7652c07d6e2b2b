"""The page in a browser: headless Chromium, driven by Playwright."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from kiel_logging.demo.cluster import Cluster
from tests.support.stamped_topics import produce
from tests.support.stamper import Stamped, Stamper
from tests.support.waiting import PATIENCE, until
from tests.view.test_command import viewing

CHROMIUM = shutil.which("chromium")
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium as the system has it."""
    api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
    if CHROMIUM is None:
        pytest.skip("needs Chromium: apt-get install chromium")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield running
        running.close()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_visit(cluster: Cluster, topic: str, browser: Any) -> None:
    """Records live and filtered, a record's page, a tampered stream; no script of a record runs."""
    stamper = Stamper(topic=topic)
    evil = f'{{"message": "<img src=x onerror=alert(1)>\u202e", "trace_id": "{TRACE}"}}'.encode()
    records = [stamper.stamp(value) for value in (b"INFO:shop:one", b"ERROR:shop:two", evil)]
    produce(cluster.brokers, topic, records)
    with viewing(cluster, topic) as (running, url):
        page = browser.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
        page.on("dialog", lambda dialog: faults.append(dialog.message))
        page.goto(url)
        shown = page.locator(".record .message")

        def wait_for(texts: list[str]) -> None:
            page.wait_for_function(
                "texts => JSON.stringify([...document.querySelectorAll('.record .message')]"
                ".map(one => one.textContent)) === JSON.stringify(texts)",
                arg=texts,
            )

        markup = "<img src=x onerror=alert(1)>\\u{202e}"
        wait_for(["one", "two", markup])
        produce(cluster.brokers, topic, [stamper.stamp(b"INFO:shop:live")])
        wait_for(["one", "two", markup, "live"])
        page.select_option("#level", "ERROR")
        wait_for(["two"])
        page.select_option("#level", "")
        page.fill("#grep", "^l")
        wait_for(["live"])
        page.fill("#grep", "(")
        page.wait_for_selector("#status.wrong")
        page.fill("#grep", "")
        page.fill("#where", f"topic={topic} offset=1")
        wait_for(["two"])
        page.fill("#where", "")
        wait_for(["one", "two", markup, "live"])
        shown.nth(2).click()
        page.wait_for_selector("#record h2:text('Headers')")
        text = page.inner_text("#record")
        assert "kiel-chain" in text
        assert "offset 2" in text
        page.click("text=records of this trace")
        wait_for([markup])
        produce(cluster.brokers, topic, [Stamped(None, b"forged", records[1].headers)])
        page.click("text=streams")
        page.wait_for_selector("#streams td:text('BROKEN')")
        assert "number 2 is not what was sent" in page.inner_text("#streams")
        assert not page.locator("img").count()
        running.kill()
        page.wait_for_selector("#status:text('kiel-logging view has ended')")
        assert [one for one in faults if "ERR_CONNECTION" not in one] == []
        page.close()


def _accepts(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except ConnectionError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_demo(browser: Any) -> None:
    """Its records and ledger; buttons stop and start a broker, and forge a record; Ctrl-C."""
    command = [sys.executable, "-m", "kiel_logging", "demo", "--view"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            found, _, url = (running.stdout.readline() for _ in range(3))
            broker = found.split()[2].partition(",")[0]
            page = browser.new_page()
            page.set_default_timeout(PATIENCE * 1000)
            page.goto(url.strip())
            page.click("button:text('stop broker 1')")
            until(lambda: not _accepts(broker))
            page.click("button:text('start broker 1')")
            until(lambda: _accepts(broker))
            page.wait_for_selector("button:text('stop broker 1')")
            page.wait_for_selector(".record b:text('shop.access')")
            page.click("a:text('streams')")
            page.wait_for_selector("#streams td:text('intact')")
            page.wait_for_selector("#streams h2:text('Ledger of this shop')")
            page.click("button:text('tamper with a record')")
            page.wait_for_selector("#streams td:text('BROKEN')")
            running.send_signal(signal.SIGINT)
            assert running.wait(PATIENCE) == 130
            page.wait_for_selector("#status:text('kiel-logging view has ended')")
            page.close()
        finally:
            running.kill()
