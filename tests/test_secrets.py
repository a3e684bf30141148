"""Secrets in any text of a database reach no output but the snapshot, which is the endpoint's contract."""

import base64
import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from command_line import run_command
from conftest import NOON, RuntimeDatabase

import vpanalysis as vp


class Lane:
    """A lane whose every text holds a secret of its own."""

    def __init__(self, database: RuntimeDatabase) -> None:
        self.path, self.secrets = database.path, dict[str, str]()
        secret = self.secret
        database.session(status=secret("session status"), last_error=secret("last error"), lease_owner=secret("owner"))
        status, kind = secret("status"), secret("event type")
        for number in range(12):
            at, name = NOON + timedelta(minutes=number), f"m-{secret('mission id')}"
            database.mission(
                name,
                at,
                status=status if number % 3 else "completed",
                **{
                    column: secret(column)
                    for column in ("objective", "run_id", "result_ref", "priority_tier", "source")
                },
            )
            for event_type in ("vp.mission.dispatched", kind, "vp.mission.fallback"):
                payload = {"error": f"boom {secret('error')}", "reason": secret("reason"), secret("key"): 1}
                database.event(name, event_type, at, payload_json=json.dumps(payload), event_id=secret("event id"))
        database.session_event(secret("session event type"), NOON)
        database.session_event("vp.session.degraded", NOON, payload_json=json.dumps({"reason": secret("degraded")}))
        database.connection.close()

    def secret(self, place: str) -> str:
        text = f"sk-A1b2C3d4E5f6{len(self.secrets):04d}xyz"
        self.secrets[text] = place
        return text

    def told(self, text: str) -> set[str]:
        """The places whose secrets a text tells, the images in it included."""
        images = re.findall(r"base64,([A-Za-z0-9+/=]+)", text)
        text += "".join(base64.b64decode(image).decode("utf-8", "ignore") for image in images)
        return {place for secret, place in self.secrets.items() if secret in text}


@pytest.fixture
def lane(make_database: Callable[..., RuntimeDatabase]) -> Lane:
    return Lane(make_database())


def test_a_report_tells_none(lane: Lane, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ran = run_command(capsys, "report", "--source", str(lane.path), "--out", str(tmp_path / "out"))
    assert ran.code == 0
    files = list((tmp_path / "out").iterdir())
    assert len(files) == 3
    assert [lane.told(text) for text in (ran.out, ran.err, *(path.read_text("utf-8") for path in files))] == [set()] * 5


def test_nor_does_capture_from_a_database_or_a_snapshot_which_is_verbatim(
    lane: Lane, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verbatim = run_command(capsys, "snapshot", "--source", str(lane.path)).out
    assert {"status", "event type", "mission id", "objective", "error", "session status"} <= lane.told(verbatim)
    (tmp_path / "saved.json").write_text(verbatim, "utf-8")
    for source in (lane.path, tmp_path / "saved.json"):
        ran = run_command(capsys, "capture", "--source", str(source))
        assert ran.code == 0
        assert lane.told(ran.out + ran.err) == set()
        assert "[secret]" in ran.out


def test_nor_do_frames_in_which_ids_still_differ(lane: Lane) -> None:
    with vp.open_source(lane.path) as source:
        metrics = vp.summarize(source.load(vp.RolloutWindow("vp.coder.primary", last_missions=100)))
    events = [frame.drop(columns="payload_json") for frame in (metrics.events, metrics.session_events)]
    assert lane.told("".join(frame.to_csv() for frame in (metrics.missions, *events))) == set()
    assert metrics.missions["mission_id"].nunique() == 12
    assert set(metrics.events["mission_id"]) == set(metrics.missions["mission_id"])
