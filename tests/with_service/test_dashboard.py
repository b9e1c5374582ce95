"""The dashboard in a real browser: live, at 20,000 jobs, over a restart, with hostile names, for everybody."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import browser
from tests.browser import Visit
from tests.service_process import ServiceProcess, write_jobs
from tests.slurm_cluster import SlurmCluster, wait_until

pytestmark = [pytest.mark.service, pytest.mark.browser, pytest.mark.timeout(300)]

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    why = browser.why_not()
    if why is not None:
        pytest.skip(why)
    with browser.running() as running:
        yield running


class House:
    """jobpush on a jobs file, and people who look at its page."""

    def __init__(self, directory: Path, chromium: Any) -> None:
        self.jobs = directory / "jobs"
        self.chromium = chromium
        self.visits: list[Visit] = []
        self.rows: dict[str, dict[str, Any]] = {}
        self.set(**{"1": "RUNNING", "2": "QUEUED"})
        self.service = ServiceProcess(directory / "service", "--queue", f"mock:file={self.jobs}:interval=0.1", "--state", str(directory / "state"))

    def set(self, **jobs: Any) -> None:
        """Jobs by id: a state, or fields."""
        for job, fields in jobs.items():
            self.rows[job] = {"id": job, **self.rows.get(job, {}), **({"state": fields} if isinstance(fields, str) else fields)}
        write_jobs(self.jobs, "".join(json.dumps(row) + "\n" for row in self.rows.values()))

    def visit(self, **options: Any) -> Visit:
        """Somebody opens a browser."""
        visit = Visit(self.chromium, f"http://127.0.0.1:{self.service.port}", **options)
        self.visits.append(visit)
        return visit

    def close(self) -> None:
        for visit in self.visits:
            visit.close()
        self.service.stop()


def task(index: int) -> dict[str, Any]:
    """What says that a job is a task of the array 7."""
    return {"parent": "7", "task_index": index}


@pytest.fixture
def house(tmp_path: Path, chromium: Any) -> Iterator[House]:
    house = House(tmp_path, chromium)
    house.service.start()
    house.service.ready()
    yield house
    wrong = [each for visit in house.visits for each in visit.wrong]
    house.close()
    assert wrong == []


def test_live(house: House) -> None:
    """A change is shown when it is told, without reloading; the strip counts; the mock is called a mock."""
    visit = house.visit()
    page = visit.open()
    assert "invented" in visit.text("#banner")
    visit.state_of("mock/1", "running")
    page.evaluate("window.here = true")
    house.set(**{"1": {"state": "FAILED", "exit_code": 3, "reason": "NonZeroExitCode"}})
    visit.state_of("mock/1", "failed")
    assert "exit 3" in page.locator(".body .row", has_text="mock/1").inner_text()
    house.set(**{"3": "QUEUED"})
    visit.state_of("mock/3", "queued")
    assert page.locator('#strip [data-state="QUEUED"] .count').inner_text() == "2"
    assert page.evaluate("window.here") is True
    assert "mock: seen" in visit.text("#clusters")


def test_filters(house: House) -> None:
    """Search, user, state are kept in the address, and are there again when it is opened."""
    house.set(**{"1": {"user": "kim", "name": "align"}, "2": {"user": "lee", "name": "align"}, "3": {"state": "QUEUED", "user": "lee", "name": "sort"}})
    visit = house.visit()
    page = visit.open()
    visit.state_of("mock/3", "queued")
    page.fill("#search", "align")
    visit.until("document.querySelectorAll('.body .row').length === 2")
    page.fill("#filter-user", "lee")
    page.press("#filter-user", "Enter")
    visit.until("document.querySelectorAll('.body .row').length === 1")
    page.click('#strip [data-state="QUEUED"]')
    visit.until("location.search.includes('state=QUEUED')")
    assert "user=lee" in page.url
    assert "q=align" in page.url
    other = house.visit()
    other.open(page.url.removeprefix(visit.address))
    other.until("document.querySelectorAll('.body .row').length === 1")
    assert "mock/2" in other.text(".body")
    assert other.page.input_value("#filter-user") == "lee"
    # What others' jobs do is not even sent to this page.
    house.set(**{"1": "COMPLETED"})
    house.set(**{"2": "RUNNING"})
    other.until("document.querySelectorAll('.body .row').length === 0")
    assert other.text('#strip [data-state="RUNNING"] .count') == "1"


def test_many_jobs(house: House) -> None:
    """At 20,000 jobs only what is in sight is in the page; scrolling, sorting and changes stay quick."""
    house.set(**{str(number): {"state": "QUEUED", "user": f"u{number % 50}", "name": f"job {number}"} for number in range(1, 20001)})
    wait_until(lambda: house.service.get("/readyz").json["queues"]["mock"]["jobs"] == 20000, 60)
    visit = house.visit()
    page = visit.open()
    visit.until("document.getElementById('summary').textContent.startsWith('20,000 of 20,000')")
    assert page.locator(".body .row").count() < 100
    page.click("text=Name")
    page.evaluate("document.querySelector('.table').scrollTop = 1e9")
    page.wait_for_selector('[data-key="mock/9999"]')  # the last one by name
    assert page.locator(".body .row").count() < 100
    # How long one frame takes at worst while the table is scrolled through.
    slowest = page.evaluate(
        """async () => {
            const table = document.querySelector('.table');
            let worst = 0;
            for (let step = 0; step < 60; step += 1) {
                table.scrollTop = (step / 60) * table.scrollHeight;
                const began = performance.now();
                await new Promise(requestAnimationFrame);
                await new Promise(requestAnimationFrame);
                worst = Math.max(worst, performance.now() - began);
            }
            return worst;
        }"""
    )
    assert slowest < 2000, "a frame took seconds: the table is not virtual"
    house.set(**{"777": "RUNNING"})
    page.fill("#search", "job 777")
    visit.state_of("mock/777", "running")


def test_restart(house: House) -> None:
    """The server restarts in mid-view, and what happened meanwhile is shown, each step, without reloading."""
    visit = house.visit()
    page = visit.open()
    page.evaluate("window.here = true")
    page.click('[data-key="mock/2"]')
    page.wait_for_selector("#page-job h1:has-text('mock/2')")
    house.service.stop()
    visit.until("document.getElementById('connection').textContent === 'reconnecting'")
    house.set(**{"2": {"state": "RUNNING", "started_at": "2026-11-22T10:00:00Z"}})
    house.service.start()
    visit.live()
    page.locator("#page-job table .state", has_text="running").wait_for()
    house.set(**{"2": {"state": "COMPLETED", "exit_code": 0, "ended_at": "2026-11-22T10:05:00Z"}})
    page.locator("#page-job .titled .state", has_text="completed").wait_for()
    steps = page.locator("#page-job table.plain tbody tr td:first-child").all_inner_texts()
    assert steps == ["queued", "running", "completed"]
    assert page.evaluate("window.here") is True
    page.click("text=All jobs")
    visit.state_of("mock/2", "completed")


def test_power_cut(house: House) -> None:
    """A stream that is killed goes on from its cursor: nothing of what was told meanwhile is missing."""
    visit = house.visit()
    page = visit.open()
    page.evaluate(
        """() => {
            window.seen = [];
            const own = JSON.parse;
            JSON.parse = (text) => { const made = own(text); if (made && made.seq) window.seen.push(made.seq); return made; };
        }"""
    )
    for number in range(10, 20):
        house.set(**{str(number): "QUEUED"})
        if number in (12, 16):
            house.service.kill()
            house.service.start()
        time.sleep(0.15)
    visit.state_of("mock/19", "queued")
    seen = page.evaluate("window.seen")
    assert seen == list(range(seen[0], seen[0] + len(seen)))
    assert len(seen) == 10


def test_hostile_names(house: House) -> None:
    """What a user names a job is text, wherever it is shown."""
    house.set(**{"1": {"name": HOSTILE, "comment": f"workflow={HOSTILE}", "reason": HOSTILE, "user": HOSTILE, "queue": "<script>alert(2)</script>", "submitted_at": "2026-11-22T10:00:00Z"}})
    house.service.request("PUT", "/v1/workflows/w", json.dumps({"jobs": ["mock/1", "mock/2"]}).encode())
    visit = house.visit()
    page = visit.open()
    page.locator(".body .row", has_text=HOSTILE).first.wait_for()
    page.fill("#search", "<img")
    visit.until("document.querySelectorAll('.body .row').length === 1")
    page.click('[data-key="mock/1"]')
    page.locator("#page-job dd", has_text=HOSTILE).first.wait_for()
    page.goto(f"{visit.address}/#/workflow/w")
    page.locator(".gantt").wait_for()
    page.goto(f"{visit.address}/?user={HOSTILE}&q={HOSTILE}#/job/mock/{HOSTILE}")
    page.locator("#page-job .wrong").wait_for()
    assert page.locator("main img").count() == 0
    assert visit.wrong == []


def test_job_and_array(house: House) -> None:
    """A job's history as a timeline and a table; an array's tasks as a grid; what is unknown is called that."""
    house.set(**{"1": {"state": "SUSPENDED"}})
    house.set(**{"7": {"state": "RUNNING", "counts": {"RUNNING": 1, "FAILED": 1, "QUEUED": 3}, "pending_tasks": "3-5"}, "7_1": {"state": "RUNNING", **task(1)}, "7_2": {"state": "FAILED", "exit_code": 1, **task(2)}})
    visit = house.visit()
    page = visit.open("/#/job/mock/1")
    page.locator("#page-job .timeline title", has_text="suspended").wait_for(state="attached")
    assert page.locator("#page-job .timeline rect").count() == 2
    page.goto(f"{visit.address}/#/job/mock/7")
    page.locator("#page-job .tasks a").nth(4).wait_for()
    labels = [each.get_attribute("aria-label") for each in page.locator("#page-job .tasks a").all()]
    assert labels == ["task 1: running", "task 2: failed", "task 3: queued", "task 4: queued", "task 5: queued"]
    page.locator("#page-job .tasks a").nth(1).click()
    page.locator("#page-job h1", has_text="mock/7_2").wait_for()
    page.goto(f"{visit.address}/#/job/mock/99")
    page.locator("#page-job .wrong", has_text="No scheduler knows").wait_for()


def test_workflows(house: House) -> None:
    """A workflow's progress and the picture of its jobs, moved by what its jobs do."""
    house.set(**{"1": {"state": "COMPLETED", "submitted_at": "2026-11-22T10:00:00Z", "started_at": "2026-11-22T10:01:00Z", "ended_at": "2026-11-22T10:05:00Z"}})
    body = {"jobs": ["mock/1", "mock/2"], "edges": [["mock/1", "mock/2"]]}
    assert house.service.request("PUT", "/v1/workflows/align", json.dumps(body).encode()).status == 201
    visit = house.visit()
    page = visit.open("/#/workflows")
    page.click("text=align")
    page.locator(".gantt rect").first.wait_for()
    page.locator("#page-workflow .note", has_text="50%").wait_for()
    assert page.locator(".gantt path").count() == 1
    house.set(**{"2": {"state": "FAILED", "exit_code": 9}})
    page.locator("#page-workflow .titled .state", has_text="failed").first.wait_for()
    page.locator("#page-workflow .card", has_text="First failure").wait_for()


def test_told(house: House) -> None:
    """Who asked for it is told when a job has ended, by a notification and a sound; nobody else is."""
    visit = house.visit(permissions=["notifications"])
    visit.context.add_init_script(
        """
        window.told = [];
        window.Notification = class { static permission = "granted"; constructor(title, options) { window.told.push(options.body); } };
        window.beeps = 0;
        const begin = OscillatorNode.prototype.start;
        OscillatorNode.prototype.start = function (...at) { window.beeps += 1; return begin.apply(this, at); };
        """
    )
    page = visit.open("/#/job/mock/1")
    page.click("#watch")
    page.click("#sound")
    page.wait_for_selector('#sound[aria-pressed="true"]')
    beeps = page.evaluate("window.beeps")
    house.set(**{"2": "CANCELLED"})
    house.set(**{"1": {"state": "COMPLETED", "exit_code": 0}})
    visit.until("window.told.length === 1")
    assert page.evaluate("window.told") == ["mock/1 has ended: completed"]
    assert page.evaluate("window.beeps") == beeps + 2


def test_keyboard(house: House) -> None:
    """All that a mouse can do can be done without one."""
    visit = house.visit()
    page = visit.open()
    visit.state_of("mock/2", "queued")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.press("Escape")
    page.focus(".grid")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    page.locator("#page-job h1", has_text="mock/2").wait_for()
    page.keyboard.press("Escape")
    page.wait_for_selector("#page-jobs:not([hidden])")


def test_korean(house: House) -> None:
    """In Korean for who reads it; the choice is remembered."""
    visit = house.visit(locale="ko-KR")
    page = visit.page
    page.goto(visit.address)
    visit.until("document.documentElement.lang === 'ko' && document.getElementById('connection').textContent === '실시간'")
    assert visit.text("#nav-jobs") == "작업"
    page.locator(".body .state", has_text="실행").first.wait_for()
    page.select_option("#language", "en")
    page.reload()
    visit.live()
    assert visit.text("#nav-jobs") == "Jobs"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_for_everybody(house: House, theme: str) -> None:
    """axe-core finds nothing that would keep somebody out, in either theme, on each page and on a phone."""
    house.set(**{"7": {"state": "RUNNING", "counts": {"RUNNING": 1, "QUEUED": 3}, "pending_tasks": "3-5", "name": "sweep"}, "7_1": {"state": "RUNNING", **task(1)}})
    house.set(**{"1": {"state": "COMPLETED", "submitted_at": "2026-11-22T10:00:00Z", "started_at": "2026-11-22T10:01:00Z", "ended_at": "2026-11-22T10:05:00Z"}})
    house.set(**{str(n): {"state": state, "user": "kim"} for n, state in enumerate(("FAILED", "CANCELLED", "HELD", "TIMEOUT", "UNKNOWN", "LOST"), 20)})
    house.service.request("PUT", "/v1/workflows/w", json.dumps({"jobs": ["mock/1", "mock/2"], "edges": [["mock/1", "mock/2"]]}).encode())
    sizes: list[dict[str, Any]] = [{"viewport": {"width": 1280, "height": 800}}, {"viewport": {"width": 390, "height": 844}, "has_touch": True}]
    for size in sizes:
        visit = house.visit(color_scheme=theme, **size)
        page = visit.open()
        visit.state_of("mock/7", "running")
        assert page.evaluate("document.documentElement.dataset.theme") == theme
        assert visit.barriers() == []
        for place, settled in (("#/job/mock/7", ".tasks a"), ("#/job/mock/1", ".timeline rect"), ("#/workflows", ".card"), ("#/workflow/w", ".gantt rect")):
            page.goto(f"{visit.address}/{place}")
            page.locator(f"section:not([hidden]) {settled}").first.wait_for()
            assert visit.barriers() == [], place
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, "the page is wider than the screen"
    visit = house.visit()
    visit.page.goto(f"{visit.address}/docs")
    assert visit.barriers() == []


def test_on_slurm(slurm: SlurmCluster, tmp_path: Path, chromium: Any) -> None:
    """A real job on a real Slurm, from its submission to its end, as a researcher sees it."""
    service = ServiceProcess(tmp_path / "service", "--queue", f"slurm:conf={slurm.conf}", "--state", str(tmp_path / "state"))
    visit: Visit | None = None
    try:
        service.start()
        service.ready()
        visit = Visit(chromium, f"http://127.0.0.1:{service.port}")
        page = visit.open()
        job = slurm.submit(script="sleep 2; exit 5")
        page.locator(f'[data-key="slurm/{job}"]').wait_for()
        visit.state_of(f"slurm/{job}", "running")
        page.click(f'[data-key="slurm/{job}"]')
        page.locator("#page-job .titled .state", has_text="failed").wait_for()
        facts = visit.text("#page-job .facts >> nth=0")
        assert "5" in facts
        assert "NonZeroExitCode" in visit.text("#page-job")
        steps = page.locator("#page-job table.plain tbody tr td:first-child").all_inner_texts()
        assert steps[0] == "queued"
        assert steps[-1] == "failed"
        assert "running" in steps
        assert page.locator("#banner").is_hidden()
        assert visit.wrong == []
    finally:
        if visit is not None:
            visit.close()
        service.stop()


def test_demonstration(tmp_path: Path, chromium: Any) -> None:
    """What ``make run`` shows: a small cluster that is always busy."""
    service = ServiceProcess(tmp_path / "service", "--queue", "mock")
    visits: list[Visit] = []
    try:
        service.start()
        service.ready()
        sizes: list[tuple[str, dict[str, Any]]] = [
            ("dashboard-light", {"color_scheme": "light", "viewport": {"width": 1180, "height": 720}}),
            ("dashboard-dark", {"color_scheme": "dark", "viewport": {"width": 1180, "height": 720}}),
            ("dashboard-phone", {"viewport": {"width": 390, "height": 780}, "device_scale_factor": 2}),
        ]
        for name, options in sizes:
            visit = Visit(chromium, f"http://127.0.0.1:{service.port}", **options)
            visits.append(visit)
            page = visit.open()
            page.locator(".body .row").nth(5).wait_for()
            visit.picture(name)
        changed = page.locator(".row.fresh").first
        changed.wait_for()  # something happens while one looks
        visit = visits[0]
        array = next(job for job in service.get("/v1/jobs").json["jobs"] if "counts" in job)
        visit.page.goto(f"{visit.address}/#/job/mock/{array['id']}")
        visit.page.locator(".tasks a").first.wait_for()
        visit.picture("dashboard-array")
        assert [each for visit in visits for each in visit.wrong] == []
    finally:
        for visit in visits:
            visit.close()
        service.stop()
