"""Error texts grouped, and secrets masked: each kind of secret by name, hostile payloads, counts by hand."""

import json
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lane_frames import NOON, events_frame

from vpanalysis.analysis.signatures import error_text, group_signatures, mask_secrets, normalise

FALLBACK, FAILED = "vp.mission.fallback", "vp.mission.failed"


def fallback(text, mission="m1", second=0, event_type=FALLBACK):
    return (mission, event_type, NOON + timedelta(seconds=second), json.dumps({"error": text}))


# -- masking -----------------------------------------------------------------------------------------------------

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
SECRETS = [
    # text, and each part of it that must not be seen
    ("key sk-abcdef0123456789abcdef refused", ["abcdef0123456789abcdef"]),
    ("sk-proj-Ab_Cd-1234567890 and sk-ant-api03-xyzxyzxyz", ["Ab_Cd-1234567890", "xyzxyzxyz"]),
    ("pushed with ghp_16C7e42F292c6912E7710c838347Ae178B4a", ["16C7e42F292c6912E7710c838347Ae178B4a"]),
    ("github_pat_11ABCDEFG0aBcDeFgHiJ_klmnop", ["11ABCDEFG0aBcDeFgHiJ_klmnop"]),
    ("slack xoxb-123456789012-abcdefGHIJKL", ["123456789012-abcdefGHIJKL"]),
    ("aws AKIAIOSFODNN7EXAMPLE denied", ["IOSFODNN7EXAMPLE"]),
    ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ["wJalrXUtnFEMI", "K7MDENG", "bPxRfi"]),
    ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY was rotated", ["wJalrXUtnFEMI", "bPxRfi"]),
    (f"session {JWT} expired", [JWT[8:30], "dozjgNryP4J3"]),
    ("glpat-abcDEF123456_x", ["abcDEF123456"]),
    ("hf_abcdefghijklmnop", ["abcdefghijklmnop"]),
    ("AIzaSyA1234567890abcdefghijklmnopqrstu", ["SyA1234567890"]),
    ("bot 123456789:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1 down", ["AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw1"]),
    ("Authorization: Bearer abc.def.ghi", ["abc.def.ghi"]),
    ("401 (Authorization: Bearer s3cr3t-t0k3n)", ["s3cr3t-t0k3n"]),
    ("{'Authorization': 'Basic dXNlcjpwYXNz', 'Accept': '*/*'}", ["dXNlcjpwYXNz"]),
    ('headers={"authorization": "Token 9944b09199c62bcf"}', ["9944b09199c62bcf"]),
    ("authorization=opaquevalue", ["opaquevalue"]),
    ("sent bearer hunter2", ["hunter2"]),
    ("BEARER\tABCDEF", ["ABCDEF"]),
    ("curl -u x -H Basic dXNlcjpwYXNz", ["dXNlcjpwYXNz"]),
    ("x-ua-ops-token: opstoken-value", ["opstoken-value"]),
    ("UA_OPS_TOKEN=abc123", ["abc123"]),
    ("api_key=abc", ["=abc"]),
    ('{"api_key": "abc def", "model": "m"}', ["abc def"]),
    ('{"apiKey":"k9"}', ["k9"]),
    ("API key: zzz-topsecret", ["zzz-topsecret"]),
    ("Incorrect API key provided: mykey1234", ["mykey1234"]),
    ("password=hunter2", ["hunter2"]),
    ("password: correct horse", ["correct"]),
    ("DB_PASSWORD='it is \\'quoted\\' so'", ["quoted", "it is", "so'"]),
    ('password="never closed and long', ["never", "closed", "long"]),
    ('{\\"password\\": \\"escaped\\"}', ["escaped"]),
    ("pwd := s3cr3t", ["s3cr3t"]),
    ("client_secret => topsecret", ["topsecret"]),
    ("passphrase is opensesame1", ["opensesame1"]),
    ("invalid token 'abcd-efgh'", ["abcd-efgh"]),
    ("secrets: ['one', 'two']", ["one", "two"]),
    ("run --ops-token abc --verbose", ["abc"]),
    ("run --password=letmein now", ["letmein"]),
    ("GET /v1?access_token=abcdef&page=2 failed", ["abcdef"]),
    ("postgres://user:p@ss/w:rd@db:5432/x refused", ["p@ss", "w:rd", "user:"]),
    ("redis://:hunter2@cache", ["hunter2"]),
    ("https://ghuser:tok@github.com/x.git", ["tok@"]),
    ("Cookie: sid=abc; csrftoken=def", ["abc", "def"]),
    ("set-cookie: id=zzz", ["zzz"]),
    ("posted to https://hooks.slack.com/services/T00/B00/XXXX", ["T00", "XXXX"]),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY----- tail", ["MIIEow", "IBAAKC"]),
    ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk", ["b3BlbnNzaC1rZXk"]),
    ("digest 9f86d081884c7d659a2feaa0c55ad015 leaked", ["9f86d081884c7d659a2feaa0c55ad015"]),
    ("sk-abc\u200bdef\u202e0123456789", ["def", "0123456789"]),  # invisible characters do not hide it
    ("api_\x00key=abcdef", ["abcdef"]),
]


@pytest.mark.parametrize(("text", "parts"), SECRETS, ids=[text[:24] for text, _ in SECRETS])
def test_no_part_of_a_secret_is_left(text, parts):
    masked = mask_secrets(text)
    assert "[secret]" in masked
    for part in parts:
        assert part not in masked


@pytest.mark.parametrize(("text", "parts"), SECRETS, ids=[text[:24] for text, _ in SECRETS])
@pytest.mark.parametrize("around", ["{}", "Error 5: {}", 'x = "{}"', "({}) then", "😀 {}\nnext line"])
def test_no_part_of_a_secret_is_left_wherever_it_stands(text, parts, around):
    masked = mask_secrets(around.format(text))
    for part in parts:
        assert part not in masked
    assert mask_secrets(masked) == masked


@pytest.mark.parametrize(
    "text",
    [
        "ConnectionError: adapter socket /tmp/vp/902c.sock refused after 8 attempts",
        "HTTPError: 401 Unauthorized for request 9492",
        "TimeoutError: no output from worker-8 for 30.0 s (pid 9999, log /srv/vp/jobs/3c275078/run.log)",
        "AssertionError: 3 of 120 tests failed",
        "Bearer token missing",
        "Bearer authentication failed",
        "Basic authentication failed",
        "max_tokens=60000, total_tokens: 512",
        "task-management tokenless",
        "mission 123e4567-e89b-12d3-a456-426614174000 at 2026-02-16T14:07:42.123456+00:00",
        "Ünïcödé ошибка 错误 😀",
        "Fix the upload retry loop",
        "user@example.com said no",
        "see https://example.com/docs?page=2",
    ],
)
def test_text_without_a_secret_stays_as_it_is(text):
    assert mask_secrets(text) == text


def test_long_text_is_cut_at_a_blank_so_that_no_half_of_a_secret_is_left():
    for padding in range(3960, 4010):
        masked = mask_secrets("kept " + "x" * padding + " token=abcdefghijklmnopqrstuvwxyz and more")
        assert "abcdef" not in masked
        assert len(masked) < 4050
        assert masked.startswith("kept ")
    assert mask_secrets("sk-" + "a1" * 4000) == "…"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200), st.text(max_size=200))
def test_known_token_is_masked_in_any_surroundings(before, after):
    masked = mask_secrets(f"{before} sk-Zz9Zz9Zz9Zz9Zz9Zz9 {after}")
    assert "Zz9Zz9" not in masked


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab0'\"\\ =:/@.-[]{}()&\n_#%+,;😀\u200b\x00", max_size=300))
def test_masking_and_grouping_take_any_text(text):
    masked = mask_secrets(text)
    signature = normalise(masked)
    assert len(signature) <= 160
    assert "\n" not in signature
    assert "\x00" not in masked


# -- signatures --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "signature"),
    [
        ("refused after 3 attempts", "refused after 12 attempts", "refused after # attempts"),
        ("waited 30.0 s", "waited -1.25e s", None),
        ("request req_2c44ab3d9921 lost", "request req_95e4b6d46e4d lost", "request req_# lost"),
        ("worker-7 died", "worker-12 died", "worker-# died"),
        ("run d02d20fc", "run 12345678", "run #"),
        ("at 0xDEADBEEF", "at 0x1f", "at #"),
        ("id deadbeefcafe", "id abcdefabcdef", "id #"),
        ("tag ab12", "tag cd99", "tag #"),
        (
            "mission 123e4567-e89b-12d3-a456-426614174000",
            "mission abcdefab-cdef-abcd-efab-abcdefabcdef",
            "mission #",
        ),
        ("at 2026-02-16T14:07:42.123456+00:00", "at 2026-03-01 01:02:03Z", None),
        ("open /srv/vp/a.py: denied", "open ./b/c.txt: denied", "open [path]: denied"),
        ("open C:\\Users\\x\\a.txt", "open D:\\b", "open [path]"),
        ("read src/vp/main.py", "read lib/other/x.py", "read [path]"),
        ("No module named 'vp_plugin_2c44'", 'No module named "numpy"', "No module named '…'"),
        ("GET https://a.example/x?y=1 failed", "GET http://10.0.0.1:8002/z failed", "GET [url] failed"),
        ("connect 10.0.0.1:8002", "connect 192.168.1.20:80", "connect #"),
        ("3 of 120 tests failed", "12 of 99 tests failed", "# of # tests failed"),
        ("login with password=aa1", "login with password=bb22", "login with password=[secret]"),
        ("two\nlines   of 5", "two lines of\t6", "two lines of #"),
    ],
)
def test_texts_that_differ_in_ids_share_a_signature(one, other, signature):
    events = events_frame([fallback(one), fallback(other, "m2", 1)])
    if signature is not None:
        [group] = group_signatures(events)
        assert (group.signature, group.count, group.missions) == (signature, 2, 2)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ConnectionError: refused", "TimeoutError: refused"),
        ("can't open it", "can't close it"),
        ("utf8 failed", "ascii failed"),
        ("read and/or write", "read or write"),
    ],
)
def test_texts_that_differ_in_words_do_not(one, other):
    assert len(group_signatures(events_frame([fallback(one), fallback(other)]))) == 2


def test_groups_are_counted_by_hand():
    events = events_frame(
        [
            fallback("socket 1 refused", "m1", 0),
            fallback("socket 2 refused", "m1", 5),
            fallback("socket 3 refused", "m2", 9),
            fallback("socket 4 refused", "m3", 3, FAILED),
            fallback("lease lost", "m4", 1),
            ("m4", "vp.mission.completed", NOON, '{"error": "not one of them"}'),
            ("m5", "vp.mission.fallback", None, '{"reason": "lease lost"}'),
            ("", "vp.mission.fallback", NOON + timedelta(seconds=20), '{"error": "lease lost"}'),
        ]
    )
    first, second, third = group_signatures(events)
    assert (first.kind, first.signature, first.count, first.missions) == ("fallback", "lease lost", 3, 2)
    assert (first.first_seen, first.last_seen) == (NOON + timedelta(seconds=1), NOON + timedelta(seconds=20))
    assert first.example_mission == "m5"  # the newest that names one
    assert (second.kind, second.signature, second.count, second.missions) == ("fallback", "socket # refused", 3, 2)
    assert (second.first_seen, second.last_seen) == (NOON, NOON + timedelta(seconds=9))
    assert (second.example_mission, second.example) == ("m2", "socket 3 refused")
    assert (third.kind, third.count, third.example_mission) == ("failure", 1, "m3")


def test_signature_without_any_readable_time_or_mission():
    [group] = group_signatures(events_frame([(None, FALLBACK, None, '{"error": "x"}')]))
    assert (group.first_seen, group.last_seen, group.example_mission, group.missions) == (None, None, None, 0)


@pytest.mark.parametrize("events", [None, events_frame()])
def test_no_events_give_no_signatures(events):
    assert group_signatures(events) == ()


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (None, "(no payload)"),
        (float("nan"), "(no payload)"),
        ("", "(no payload)"),
        ("  ", "(no payload)"),
        ('{"error": "cut o', "(payload is not JSON)"),
        ("NaN", "(payload is not JSON)"),
        ("[1, 2]", "(payload is no object)"),
        ('"text"', "(payload is no object)"),
        ("{}", "(no error given)"),
        ('{"error": null, "reason": ""}', "(no error given)"),
        ('{"error": "", "reason": "lease_lost"}', "lease_lost"),
        ('{"error": "E", "reason": "R"}', "E"),
        ('{"reason": "R"}', "R"),
        ('{"error": {"code": 5, "message": "deep"}}', "deep"),
        ('{"error": {"error": {"detail": "deeper"}}}', "deeper"),
        ('{"error": {"code": 5}}', '{"code": 5}'),
        ('{"error": ["a", 1]}', '["a", 1]'),
        ('{"error": []}', "(no error given)"),
        ('{"error": 137}', "137"),
        ('{"error": true}', "true"),
        ('{"error": "Traceback (most recent call last):\\n  File x\\nValueError: bad"}', "ValueError: bad"),
        ('{"error": "a\\u0000b\\u202ec"}', "abc"),
        ('{"error": "\\ud83d\\ude00 oops"}', "😀 oops"),
        ('{"error": "\\ud83d oops"}', "? oops"),
        ('{"error": "one\\n\\ntwo"}', "one two"),
        ('{"error": {"message": {"api_key": "k1"}}}', '{"api_key": [secret]}'),
    ],
)
def test_error_text_of_any_payload(payload, text):
    assert error_text(payload) == text


@pytest.mark.parametrize(
    "payload",
    [
        json.dumps({"error": "x" * 20_000}),
        json.dumps({"error": "x " * 10_000}),
        json.dumps({"error": "://" * 7_000 + " " + "'" * 900}),
        "[" * 20_000,
        '{"error": ' * 5_000,
        "1" * 20_000,
        "\x00" * 20_000,
        '{"error": "' + "\\ud800" * 3_000 + '"}',
        '{"error": "' + "-----BEGIN PRIVATE KEY-----" * 700 + '"}',
        json.dumps({"error": {"a": {"b": [{"c": "d" * 20_000}]}}}),
        12345,
        b"\xff\xfe",
    ],
)
def test_hostile_payloads_give_one_short_line(payload):
    [group] = group_signatures(events_frame([("m1", FAILED, NOON, payload)]))
    assert group.count == 1
    assert 0 < len(group.signature) <= 160
    assert 0 < len(group.example) <= 300
    assert "\n" not in group.example


@pytest.mark.parametrize(("text", "parts"), SECRETS, ids=[text[:24] for text, _ in SECRETS])
def test_secrets_reach_neither_signature_nor_example(text, parts):
    [group] = group_signatures(events_frame([fallback(text)]))
    for part in parts:
        assert part not in group.signature + group.example
